"""From an import's URLs, or its document, to what each of them answered."""

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from http import HTTPStatus

from server.feeds.history import FeedHistory, UrlHistory
from server.feeds.outcomes import ImportMetrics
from server.feeds.retry_after import RetryAfter
from server.feeds.windows import PAGE
from server.fetching.addresses import mask_url
from server.fetching.answers import FetchedFeed, Validators
from server.fetching.egress import UNREACHABLE, Egress
from server.fetching.fetcher import Fetcher
from server.importing.bodies import body_to_keep
from server.importing.pages import (
    PageLimits,
    find_next_page,
    follow_links,
    follow_numbers,
    needs_all_answers,
    reads_back,
    wants_linked_pages,
    warn_of_page,
)
from server.importing.values import DOCUMENT_URL, Failure, Fetched, Run, UrlAnswer
from server.parsing import ParsedFeed
from server.parsing.isolation import ParserPool
from server.parsing.links import read_refresh, show_other
from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import FetchError, ParseError
from shared.store import DocumentStore, Import, KeptBody, StoredValidators

# It came as text in JSON: UTF-8 now, whatever its XML declaration says of the file it once was.
DOCUMENT_TYPE = "application/xml; charset=utf-8"
# A URL that fails later than this is asked after the others the next time.
SLOW_FROM_S = 3.0
# After nothing but 304s for so long, one request is made without conditions.
ONLY_304_FOR = timedelta(days=14)
# Bodies are compressed at each fetch that brings news: speed counts more than size.
KEPT_LEVEL = 1
# Shorter than this no request and no parser can do anything.
_WORTH_TRYING_S = 0.01
# What a feed may look like of which only the beginning came.
_KINDS_OF_CUT = frozenset(
    {ErrorKind.DAMAGED, ErrorKind.NOT_A_FEED, ErrorKind.JSON_ERROR, ErrorKind.EMPTY}
)


