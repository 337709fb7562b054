"""Reads documents that anybody may have written into what the stores promise, or says why not.

A document that does not fit costs its own feed, import or item only: reads of one raise
:class:`UnreadableDocument`, reads of many leave it out and log it once. ``feedmill doctor`` lists
all that do not fit.
"""

import threading
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields
from datetime import datetime
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

from shared.errors import UnreadableDocument
from shared.logs import get_logger
from shared.store.database import Document
from shared.urls import is_well_formed

log = get_logger("store")

T = TypeVar("T")
_Reader = Callable[[Any], Any]

# What Lua and JavaScript hold exactly, so that a number read here can go everywhere.
MAX_WHOLE = 2**53 - 1
_MAX_REMEMBERED = 1000

_KINDS: Mapping[Any, str] = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    datetime: "a date",
}


class Misfit(ValueError):
    """A value is not what its field is for."""


def read_fields(kind: type[T], values: Mapping[str, Any]) -> T:
    """Make a dataclass of values whose types are checked against it.

    A whole number may be stored as a floating one, as MongoDB's older shells do.

    Raises:
        Misfit: a value does not fit, or is missing.
    """
    readers: Mapping[str, _Reader] = _readers(kind)  # type: ignore[arg-type]
    read: dict[str, Any] = {}
    for name, value in values.items():
        try:
            read[name] = readers[name](value)
        except Misfit as exc:
            raise Misfit(f"{name} is {_show(value)}, which is not {exc}") from exc
    return kind(**read)


def check_urls(urls: Iterable[str]) -> None:
    """Refuse URLs of which no host can be told, as everybody does who goes by hosts.

    Raises:
        Misfit: says which is the first, without quoting it: what is secret in it cannot be told.
    """
    for number, url in enumerate(urls):
        if not is_well_formed(url):
            raise Misfit(f"urls[{number}] is no well-formed URL")


def read_document(collection: str, document: Document, read: Callable[[Document], T]) -> T:
    """Return what ``read`` makes of a document.

    Raises:
        UnreadableDocument: it makes nothing of it; says which document, and which field.
    """
    try:
        return read(document)
    except KeyError as exc:
        reason = f"{exc.args[0]} is missing"
    except (Misfit, TypeError, ValueError, AttributeError) as exc:
        reason = str(exc)
    raise UnreadableDocument(collection, document.get("_id"), reason)


def read_those_that_fit(
    collection: str, documents: Iterable[Document], read: Callable[[Document], T]
) -> Iterator[T]:
    """Yield what ``read`` makes of documents; those that do not fit are logged once."""
    for document in documents:
        try:
            yield read_document(collection, document, read)
        except UnreadableDocument as exc:
            _log_once(str(exc))


def find_misfits(
    collection: str, documents: Iterable[Document], read: Callable[[Document], object]
) -> Iterator[str]:
    """Yield in words what is wrong with each document that does not fit."""
    for document in documents:
        try:
            read_document(collection, document, read)
        except UnreadableDocument as exc:
            yield str(exc)


_logged: set[str] = set()
_logged_lock = threading.Lock()


def _log_once(text: str) -> None:
    with _logged_lock:
        if text in _logged or len(_logged) >= _MAX_REMEMBERED:
            return
        _logged.add(text)
    log.error("document_unreadable", error=text)


@cache
def _readers(kind: type[Any]) -> Mapping[str, _Reader]:
    hints = get_type_hints(kind)
    return {field.name: _reader(hints[field.name]) for field in fields(kind)}


def _reader(hint: Any) -> _Reader:
    origin, arguments = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value: value
    if origin in (Union, types.UnionType):
        [inner] = [each for each in arguments if each is not type(None)]
        read_inner = _reader(inner)
        return lambda value: None if value is None else read_inner(value)
    if origin is list:
        return _list_reader(_reader(arguments[0]))
    if origin is dict:
        return _dict_reader(_reader(arguments[1]))
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _word_reader(hint)
    if hint is int:
        return _read_whole
    return _plain_reader(hint)


def _list_reader(read_entry: _Reader) -> _Reader:
    def read(value: Any) -> list[Any]:
        if not isinstance(value, list):
            raise Misfit("a list")
        return [read_entry(entry) for entry in value]

    return read


def _dict_reader(read_entry: _Reader) -> _Reader:
    def read(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise Misfit("a document")
        return {name: read_entry(entry) for name, entry in value.items()}

    return read


def _word_reader(words: type[StrEnum]) -> _Reader:
    def read(value: Any) -> StrEnum:
        try:
            return words(value)
        except ValueError as exc:
            raise Misfit(f"one of {', '.join(words)}") from exc

    return read


def _read_whole(value: Any) -> int:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # NaN and the infinities are within no bounds.
    if not is_number or not -MAX_WHOLE <= value <= MAX_WHOLE or value != int(value):
        raise Misfit(_KINDS[int])
    return int(value)


def _plain_reader(kind: Any) -> _Reader:
    def read(value: Any) -> Any:
        if not isinstance(value, kind):
            raise Misfit(_KINDS.get(kind, kind.__name__))
        return value

    return read


def _show(value: Any) -> str:
    return f"{str(value)[:40]!r} ({type(value).__name__})"
