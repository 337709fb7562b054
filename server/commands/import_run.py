"""Feeds to import as they are typed; starting their imports and following them to the end."""

import re
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from server.commands.api_client import ApiClient, quote_id
from server.commands.following import follow
from shared.errors import InvalidRequestError, ServiceError
from shared.models import MAX_SOURCE_LENGTH, is_source
from shared.states import Trigger

ENDED_STATES = ("completed", "failed")
_BUSY_TRIES = 120
_BUSY_PAUSE_S = 0.5
# Longer than a limit by the minute asks for; who has to wait longer is told instead.
_MAX_PAUSE_S = 60
# Of a wait that has lasted so long, or will, people want to know what it is for.
_TOLD_FROM_S = 2

Import = dict[str, Any]
_UNFIT = re.compile(r"[^a-z0-9_.]+")
_ENCODING = re.compile(r"(<\?xml[^>]*?encoding\s*=\s*)([\"'])[\w.:-]+\2", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class FeedToImport:
    """One feed to import: ``text`` as the user wrote it; a URL, or a file with its source.

    With neither it is the feed that the service has under ``source``.
    """

    text: str
    url: str | None = None
    file: Path | None = None
    source: str | None = None

    @property
    def is_document(self) -> bool:
        """Whether the document itself is sent."""
        return self.file is not None

    def start_body(self, *, force: bool) -> dict[str, Any]:
        """Return the body of the call that starts its import; reads the file.

        Raises:
            InvalidRequestError: the file cannot be read.
        """
        body: dict[str, Any] = {"trigger": Trigger.CLI, "force": force}
        if self.url is None and self.file is None:
            return {**body, "sources": [self.source]}
        if self.source is not None:
            body["source"] = self.source
        if self.file is None:
            return {**body, "url": self.url}
        try:
            return {**body, "document": _as_text(self.file.read_bytes())}
        except OSError as exc:
            raise InvalidRequestError(f"{self.text} cannot be read: {exc.strerror}") from exc


def read_feed_arguments(texts: Sequence[str], source: str | None) -> list[FeedToImport]:
    """Return what to import, in the order as typed, each once; every file gets a source.

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


def _read_argument(text: str, source: str | None) -> FeedToImport:
    scheme = urlsplit(text).scheme.lower() if "://" in text else ""
    if scheme in ("http", "https"):
        return FeedToImport(text, url=text, source=source)
    file = Path(unquote(urlsplit(text).path)) if scheme == "file" else Path(text)
    if file.is_dir():
        raise InvalidRequestError(f"{text} is a folder: name the files in it")
    if not file.exists():
        raise InvalidRequestError(f"{text} is neither a file nor a URL with http:// or https://")
    return FeedToImport(text, file=file, source=source or make_file_source(file))


def _refuse_equal_sources(arguments: Sequence[FeedToImport]) -> None:
    by_source: dict[str, FeedToImport] = {}
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
        # It travels as UTF-8 from here on; its own declaration must not mislead the parser.
        return _ENCODING.sub(r"\1\2utf-8\2", text, count=1)


class Progress(Protocol):
    """Where an import's progress is shown."""

    def show(self, imports: Sequence[Import]) -> None:
        """Show how far they are; called at each round, the last time when all have ended."""

    def tell(self, text: str) -> None:
        """Show a line about what is waited for."""


@dataclass(frozen=True, slots=True)
class ImportRun:
    """What came of some imports; ``errors``: feeds whose import did not start, and why."""

    imports: Sequence[Import] = ()
    errors: Sequence[tuple[str, str]] = ()

    @property
    def is_clean(self) -> bool:
        """Whether every import completed and no item is dead."""
        return not self.errors and all(
            each["state"] == "completed" and each["counts"]["dead"] == 0 for each in self.imports
        )


def run_imports(
    client: ApiClient,
    feeds: Sequence[FeedToImport],
    *,
    force: bool,
    progress: Progress,
    check: Callable[[], None] = lambda: None,
) -> ImportRun:
    """Start an import of each feed and wait until all have ended.

    A feed whose import cannot be started does not keep the others from it, and those that have
    started are followed while others still wait. ``check`` is called at each round and may raise
    to give up.

    Raises:
        ServiceError: the service went away and did not come back within a minute.
    """
    starter = _Starter(client, progress, check)
    errors: list[tuple[str, str]] = []
    for feed in feeds:
        try:
            starter.start(feed, force=force)
        except (ServiceError, InvalidRequestError) as exc:
            check()
            errors.append((feed.text, str(exc)))
    ended = follow_imports(client, starter.started, progress=progress, check=check)
    return ImportRun(ended, errors)


def follow_imports(
    client: ApiClient,
    imports: Sequence[Import],
    *,
    progress: Progress,
    check: Callable[[], None] = lambda: None,
    for_s: float | None = None,
) -> list[Import]:
    """Wait until imports have ended and return them, each once; as :func:`run_imports`.

    With ``for_s`` for so long instead, however far they are.
    """
    until_s = None if for_s is None else time.monotonic() + for_s
    return follow(
        list({each["id"]: each for each in imports}.values()),
        lambda seen: [_refreshed(client, each) for each in seen],
        show=progress.show,
        is_ended=lambda seen: _have_ended(seen) if until_s is None else time.monotonic() >= until_s,
        check=check,
    )


def _have_ended(imports: Sequence[Import]) -> bool:
    return all(each["state"] in ENDED_STATES for each in imports)


class _Starter:
    """Starts imports one after another, and follows what has started while it has to wait."""

    def __init__(self, client: ApiClient, progress: Progress, check: Callable[[], None]) -> None:
        self.started: list[Import] = []
        self._client = client
        self._progress = progress
        self._check = check

    def start(self, feed: FeedToImport, *, force: bool) -> None:
        """Start a feed's imports; again after a pause while the service asks for one."""
        body = feed.start_body(force=force)
        waited_s = 0.0
        for _ in range(_BUSY_TRIES):
            try:
                begun: list[Import] = self._client.post("/imports/start", body)["imports"]
                self.started += [_read(self._client, each) for each in begun]
                return
            except ServiceError as exc:
                pause_s = _pause_before_retry(exc, feed)
                if pause_s is None:
                    raise
                if pause_s >= _TOLD_FROM_S or waited_s < _TOLD_FROM_S <= waited_s + pause_s:
                    self._tell(feed, exc, pause_s)
                self._wait(pause_s)
                waited_s += pause_s
        raise ServiceError(f"the service is still busy with an earlier import of {feed.text}")

    def _tell(self, feed: FeedToImport, error: ServiceError, pause_s: float) -> None:
        # A short pause is one of many: how long it will be altogether is not known.
        how_long = f" {ceil(pause_s)} s" if pause_s >= _TOLD_FROM_S else ""
        self._progress.tell(f"waiting{how_long} to import {feed.text}: {error}")

    def _wait(self, pause_s: float) -> None:
        self.started = follow_imports(
            self._client, self.started, progress=self._progress, check=self._check, for_s=pause_s
        )


def _pause_before_retry(error: ServiceError, feed: FeedToImport) -> float | None:
    if error.http_status == 429:
        pause_s = error.retry_after_s or _BUSY_PAUSE_S
        return pause_s if pause_s <= _MAX_PAUSE_S else None
    if error.http_status == 409 and feed.is_document:
        # An earlier document of this source is still being read.
        return _BUSY_PAUSE_S
    return None


def _refreshed(client: ApiClient, each: Import) -> Import:
    if each["state"] in ENDED_STATES:
        return each
    return _read(client, each)


def _read(client: ApiClient, each: Import) -> Import:
    fresh: Import = client.get(f"/imports/{quote_id(each['id'])}")
    return fresh