class RunDeadline:
    """The end of the time that a run has for all its URLs, and for parsing what they answer.

    It lies before the moment at which the queue gives a run up, so that there is time left to
    compare, to commit and to enqueue what was read.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._ends_s = clock.monotonic_s() + limit_s

    @property
    def left_s(self) -> float:
        """Return the seconds left, 0 when none are."""
        return max(self._ends_s - self._clock.monotonic_s(), 0.0)

    @property
    def is_over(self) -> bool:
        """Whether it is too late to begin anything."""
        return self.left_s < _WORTH_TRYING_S

    def check(self, url: str) -> None:
        """Refuse to begin with a URL when it is too late.

        Raises:
            FetchError: ``timeout``.
        """
        if self.is_over:
            reason = f"not asked, for the {self.limit_s:g} s of this run were used up before"
            raise FetchError(url, ErrorKind.TIMEOUT, reason)


class FeedReader:
    """Fetches and parses all that one import looks at. Safe for threads.

    Bodies of up to ``max_kept_bytes`` when compressed go along to be kept; 0 keeps none.
    """

    def __init__(
        self,
        *,
        documents: DocumentStore,
        fetcher: Fetcher,
        egress: Egress,
        retry_after: RetryAfter,
        parser: ParserPool,
        metrics: ImportMetrics,
        clock: Clock,
        pages: PageLimits,
        max_kept_bytes: int,
    ) -> None:
        self._documents = documents
        self._fetcher = fetcher
        self._egress = egress
        self._retry_after = retry_after
        self._parser = parser
        self._metrics = metrics
        self._clock = clock
        self._pages = pages
        self._max_kept_bytes = max_kept_bytes

    def find_pause(self, importing: Import) -> tuple[datetime, str] | None:
        """Return until when an import may ask none of its hosts, and why; None when it may."""
        return None if importing.has_document else self._retry_after.find_pause(importing.urls)

    def read(self, run: Run, deadline: RunDeadline) -> Fetched | Failure:
        """Fetch an import's URLs, each with its own validators, or read its document.

        URLs are asked in their order, those that were slow to fail the last time at the end, so
        that a run reaches what the run before did not. What is left until the deadline limits each
        request and each parse; URLs that it does not reach fail with ``timeout``. A URL that fails
        is a warning while another one answers; when all fail, the result is a failure with an
        error that may not come again, if there is such a one, and one that is not to be tried
        again when the deadline has passed. An interval of a window needs the answers of all.
        """
        if run.importing.has_document:
            fetched = Fetched((self._read_document(run, deadline),))
        else:
            fetched = self._ask_all(run, deadline)
        failed = len(fetched.errors)
        if not failed or (failed < len(fetched.answers) and not needs_all_answers(run)):
            return fetched
        return self._explain_failure(fetched, deadline)

    def _ask_all(self, run: Run, deadline: RunDeadline) -> Fetched:
        urls = run.importing.urls
        histories = FeedHistory.read(run.feed.history).urls
        known = {url: histories.get(url, UrlHistory()) for url in urls}
        order = sorted(urls, key=lambda url: known[url].was_slow)
        answers = {url: self._ask_with_pages(url, known[url], run, deadline) for url in order}
        return Fetched(tuple(one for url in urls for one in answers[url]))

    def _ask_with_pages(
        self, url: str, known: UrlHistory, run: Run, deadline: RunDeadline
    ) -> Sequence[UrlAnswer]:
        """Return what a URL answers, and behind it what its further pages do, if they are read."""

        def ask(page: str) -> UrlAnswer:
            return self._ask(page, UrlHistory(), run, deadline)

        if run.importing.indexer is not None and PAGE in url:
            return list(follow_numbers(url, ask, self._pages))
        first = self._ask(url, known, run, deadline)
        if first.next_page is None:
            return [first]
        if not wants_linked_pages(run, had_items=known.had_items):
            return [warn_of_page(first, run.source)]
        return list(
            follow_links(
                first, run, ask, self._pages, share_left=lambda: deadline.left_s / deadline.limit_s
            )
        )

    def _ask(self, url: str, known: UrlHistory, run: Run, deadline: RunDeadline) -> UrlAnswer:
        """Return what one URL answers, whatever happens."""
        started_s = self._clock.monotonic_s()
        answer = UrlAnswer(url)
        try:
            deadline.check(url)
            self._retry_after.check(url)
            is_look = self._is_look_due(known)
            fetched = self._fetch(url, known, run, deadline)
            answer = self._answer(url, known, fetched)
            if fetched.not_modified:
                return _note_move(answer, fetched)
            answer = replace(answer, is_look=is_look and not run.importing.force)
            parsed = self._parse(answer, known, fetched, deadline)
            kept = self._keep(run, fetched.body, url, fetched.content_type, fetched.final_url)
            return _note_move(replace(parsed, body=kept), fetched)
        except ParseError as exc:
            return replace(answer, error=exc)
        except FetchError as exc:
            self._retry_after.note(exc)
            is_slow = self._clock.monotonic_s() - started_s >= SLOW_FROM_S
            history = replace(known, was_slow=True) if is_slow else answer.history
            return replace(answer, error=exc, http_status=exc.http_status, history=history)

    def _fetch(self, url: str, known: UrlHistory, run: Run, deadline: RunDeadline) -> FetchedFeed:
        # Of an interval it is not known here what of it was read before.
        is_whole = run.importing.force or run.importing.indexer is not None
        validators = None if is_whole else _to_send(run.feed.validators.get(url))
        if validators is not None and (known.is_disbelieved or self._is_look_due(known)):
            validators = Validators(body_hash=validators.body_hash)
        started_s = self._clock.monotonic_s()
        try:
            fetched = self._fetcher.fetch(
                url, validators=validators, headers=run.feed.headers, timeout_s=deadline.left_s
            )
        except FetchError as exc:
            self._egress.note_end(url, exc)
            self._metrics.note_fetch(exc.kind, self._clock.monotonic_s() - started_s, 0)
            raise
        self._egress.note_end(url, None)
        outcome = "not_modified" if fetched.not_modified else "modified"
        self._metrics.note_fetch(outcome, fetched.duration_s, len(fetched.body))
        return fetched

    def _is_look_due(self, known: UrlHistory) -> bool:
        """Return whether a URL has answered nothing but 304 for so long that one look is due."""
        since = known.only_304_since
        return since is not None and self._clock.now() - since >= ONLY_304_FOR

    def _answer(self, url: str, known: UrlHistory, fetched: FetchedFeed) -> UrlAnswer:
        """Return an answer as HTTP gives it; its document is yet to be read."""
        is_304 = fetched.http_status == HTTPStatus.NOT_MODIFIED
        since = (known.only_304_since or self._clock.now()) if is_304 else None
        # The same body under other validators: send the latest ones from now on.
        is_same_body = fetched.not_modified and not is_304
        return UrlAnswer(
            url,
            http_status=fetched.http_status,
            is_not_modified=fetched.not_modified,
            validators=_to_store(fetched.validators) if is_same_body else None,
            history=replace(known, was_slow=False, only_304_since=since),
            max_age_s=fetched.cache_max_age_s,
            final_url=fetched.final_url,
            size=len(fetched.body),
        )

    def _keep(
        self, run: Run, body: bytes, url: str, content_type: str | None, final_url: str | None
    ) -> KeptBody | None:
        """Return a body as it is to be kept; None when it is not."""
        # What a back-fill reads by pages is older than all else, whenever it comes.
        if not self._max_kept_bytes or reads_back(run):
            return None
        compressed, now = zlib.compress(body, KEPT_LEVEL), self._clock.now()
        if len(compressed) > self._max_kept_bytes:
            return None
        return body_to_keep(run, compressed, len(body), now, (url, content_type, final_url))

    def _parse(
        self, answer: UrlAnswer, known: UrlHistory, fetched: FetchedFeed, deadline: RunDeadline
    ) -> UrlAnswer:
        # Items with a relative link take over what they are resolved against.
        base_url = mask_url(fetched.final_url)
        try:
            parsed = self.parse_body(fetched.body, fetched.content_type, base_url, deadline)
        except ParseError as exc:
            raise _explain_refusal(exc, answer.url, fetched) from exc
        history = UrlHistory(
            parsed.ttl_s,
            parsed.skip_hours,
            parsed.skip_days,
            had_items=known.had_items or bool(parsed.entries),
            said_moved_to=show_other(base_url, parsed.moved_to or ""),
            is_disbelieved=known.is_disbelieved,
        )
        warnings = [f"{answer.shown_url}: {fault}" for fault in fetched.faults]
        warnings += _other_places(answer.shown_url, history, fetched)
        next_page = find_next_page(fetched.final_url, parsed.next_page)
        read = replace(answer, history=history, warnings=tuple(warnings), next_page=next_page)
        return _with_document(read, known, parsed, _to_store(fetched.validators))

    def parse_body(
        self, body: bytes, content_type: str | None, url: str | None, deadline: RunDeadline
    ) -> ParsedFeed:
        """Parse a body, or raise ``ParseError``, in what is left of a run's time."""
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
            self._metrics.note_parse(self._clock.monotonic_s() - started_s)

    def _read_document(self, run: Run, deadline: RunDeadline) -> UrlAnswer:
        answer = UrlAnswer(DOCUMENT_URL)
        body = self._documents.read(run.importing.import_id)
        if body is None:
            gone = ParseError(ErrorKind.EMPTY, "the document that was handed in is gone")
            return replace(answer, error=gone)
        validators = StoredValidators(body_hash=hashlib.sha256(body).hexdigest())
        stored = run.feed.validators.get(DOCUMENT_URL)
        is_known = stored is not None and stored.body_hash == validators.body_hash
        if is_known and not run.importing.force:
            return replace(answer, is_not_modified=True)
        try:
            parsed = self.parse_body(body, DOCUMENT_TYPE, None, deadline)
        except ParseError as exc:
            return replace(answer, error=exc)
        known = FeedHistory.read(run.feed.history).urls.get(DOCUMENT_URL, UrlHistory())
        history = UrlHistory(had_items=known.had_items or bool(parsed.entries))
        kept = self._keep(run, body, DOCUMENT_URL, DOCUMENT_TYPE, None)
        read = replace(answer, history=history, body=kept)
        return _with_document(read, known, parsed, validators)

    def _explain_failure(self, fetched: Fetched, deadline: RunDeadline) -> Failure:
        errors = fetched.errors or [ParseError(ErrorKind.NO_URL, "the feed has no URL to fetch")]
        error = next((error for error in errors if error.retryable), errors[0])
        if deadline.is_over:
            # Tried again at once, it would only take the same time once more.
            error = _out_of_time(errors, deadline)
        is_unreachable = {error.kind for error in errors} <= UNREACHABLE
        return Failure(error, fetched, is_outage=is_unreachable and self._egress.is_out())


