"""Finding the feeds behind a URL that somebody typed. Nothing is stored."""

import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from server.feeds.retry_after import RetryAfter
from server.fetching.answers import FetchedFeed
from server.fetching.fetcher import Fetcher
from server.fetching.host_slots import HostSlots
from server.parsing import ParsedFeed
from server.parsing.isolation import ParserPool
from server.parsing.page_feeds import CERTAIN_TYPES, WebPageError, read_link_header
from server.parsing.parsed import NamedFeed
from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import BusyError, FetchError, InvalidRequestError, ParseError, Postponed
from shared.urls import hosts_of

# Each holds one of the threads that serve requests, for as long as a fetch may take.
MAX_DISCOVERIES = 4
# At what a page names and may be no feed; one after the other, each with its own limits.
MAX_LOOKS = 5
# To wait for a parser and to parse; the command line waits that long beside the fetch.
PARSE_WITHIN_S = 60.0

_MEDIA_TYPES = {
    "rss": "application/rss+xml",
    "atom": "application/atom+xml",
    "rdf": "application/rdf+xml",
    "json_feed": "application/feed+json",
}
_OTHER_MEDIA_TYPE = "application/xml"


@dataclass(frozen=True, slots=True)
class Discovery:
    """What a URL leads to: itself if ``is_feed``, else the feeds that its page names."""

    feeds: tuple[NamedFeed, ...]
    is_feed: bool


class FeedDiscoverer:
    """Looks behind URLs, as politely as an import and with its parts. Safe for threads.

    ``check_url`` refuses a URL that may not be fetched, with InvalidRequestError.
    """

    def __init__(
        self,
        *,
        fetcher: Fetcher,
        parser: ParserPool,
        check_url: Callable[[str], str],
        retry_after: RetryAfter,
        host_slots: HostSlots,
        clock: Clock,
    ) -> None:
        self._fetcher = fetcher
        self._parser = parser
        self._check_url = check_url
        self._retry_after = retry_after
        self._host_slots = host_slots
        self._clock = clock
        self._free = threading.BoundedSemaphore(MAX_DISCOVERIES)

    def discover(self, url: str) -> Discovery:
        """Fetch a URL once and return what it leads to; a page may name no feeds at all.

        Of what a page names without saying for certain that it is a feed, up to five are fetched
        too: search indexes and the like are left out.

        Raises:
            InvalidRequestError: the URL may not be fetched.
            BusyError: too many are being looked at, or too much is asked of the host already.
            FetchError: it could not be fetched.
            ParseError: what was fetched is neither a feed nor a web page.
        """
        checked = self._check_url(url)
        if not self._free.acquire(blocking=False):
            raise BusyError(f"{MAX_DISCOVERIES} URLs are being looked at already; try again")
        try:
            return self._look_at(checked)
        finally:
            self._free.release()

    def _look_at(self, url: str) -> Discovery:
        fetched = self._fetch(url)
        try:
            parsed = self._parse(fetched)
        except ParseError as exc:
            if exc.kind != ErrorKind.HTML and not isinstance(exc, WebPageError):
                raise
            named = exc.feeds if isinstance(exc, WebPageError) else ()
            by_header = read_link_header(fetched.link, url=fetched.final_url)
            found = {feed.url: feed for feed in (*by_header, *named)}
            return Discovery(tuple(self._leave_out(found.values())), is_feed=False)
        media_type = _MEDIA_TYPES.get(parsed.format, _OTHER_MEDIA_TYPE)
        return Discovery((NamedFeed(url, parsed.title, media_type),), is_feed=True)

    def _leave_out(self, named: Iterable[NamedFeed]) -> Iterator[NamedFeed]:
        """Yield what is a feed, or may be one."""
        looks_left = MAX_LOOKS
        for feed in named:
            if feed.type in CERTAIN_TYPES or looks_left == 0 or self._may_be_feed(feed):
                yield feed
            looks_left = max(0, looks_left - (feed.type not in CERTAIN_TYPES))

    def _may_be_feed(self, feed: NamedFeed) -> bool:
        try:
            self._parse(self._fetch(self._check_url(feed.url)))
        except ParseError:
            return False
        except (FetchError, BusyError):
            # What cannot be looked at now is not judged.
            return True
        except InvalidRequestError:
            return False
        return True

    def _fetch(self, url: str) -> FetchedFeed:
        self._retry_after.check(url)
        try:
            with self._host_slots.hold(hosts_of([url])):
                return self._fetcher.fetch(url)
        except Postponed as exc:
            raise BusyError(f"{exc}; try again") from exc
        except FetchError as exc:
            self._retry_after.note(exc)
            raise

    def _parse(self, fetched: FetchedFeed) -> ParsedFeed:
        try:
            return self._parser.parse(
                fetched.body,
                content_type=fetched.content_type,
                url=fetched.final_url,
                now=self._clock.now(),
                timeout_s=PARSE_WITHIN_S,
            )
        except ParseError as exc:
            if exc.retryable:
                raise BusyError(f"{exc}; try again") from exc
            raise
