"""Fetch and parse all that one import looks at, and merge it by guid."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Any

from server.feeds.history import FeedHistory, UrlHistory
from server.feeds.retry_after import RetryAfter
from server.fetching.addresses import mask_url
from server.fetching.egress import UNREACHABLE, Egress
from server.fetching.fetcher import FetchedFeed, Fetcher, Validators
from server.importing.deadline import RunDeadline
from server.importing.known_guids import identify_known
from server.importing.observing import Observer, Unobserved
from server.importing.other_places import explain_refusal, say_other_places
from server.parsing import ParsedEntry, ParsedFeed, RejectedEntry
from server.parsing.isolation import ParserPool
from server.parsing.urls import moved_to
from shared.clock import Clock
from shared.errors import ErrorKind, FetchError, ParseError
from shared.models import FeedItem
from shared.store import Feed, Import, StoredValidators, Stores

# The place of a handed-in document among a feed's validators: no URL is empty.
DOCUMENT_URL = ""
# It came as text in JSON: UTF-8 now, whatever its XML declaration says of the file it once was.
DOCUMENT_TYPE = "application/xml; charset=utf-8"
# A URL that fails later than this is asked after the others the next time.
SLOW_FROM_S = 3.0
# After nothing but 304s for so long, one request is made without conditions.
ONLY_304_FOR = timedelta(days=14)


@dataclass(slots=True)
class Gathered:
    """What an import found.

    ``aliases`` holds the guids under which items of the source are stored that have others today,
    ``validators`` holds those of the URLs that answered with a whole document, ``fetches`` what is
    shown of each URL, ``learnt`` what is to be remembered of each URL that answered. ``error`` says
    why nothing at all could be had, ``error_kinds`` then names all that went wrong; ``is_outage``:
    because this server is cut off. ``was_held``: because every host asked not to be asked.
    ``looked_at`` are the URLs that were asked without conditions after nothing but 304s, and
    answered with another body.
    """

    items: list[FeedItem] = field(default_factory=list)
    aliases: Mapping[str, str] = field(default_factory=dict)
    rejected: list[RejectedEntry] = field(default_factory=list)
    duplicates: int = 0
    validators: dict[str, StoredValidators] = field(default_factory=dict)
    fetches: list[dict[str, Any]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    learnt: dict[str, UrlHistory] = field(default_factory=dict)
    retry_after_s: float | None = None
    max_age_s: float | None = None
    error: FetchError | ParseError | None = None
    error_kinds: frozenset[str] = frozenset()
    is_outage: bool = False
    was_held: bool = False
    looked_at: set[str] = field(default_factory=set)

    def judge_looks(self, *, has_news: bool) -> None:
        """Believe no 304 any more of URLs whose 304s hid items; ``has_news``: there are such."""
        for url in sorted(self.looked_at) if has_news else ():
            self.learnt[url] = replace(self.learnt[url], is_disbelieved=True)
            self.warnings.append(
                f"{mask_url(url)}: answered 304 (not modified) for {ONLY_304_FOR.days} days though "
                "there were changes; from now on it is fetched whole each time"
            )

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
        self,
        *,
        stores: Stores,
        fetcher: Fetcher,
        egress: Egress,
        retry_after: RetryAfter,
        parser: ParserPool,
        clock: Clock,
        observer: Observer | None = None,
    ) -> None:
        self._stores = stores
        self._fetcher = fetcher
        self._egress = egress
        self._retry_after = retry_after
        self._parser = parser
        self._clock = clock
        self._observer = observer or Unobserved()

    def find_pause(self, importing: Import) -> tuple[datetime, str] | None:
        """Return until when an import may ask none of its hosts, and why; None when it may."""
        return None if importing.has_document else self._retry_after.find_pause(importing.urls)

    def gather(self, importing: Import, feed: Feed, deadline: RunDeadline) -> Gathered:
        """Fetch an import's URLs, each with its own validators, or read its document.

        URLs are asked in their order, those that were slow to fail the last time at the end, so
        that a run reaches what the run before did not. What is left until the deadline limits each
        request and each parse; URLs that it does not reach fail with ``timeout``. A URL that fails
        is a warning while another one answers; when all fail, the result's ``error`` is one that
        may not come again, if there is such a one, and one that is not to be tried again when the
        deadline has passed.
        """
        gathered = Gathered()
        answers = _Answers()
        if importing.has_document:
            self._read_document(importing, feed, gathered, answers, deadline)
        else:
            self._ask_all(importing, feed, gathered, answers, deadline)
        self._judge(answers, gathered, deadline)
        if gathered.error is None:
            self._merge(importing, answers, gathered)
        return gathered

    def _ask_all(
        self,
        importing: Import,
        feed: Feed,
        gathered: Gathered,
        answers: _Answers,
        deadline: RunDeadline,
    ) -> None:
        urls = list(importing.urls)
        order = sorted(urls, key=lambda url: _recall(feed, url).was_slow)
        for url in order:
            self._ask(url, importing, feed, gathered, answers, deadline)
        # Shown and merged in the feed's own order, however they were asked.
        shown = dict(zip(order, gathered.fetches, strict=True))
        gathered.fetches = [shown[url] for url in urls]
        answers.parsed.sort(key=lambda answer: urls.index(answer[0]))

    def _ask(
        self,
        url: str,
        importing: Import,
        feed: Feed,
        gathered: Gathered,
        answers: _Answers,
        deadline: RunDeadline,
    ) -> None:
        shown: dict[str, Any] = {
            "url": mask_url(url),
            "http_status": None,
            "not_modified": False,
            "error": None,
        }
        gathered.fetches.append(shown)
        started_s = self._clock.monotonic_s()
        try:
            _check_time(url, deadline)
            self._retry_after.check(url)
            recalled = _recall(feed, url)
            fetched = self._fetch(url, importing, feed, deadline)
            shown |= {"http_status": fetched.http_status, "not_modified": fetched.not_modified}
            gathered.max_age_s = _longest(gathered.max_age_s, fetched.cache_max_age_s)
            is_304 = fetched.http_status == HTTPStatus.NOT_MODIFIED
            since = (recalled.only_304_since or self._clock.now()) if is_304 else None
            gathered.learnt[url] = replace(recalled, was_slow=False, only_304_since=since)
            if not fetched.not_modified:
                if self._is_doubtful(recalled) and not importing.force:
                    gathered.looked_at.add(url)
                self._parse(url, fetched, gathered, answers, deadline)
            elif not is_304:
                # The same body under other validators: send the latest ones from now on.
                gathered.validators[url] = _to_store(fetched.validators)
            _note_move(url, fetched.permanent_url, gathered)
        except (FetchError, ParseError) as exc:
            if isinstance(exc, FetchError):
                shown["http_status"] = exc.http_status
                gathered.retry_after_s = _longest(gathered.retry_after_s, exc.retry_after_s)
                self._retry_after.note(exc)
                if self._clock.monotonic_s() - started_s >= SLOW_FROM_S:
                    gathered.learnt[url] = replace(_recall(feed, url), was_slow=True)
            shown["error"] = f"{exc.kind}: {exc}"
            answers.errors.append(exc)

    def _fetch(self, url: str, importing: Import, feed: Feed, deadline: RunDeadline) -> FetchedFeed:
        validators = None if importing.force else _to_send(feed.validators.get(url))
        recalled = _recall(feed, url)
        if validators is not None and (recalled.is_disbelieved or self._is_doubtful(recalled)):
            validators = Validators(body_hash=validators.body_hash)
        started_s = self._clock.monotonic_s()
        try:
            fetched = self._fetcher.fetch(
                url, validators=validators, headers=feed.headers, timeout_s=deadline.left_s
            )
        except FetchError as exc:
            self._egress.note_end(url, exc)
            self._observer.note_fetch(exc.kind, self._clock.monotonic_s() - started_s, 0)
            raise
        self._egress.note_end(url, None)
        outcome = "not_modified" if fetched.not_modified else "modified"
        self._observer.note_fetch(outcome, fetched.duration_s, len(fetched.body))
        return fetched

    def _is_doubtful(self, recalled: UrlHistory) -> bool:
        """Tell whether a URL has answered with nothing but 304 for so long that one look is due."""
        since = recalled.only_304_since
        return since is not None and self._clock.now() - since >= ONLY_304_FOR

    def _parse(
        self,
        url: str,
        fetched: FetchedFeed,
        gathered: Gathered,
        answers: _Answers,
        deadline: RunDeadline,
    ) -> None:
        # Items with a relative link take over what they are resolved against.
        base_url = mask_url(fetched.final_url)
        try:
            parsed = self._parse_body(fetched.body, fetched.content_type, base_url, deadline)
        except ParseError as exc:
            raise explain_refusal(exc, url, fetched) from exc
        answers.parsed.append((url, parsed))
        gathered.warnings += [f"{mask_url(url)}: {fault}" for fault in fetched.faults]
        gathered.learnt[url] = UrlHistory(
            parsed.ttl_s,
            parsed.skip_hours,
            parsed.skip_days,
            had_items=gathered.learnt[url].had_items or bool(parsed.entries),
            said_moved_to=moved_to(parsed, url=base_url),
            is_disbelieved=gathered.learnt[url].is_disbelieved,
        )
        gathered.warnings += say_other_places(url, gathered.learnt[url], parsed, fetched)
        if parsed.is_whole:
            gathered.validators[url] = _to_store(fetched.validators)

    def _parse_body(
        self, body: bytes, content_type: str | None, url: str | None, deadline: RunDeadline
    ) -> ParsedFeed:
        started_s = self._clock.monotonic_s()
        try:
            return self._parser.parse(
                body,
                content_type=content_type,
                url=url,
                now=self._clock.now(),
                timeout_s=deadline.left_s,
            )
        finally:
            self._observer.note_parse(self._clock.monotonic_s() - started_s)

    def _read_document(
        self,
        importing: Import,
        feed: Feed,
        gathered: Gathered,
        answers: _Answers,
        deadline: RunDeadline,
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
                raise ParseError(ErrorKind.EMPTY, "the document that was handed in is gone")
            body_hash = hashlib.sha256(body).hexdigest()
            known = feed.validators.get(DOCUMENT_URL)
            if known is not None and known.body_hash == body_hash and not importing.force:
                shown["not_modified"] = True
                return
            parsed = self._parse_body(body, DOCUMENT_TYPE, None, deadline)
        except ParseError as exc:
            shown["error"] = f"{exc.kind}: {exc}"
            answers.errors.append(exc)
            return
        answers.parsed.append((DOCUMENT_URL, parsed))
        had_items = _recall(feed, DOCUMENT_URL).had_items or bool(parsed.entries)
        gathered.learnt[DOCUMENT_URL] = UrlHistory(had_items=had_items)
        if parsed.is_whole:
            gathered.validators[DOCUMENT_URL] = StoredValidators(body_hash=body_hash)

    def _judge(self, answers: _Answers, gathered: Gathered, deadline: RunDeadline) -> None:
        """Fail when nothing answered; else the failures are warnings."""
        if len(answers.errors) < len(gathered.fetches):
            gathered.warnings += [
                f"{fetch['url']}: {fetch['error']}"
                for fetch in gathered.fetches
                if fetch["error"] is not None
            ]
            return
        errors = answers.errors or [ParseError(ErrorKind.NO_URL, "the feed has no URL to fetch")]
        gathered.error = next((error for error in errors if error.retryable), errors[0])
        if deadline.is_over:
            # Tried again at once, it would only take the same time once more.
            gathered.error = _out_of_time(errors, deadline)
        gathered.error_kinds = frozenset(error.kind for error in errors)
        gathered.is_outage = gathered.error_kinds <= UNREACHABLE and self._egress.is_out()
        gathered.was_held = all(_is_unasked(error) for error in errors)

    def _merge(self, importing: Import, answers: _Answers, gathered: Gathered) -> None:
        entries: Sequence[Sequence[ParsedEntry]] = [parsed.entries for _, parsed in answers.parsed]
        identified = identify_known(self._stores, importing, entries)
        gathered.items = list(identified.items)
        gathered.aliases = identified.aliases
        gathered.duplicates = identified.duplicates
        for url, parsed in answers.parsed:
            gathered.warnings += parsed.warnings
            # The entry in which a damaged document breaks off was not fetched; the next one may be.
            gathered.rejected += [
                replace(entry, guid=identified.aliases.get(entry.guid, entry.guid))
                for entry in parsed.rejected
                if not entry.is_cut
            ]
            if not parsed.entries and not parsed.rejected and gathered.learnt[url].had_items:
                what = mask_url(url) if url != DOCUMENT_URL else "the document"
                gathered.warnings.append(f"{what}: listed items before and now lists none")
                gathered.validators.pop(url, None)


def _check_time(url: str, deadline: RunDeadline) -> None:
    if deadline.is_over:
        reason = f"not asked, for the {deadline.limit_s:g} s of this run were used up before"
        raise FetchError(url, ErrorKind.TIMEOUT, reason)


def _out_of_time(errors: Sequence[FetchError | ParseError], deadline: RunDeadline) -> FetchError:
    reason = f"nothing could be read in the {deadline.limit_s:g} s that a run may take"
    if len(errors) > 1:
        reason += f" for all its {len(errors)} URLs together"
    return FetchError("", ErrorKind.TIMEOUT, f"{reason}; first: {errors[0]}")


def _recall(feed: Feed, url: str) -> UrlHistory:
    return FeedHistory.read(feed.history).urls.get(url, UrlHistory())


def _note_move(url: str, permanent_url: str | None, gathered: Gathered) -> None:
    """Tell people of a permanent redirect: it is followed each time, and never adopted silently."""
    target = mask_url(permanent_url) if permanent_url is not None else None
    gathered.learnt[url] = replace(gathered.learnt[url], moved_to=target)
    if target is not None:
        gathered.warnings.append(
            f"{mask_url(url)}: moved permanently to {target}; change the feed's url"
        )


def _is_unasked(error: FetchError | ParseError) -> bool:
    """Tell whether a host was not asked at all, because its Retry-After runs."""
    return (
        isinstance(error, FetchError)
        and error.kind == ErrorKind.RATE_LIMITED
        and error.http_status is None
    )


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