def believe_no_304(fetched: Fetched) -> Fetched:
    """Return answers after an import that found news: 304s that hid them are not believed again."""
    return Fetched(
        tuple(_disbelieved(answer) if answer.is_look else answer for answer in fetched.answers)
    )


def _disbelieved(answer: UrlAnswer) -> UrlAnswer:
    history = replace(answer.history or UrlHistory(), is_disbelieved=True)
    warning = (
        f"{answer.shown_url}: answered 304 (not modified) for {ONLY_304_FOR.days} days though "
        "there were changes; from now on it is fetched whole each time"
    )
    return replace(answer, history=history, warnings=(*answer.warnings, warning))


def _with_document(
    answer: UrlAnswer, known: UrlHistory, parsed: ParsedFeed, validators: StoredValidators
) -> UrlAnswer:
    """Return an answer whose document was read.

    Its validators count only if it is whole, and did not shrink to nothing: they would hide what
    is missing.
    """
    warnings = [*answer.warnings, *parsed.warnings]
    is_empty = known.had_items and not parsed.entries and not parsed.rejected
    if is_empty:
        warnings.append(f"{answer.shown_url}: listed items before and now lists none")
    return replace(
        answer,
        parsed=parsed,
        warnings=tuple(warnings),
        validators=validators if parsed.is_whole and not is_empty else None,
    )


