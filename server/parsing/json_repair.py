"""Read a JSON object that is not JSON to the letter, or breaks off, as far as it can be read.

What can be read has the values that a sound document would have given: a feed that alternates
between valid and invalid gives the same items, hashes and ids.
"""

import json
import re
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.parsing.limits import check_items

# Beyond 64 bits, or nearly. Ids are written so, and two that differ must not become one float.
_LONG_INTEGER = re.compile(r"-?[0-9]{19,}")
_BLANK = re.compile(r"[ \t\r\n]*")
# An escape in a string; the group is half of a surrogate pair without its other half.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
# A comma with nothing behind it, as templates write it; strings are matched to be passed over. One
# that never ends is matched too, lest each quote in it be tried as a beginning.
_STRING_OR_LAST_COMMA = re.compile(
    r'(?P<string>"(?:[^"\\]++|\\.)*+"?)|,(?=[ \t\r\n]*[\]}])', re.DOTALL
)


@dataclass(slots=True)
class JsonDocument:
    """A JSON document as far as it could be read.

    ``value`` is all of a sound one; of a faulty one the members of its object, those in ``items``
    only if they were whole. ``damage`` says what is wrong; ``is_complete`` is True when the object
    was closed: then nothing is missing.
    """

    value: Any = field(default_factory=dict)
    damage: str | None = None
    is_complete: bool = False


def read_json(text: str) -> JsonDocument:
    """Read a document. Never fails for damage: that is noted, and what came before it is kept.

    Raises:
        ParseError: ``limits``, for too many items.
    """
    try:
        return JsonDocument(_load(text), is_complete=True)
    except orjson.JSONDecodeError as exc:
        document = JsonDocument(damage=str(exc))
    mended = _STRING_OR_LAST_COMMA.sub(_keep_string, _ESCAPE.sub(_keep_whole, text))
    reader = _Reader(mended)
    try:
        reader.read_object(document.value)
    except (ValueError, RecursionError):
        return document
    document.is_complete = True
    return document


def _load(text: str) -> Any:
    """Return a sound document; integers that orjson would round to a float are text."""
    value = orjson.loads(text.encode("utf-8", "surrogatepass"))
    if _LONG_INTEGER.search(text) is None:
        return value
    try:
        return json.loads(text, parse_int=_read_integer)
    except RecursionError:
        # Nested deeper than Python's reader goes; no feed is, whatever its numbers.
        return value


def _read_integer(digits: str) -> int | str:
    return digits if _LONG_INTEGER.match(digits) else int(digits)


def _keep_whole(escape: re.Match[str]) -> str:
    return "" if escape["half"] else escape[0]


def _keep_string(found: re.Match[str]) -> str:
    return found["string"] or ""


class _Reader:
    """Reads a top-level object member by member, its ``items`` one by one.

    Control characters inside strings are taken as they are, NaN and infinities as null.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._decoder = json.JSONDecoder(
            strict=False, parse_int=_read_integer, parse_constant=lambda _: None
        )

    def read_object(self, members: dict[str, Any]) -> None:
        self._take("{")
        if self._next() == "}":
            return
        separator = ","
        while separator == ",":
            name = str(self._read_value())
            self._take(":")
            if name == "items" and self._next() == "[":
                members[name] = items = list[Any]()
                self._read_items(items)
            else:
                members[name] = self._read_value()
            separator = self._take(",}")

    def _read_items(self, items: list[Any]) -> None:
        self._take("[")
        if self._next() == "]":
            self._take("]")
            return
        separator = ","
        while separator == ",":
            items.append(self._read_value())
            check_items(len(items))
            separator = self._take(",]")

    def _read_value(self) -> Any:
        self._next()
        value, self._position = self._decoder.raw_decode(self._text, self._position)
        return value

    def _next(self) -> str:
        """Skip blanks; returns the character that stands behind them, empty at the end."""
        blank = _BLANK.match(self._text, self._position)
        self._position = blank.end() if blank else self._position
        return self._text[self._position : self._position + 1]

    def _take(self, expected: str) -> str:
        found = self._next()
        if not found or found not in expected:
            raise ValueError(f"no {expected!r} at {self._position}")
        self._position += 1
        return found
