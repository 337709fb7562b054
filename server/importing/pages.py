"""Follows the pages of a feed: those that name one another, and those that are numbered.

Pages that name one another (RFC 5005, JSON Feed's ``next_url``) are followed at a feed's first
import and by back-fills; numbered ones (``{page}`` in the URL) for each interval of a window. All
of one run are asked one after the other, in the run's time.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from http import HTTPStatus
from urllib.parse import urlsplit

from server.feeds.windows import PAGE
from server.fetching.addresses import mask_url
from server.importing.values import Run, UrlAnswer
from server.parsing import ParsedFeed
from server.parsing.links import is_absolute, join_url
from shared.error_kinds import ErrorKind
from shared.errors import ParseError
from shared.urls import is_same_site, with_login

# An interval whose pages do not end within so many is too long, whatever FETCH_PAGES says.
LEAST_NUMBERED_PAGES = 100
# A run with less of its time left than this begins no further page: it has to store what it has.
_LEAST_SHARE_LEFT = 0.2
_NO_PAGE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})

# Asks one URL; returns what it answers, whatever happens.
Ask = Callable[[str], UrlAnswer]


@dataclass(frozen=True, slots=True)
class PageLimits:
    """How many pages one run reads of a URL, and how many bytes they may have together."""

    pages: int
    max_bytes: int


def find_next_page(final_url: str, written: str | None) -> str | None:
    """Return the URL of the page that a document names as its next, if it is another one."""
    url = join_url(final_url, (written or "").strip())
    is_page = written is not None and is_absolute(url) and url.isprintable()
    return url if is_page and _plain(url) != _plain(final_url) else None


def wants_linked_pages(run: Run, *, had_items: bool) -> bool:
    """Return whether a run follows pages: a back-fill's, or the first import of a feed."""
    if run.importing.indexer is not None:
        return reads_back(run)
    return not had_items and run.feed.last_import is None


def reads_back(run: Run) -> bool:
    """Return whether a run is a part of a back-fill by pages."""
    return run.importing.content_revision is not None


def needs_all_answers(run: Run) -> bool:
    """Return whether an import without the answer of one URL would leave a gap that nobody fills.

    So it is with the intervals of a window, which are read once.
    """
    return run.importing.indexer is not None and not reads_back(run)


def follow_links(
    first: UrlAnswer, run: Run, ask: Ask, limits: PageLimits, *, share_left: Callable[[], float]
) -> Iterator[UrlAnswer]:
    """Yield the answer of a URL, then those of the pages behind it.

    Ends at the limits, at the first page that fails, at one of another site, and where nothing new
    comes; a back-fill also where all is older than what it was asked for. The last answer that was
    read names the page behind it, if that was not read. Only the first says anything of the feed's
    state: a page's validators are none of the feed.
    """
    until = _read_until(run)
    seen_urls, seen_entries = {_plain(first.url)}, _entries(first)
    pages, size, last = 1, first.size, first
    while True:
        following = last.next_page
        if following is None or _is_older(last.parsed, until):
            break
        reason = _why_to_stop(last, following, seen_urls, run, first.url)
        is_at_limit = pages >= limits.pages or size >= limits.max_bytes
        if reason is not None:
            yield _warned(replace(last, next_page=None), f"{reason}: {mask_url(following)}")
            return
        if is_at_limit or share_left() < _LEAST_SHARE_LEFT:
            yield last if reads_back(run) else warn_of_page(last, run.source)
            return
        answer = _as_page(ask(with_login(following, first.url)))
        if answer.error is not None:
            yield last
            yield answer
            return
        yield replace(last, next_page=None)
        seen_urls.add(_plain(following))
        entries = _entries(answer)
        if entries <= seen_entries:
            answer = replace(answer, next_page=None)
        seen_entries |= entries
        pages, size, last = pages + 1, size + answer.size, answer
    yield replace(last, next_page=None)


def follow_numbers(template: str, ask: Ask, limits: PageLimits) -> Iterator[UrlAnswer]:
    """Yield the answers of a URL's pages 1, 2 and so on, to the first that holds nothing new.

    One that does not come is an error, except that there is none; so are too many pages, or too
    large ones.
    """
    seen: set[tuple[str | None, ...]] = set()
    size = 0
    most = max(limits.pages, LEAST_NUMBERED_PAGES)
    for number in range(1, most + 1):
        url = template.replace(PAGE, str(number))
        answer = replace(ask(url), next_page=None)
        if number > 1 and answer.http_status in _NO_PAGE:
            return
        yield answer
        entries = _entries(answer)
        if answer.error is not None or entries <= seen:
            return
        seen |= entries
        size += answer.size
        if size > limits.max_bytes:
            reason = f"its pages hold more than FETCH_MAX_BYTES={limits.max_bytes} bytes"
            yield UrlAnswer(url, error=ParseError(ErrorKind.LIMITS, f"{reason}: shorten step_s"))
            return
    reason = f"the interval has more than {most} pages: shorten step_s, or raise FETCH_PAGES"
    yield UrlAnswer(template, error=ParseError(ErrorKind.LIMITS, reason))


def warn_of_page(answer: UrlAnswer, source: str) -> UrlAnswer:
    """Return an answer that says of itself that it is one page of several, if it is."""
    if answer.next_page is None:
        return answer
    return _warned(
        answer,
        f"the document is page one of several: older items are at {mask_url(answer.next_page)}; "
        f"'feedmill feeds backfill {source} --from TIME' reads them",
    )


def _warned(answer: UrlAnswer, warning: str) -> UrlAnswer:
    return replace(answer, warnings=(*answer.warnings, f"{answer.shown_url}: {warning}"))


def _why_to_stop(
    last: UrlAnswer, following: str, seen_urls: set[str], run: Run, own_url: str
) -> str | None:
    """Return why a page is not asked; logins and headers go to the feed's own site alone."""
    if _plain(following) in seen_urls:
        return "its pages lead in a circle, back to"
    is_open = not run.feed.headers and "@" not in urlsplit(own_url).netloc
    sites = [own_url, last.final_url or last.url] if is_open else [own_url]
    if not any(is_same_site(following, site) for site in sites):
        return "its next page is of another site and is not read"
    return None


def _as_page(answer: UrlAnswer) -> UrlAnswer:
    """Return a page's answer without what only the first page may say of the feed."""
    return replace(answer, validators=None, history=None, max_age_s=None, is_look=False, body=None)


def _entries(answer: UrlAnswer) -> set[tuple[str | None, ...]]:
    """Return what tells the entries of a page from one another."""
    if answer.parsed is None:
        return set()
    found = {(one.item.guid, one.written_link, one.item.title) for one in answer.parsed.entries}
    return found | {(one.guid, one.link, one.title) for one in answer.parsed.rejected}


def _read_until(run: Run) -> datetime | None:
    """Return the time before which a back-fill reads nothing."""
    moment = (run.importing.interval or {}).get("from")
    return moment if isinstance(moment, datetime) else None


def _is_older(parsed: ParsedFeed | None, until: datetime | None) -> bool:
    """Return whether a page has dates, all of them before a time."""
    if parsed is None or until is None:
        return False
    dates = [entry.item.published_at or entry.item.updated_at for entry in parsed.entries]
    known = [date for date in dates if date is not None]
    return bool(known) and max(known) < until


def _plain(url: str) -> str:
    """Return a URL without its fragment and login: what tells pages from one another."""
    try:
        parts = urlsplit(url)
        return parts._replace(fragment="", netloc=parts.netloc.rpartition("@")[2]).geturl()
    except ValueError:
        return url