def _note_move(answer: UrlAnswer, fetched: FetchedFeed) -> UrlAnswer:
    """Warn of a permanent redirect: it is followed each time, and never adopted silently."""
    permanent_url = fetched.permanent_url
    target = mask_url(permanent_url) if permanent_url is not None else None
    answer = replace(answer, history=replace(answer.history or UrlHistory(), moved_to=target))
    if target is None:
        return answer
    warning = f"{answer.shown_url}: moved permanently to {target}; change the feed's url"
    return replace(answer, warnings=(*answer.warnings, warning))


def _explain_refusal(error: ParseError, url: str, fetched: FetchedFeed) -> FetchError | ParseError:
    """Return why an answer is no feed, with what HTTP says of it."""
    if fetched.is_cut and error.kind in _KINDS_OF_CUT:
        reason = f"{fetched.faults[0]}; what came holds no whole item"
        return FetchError(url, ErrorKind.CONNECT, reason, retryable=True)
    target = read_refresh(fetched.refresh, url=fetched.final_url)
    if target is not None and not error.retryable and type(error) is ParseError:
        return ParseError(error.kind, f"{error}; its Refresh header leads to {target}")
    return error


def _other_places(shown: str, history: UrlHistory, fetched: FetchedFeed) -> Iterator[str]:
    """Yield warnings with the URLs that a feed or its answer names instead of its own."""
    if history.said_moved_to is not None:
        target = history.said_moved_to
        yield f"{shown}: the feed says that it has moved to {target}; change the feed's url"
    refreshed_to = read_refresh(fetched.refresh, url=fetched.final_url)
    if refreshed_to is not None:
        yield f"{shown}: its Refresh header leads to {refreshed_to}"


def _out_of_time(errors: list[FetchError | ParseError], deadline: RunDeadline) -> FetchError:
    reason = f"nothing could be read in the {deadline.limit_s:g} s that a run may take"
    if len(errors) > 1:
        reason += f" for all its {len(errors)} URLs together"
    return FetchError("", ErrorKind.TIMEOUT, f"{reason}; first: {errors[0]}")


def _to_send(stored: StoredValidators | None) -> Validators | None:
    if stored is None:
        return None
    return Validators(stored.etag, stored.last_modified, stored.body_hash, stored.final_url)


def _to_store(answered: Validators) -> StoredValidators:
    return StoredValidators(
        answered.etag, answered.last_modified, answered.body_hash, answered.final_url
    )
