"""Fetch and parse all that one import looks at, and merge it by guid."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from server.fetching.addresses import mask_url
from server.fetching.fetcher import FetchedFeed, Fetcher, Validators
from server.importing.identity import identify
from server.parsing import ParsedEntry, ParsedFeed, RejectedEntry
from server.parsing.isolation import ParserPool
from shared.clock import Clock
from shared.errors import FetchError, ParseError
from shared.models import FeedItem, format_time
from shared.store import Feed, Import, StoredValidators, Stores

# The place of a handed-in document among a feed's validators: no URL is empty.
DOCUMENT_URL = ""
# It came as text in JSON: UTF-8 now, whatever its XML declaration says of the file it once was.
DOCUMENT_TYPE = "application/xml; charset=utf-8"


@dataclass(slots=True)
class Gathered:
    """What an import found.

    ``validators`` holds those of the URLs that answered with a whole document, ``fetches`` what is
    shown of each URL. ``error`` says why nothing at all could be had.
    """

    items: list[FeedItem] = field(default_factory=list)
    rejected: list[RejectedEntry] = field(default_factory=list)
    duplicates: int = 0
    validators: dict[str, StoredValidators] = field(default_factory=dict)
    fetches: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    retry_after_s: float | None = None
    ttl_s: float | None = None
    error: FetchError | ParseError | None = None

    @property
    def is_not_modified(self) -> bool:
        """Whether every URL answered that nothing changed."""
        return bool(self.fetches) and all(fetch["not_modified"] for fetch in self.fetches)


@dataclass(slots=True)
class _Answers:
    """The answers of an import's URLs, in their order."""

    parsed: list[tuple[str, ParsedFeed]] = field(default_factory=list)
    errors: list[FetchError | ParseError] = field(default_factory=list)


