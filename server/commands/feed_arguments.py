"""What ``feedmill import`` is given: URLs and files, made into bodies of ``/imports/start``."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from shared.errors import InvalidRequestError
from shared.models import MAX_SOURCE_LENGTH, is_source
from shared.store import Trigger

_UNFIT = re.compile(r"[^a-z0-9_.]+")
_ENCODING = re.compile(r"(<\?xml[^>]*?encoding\s*=\s*)([\"'])[\w.:-]+\2", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FeedArgument:
    """One feed to import: ``text`` as the user wrote it; a URL, or a file with its source."""

    text: str
    url: str | None
    file: Path | None
    source: str | None

    @property
    def is_document(self) -> bool:
        """Whether the document itself is handed in."""
        return self.file is not None

    def start_body(self, *, force: bool) -> dict[str, Any]:
        """Return the body of the call that starts its import; reads the file.

        Raises:
            InvalidRequestError: the file cannot be read.
        """
        body: dict[str, Any] = {"trigger": Trigger.CLI, "force": force}
        if self.source is not None:
            body["source"] = self.source
        if self.file is None:
            return {**body, "url": self.url}
        try:
            return {**body, "document": _as_text(self.file.read_bytes())}
        except OSError as exc:
            raise InvalidRequestError(f"{self.text} cannot be read: {exc.strerror}") from exc


@dataclass(frozen=True, slots=True)
class KnownFeed:
    """A feed that the service has, to be imported by its source."""

    text: str
    is_document: bool = False

    def start_body(self, *, force: bool) -> dict[str, Any]:
        """Return the body of the call that starts its import."""
        return {"trigger": Trigger.CLI, "force": force, "sources": [self.text]}


def read_feed_arguments(texts: Sequence[str], source: str | None) -> list[FeedArgument]:
    """Tell URLs from files and give every file its source.

    Raises:
        InvalidRequestError: wrong usage, in one line.
    """
    if source is not None and len(texts) != 1:
        raise InvalidRequestError("--source needs exactly one URL or file")
    if source is not None and not is_source(source):
        raise InvalidRequestError(f"--source {source!r} must be 1 to 64 of a-z 0-9 - _ .")
    arguments = [_read_argument(text, source) for text in dict.fromkeys(texts)]
    _refuse_equal_sources(arguments)
    return arguments


def make_file_source(file: Path) -> str:
    """Return the source of a file: its name without suffix, as a slug."""
    slug = _UNFIT.sub("-", file.stem.lower()).strip("-.")[:MAX_SOURCE_LENGTH]
    return slug.rstrip("-.") or "file"


def _read_argument(text: str, source: str | None) -> FeedArgument:
    scheme = urlsplit(text).scheme.lower() if "://" in text else ""
    if scheme in ("http", "https"):
        return FeedArgument(text, text, None, source)
    file = Path(unquote(urlsplit(text).path)) if scheme == "file" else Path(text)
    if file.is_dir():
        raise InvalidRequestError(f"{text} is a folder: name the files in it")
    if not file.exists():
        raise InvalidRequestError(f"{text} is neither a file nor a URL with http:// or https://")
    return FeedArgument(text, None, file, source or make_file_source(file))


def _refuse_equal_sources(arguments: Sequence[FeedArgument]) -> None:
    by_source: dict[str, FeedArgument] = {}
    for argument in arguments:
        if argument.source is None:
            continue
        other = by_source.setdefault(argument.source, argument)
        if other is not argument:
            raise InvalidRequestError(
                f"{other.text} and {argument.text} would both be the source {argument.source!r}: "
                "import them one by one with --source"
            )


def _as_text(document: bytes) -> str:
    try:
        return document.decode()
    except UnicodeDecodeError:
        # Only here, because the parser is slow to load and hardly ever needed.
        from server.parsing.detection import decode_document

        text, _ = decode_document(document, None)
        # It travels as UTF-8 from here on; what it says about itself must not mislead the parser.
        return _ENCODING.sub(r"\1\2utf-8\2", text, count=1)