class Gatherer:
    """Fetches and parses. Safe for threads."""

    def __init__(
        self, *, stores: Stores, fetcher: Fetcher, parser: ParserPool, clock: Clock
    ) -> None:
        self._stores = stores
        self._fetcher = fetcher
        self._parser = parser
        self._clock = clock

    def gather(self, importing: Import, feed: Feed) -> Gathered:
        """Fetch an import's URLs in order, each with its own validators, or read its document.

        A URL that fails is a warning while another one answers; when all fail, the result's
        ``error`` is one that may not come again, if there is such a one.
        """
        gathered = Gathered()
        answers = _Answers()
        if importing.has_document:
            self._read_document(importing, feed, gathered, answers)
        else:
            for url in importing.urls:
                self._ask(url, importing, feed, gathered, answers)
        self._judge(answers, gathered)
        if gathered.error is None:
            self._merge(importing.source, feed, answers, gathered)
        return gathered

    def _ask(
        self, url: str, importing: Import, feed: Feed, gathered: Gathered, answers: _Answers
    ) -> None:
        shown: dict[str, Any] = {
            "url": mask_url(url),
            "http_status": None,
            "not_modified": False,
            "error": None,
        }
        gathered.fetches.append(shown)
        try:
            self._check_retry_after(url, feed)
            fetched = self._fetcher.fetch(
                url,
                validators=None if importing.force else _to_send(feed.validators.get(url)),
                headers=feed.headers,
            )
            shown |= {"http_status": fetched.http_status, "not_modified": fetched.not_modified}
            if not fetched.not_modified:
                self._parse(url, fetched, gathered, answers)
            elif fetched.http_status != HTTPStatus.NOT_MODIFIED:
                # The same body under other validators: send the latest ones from now on.
                gathered.validators[url] = _to_store(fetched.validators)
        except (FetchError, ParseError) as exc:
            if isinstance(exc, FetchError):
                shown["http_status"] = exc.http_status
                gathered.retry_after_s = _longest(gathered.retry_after_s, exc.retry_after_s)
            shown["error"] = f"{exc.kind}: {exc}"
            answers.errors.append(exc)

    def _check_retry_after(self, url: str, feed: Feed) -> None:
        """Refuse to ask a host again before the time that it named."""
        until = feed.history.get("retry_after_until")
        if until is not None and until > self._clock.now():
            raise FetchError(
                url,
                "rate_limited",
                f"the host asked not to be asked again before {format_time(until)}",
                retry_after_s=(until - self._clock.now()).total_seconds(),
            )

    def _parse(self, url: str, fetched: FetchedFeed, gathered: Gathered, answers: _Answers) -> None:
        parsed = self._parser.parse(
            fetched.body,
            content_type=fetched.content_type,
            url=fetched.final_url,
            now=self._clock.now(),
        )
        answers.parsed.append((url, parsed))
        if parsed.is_whole:
            gathered.validators[url] = _to_store(fetched.validators)

    def _read_document(
        self, importing: Import, feed: Feed, gathered: Gathered, answers: _Answers
    ) -> None:
        body = self._stores.documents.read(importing.import_id)
        shown: dict[str, Any] = {
            "url": None,
            "http_status": None,
            "not_modified": False,
            "error": None,
        }
        gathered.fetches.append(shown)
        try:
            if body is None:
                raise ParseError("empty", "the document that was handed in is gone")
            body_hash = hashlib.sha256(body).hexdigest()
            known = feed.validators.get(DOCUMENT_URL)
            if known is not None and known.body_hash == body_hash and not importing.force:
                shown["not_modified"] = True
                return
            parsed = self._parser.parse(
                body, content_type=DOCUMENT_TYPE, url=None, now=self._clock.now()
            )
        except ParseError as exc:
            shown["error"] = f"{exc.kind}: {exc}"
            answers.errors.append(exc)
            return
        answers.parsed.append((DOCUMENT_URL, parsed))
        if parsed.is_whole:
            gathered.validators[DOCUMENT_URL] = StoredValidators(body_hash=body_hash)

    def _judge(self, answers: _Answers, gathered: Gathered) -> None:
        """Fail when nothing answered; else the failures are warnings."""
        if len(answers.errors) < len(gathered.fetches):
            gathered.warnings += [
                f"{fetch['url']}: {fetch['error']}"
                for fetch in gathered.fetches
                if fetch["error"] is not None
            ]
            return
        nothing = ParseError("no_url", "the feed has no URL to fetch")
        gathered.error = next(
            (error for error in answers.errors if error.retryable),
            answers.errors[0] if answers.errors else nothing,
        )

    def _merge(self, source: str, feed: Feed, answers: _Answers, gathered: Gathered) -> None:
        known = self._stores.sources.read_colliding_guids(source)
        entries: Sequence[Sequence[ParsedEntry]] = [parsed.entries for _, parsed in answers.parsed]
        identified = identify(entries, colliding=known)
        if identified.colliding - known:
            self._stores.sources.add_colliding_guids(source, identified.colliding - known)
        gathered.items = list(identified.items)
        gathered.duplicates = identified.duplicates
        for url, parsed in answers.parsed:
            gathered.warnings += parsed.warnings
            # The entry in which a damaged document breaks off was not fetched; the next one may be.
            gathered.rejected += [entry for entry in parsed.rejected if not entry.is_cut]
            gathered.ttl_s = _longest(gathered.ttl_s, parsed.ttl_s)
            if not parsed.entries and not parsed.rejected and feed.history.get("had_items"):
                gathered.warnings.append("the feed listed items before and now lists none")
                gathered.validators.pop(url, None)


def _to_send(stored: StoredValidators | None) -> Validators | None:
    if stored is None:
        return None
    return Validators(stored.etag, stored.last_modified, stored.body_hash, stored.final_url)


def _to_store(answered: Validators) -> StoredValidators:
    return StoredValidators(
        answered.etag, answered.last_modified, answered.body_hash, answered.final_url
    )


def _longest(first_s: float | None, second_s: float | None) -> float | None:
    known = [seconds for seconds in (first_s, second_s) if seconds is not None]
    return max(known) if known else None
