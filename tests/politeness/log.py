"""What a publisher saw: every request with its simulated time, and what was answered."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from urllib.parse import urljoin, urlsplit

HOUR = timedelta(hours=1)
DAY = timedelta(days=1)
# Of one poll: redirects are followed at once, a server error may be tried again 1 and 2 s later.
ONE_POLL = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer. Header names are in lower case, values as on the wire.

    ``quiet_until``: the answer, or the document that it confirms, asks that this place be left
    alone until then; ``host_quiet_until``: the same for the whole host. ``is_skipped``: it came at
    a time that the document asks to skip. ``is_manual``: an operator asked for this fetch.
    ``in_flight``: requests that the host was answering at its arrival, this one included.
    """

    at: datetime
    host: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    status: int = 200
    answered: Mapping[str, str] = field(default_factory=dict)
    method: str = "GET"
    quiet_until: datetime | None = None
    host_quiet_until: datetime | None = None
    is_manual: bool = False
    in_flight: int = 1

    @property
    def place(self) -> str:
        """Where the request went: host and target as written."""
        return self.host + self.target

    @property
    def sent(self) -> "Tags":
        """The validators that the request carries."""
        headers = self.headers
        return Tags(headers.get("if-none-match"), headers.get("if-modified-since"))

    @property
    def given(self) -> "Tags":
        """The validators that the answer carries."""
        return Tags(self.answered.get("etag"), self.answered.get("last-modified"))

    @property
    def leads_to(self) -> str | None:
        """The place that a redirect leads to; None for any other answer."""
        if self.status not in (301, 302, 303, 307, 308):
            return None
        here = f"http://{self.host}{self.target}"
        target = urlsplit(urljoin(here, self.answered.get("location", "")))
        query = f"?{target.query}" if target.query else ""
        return f"{target.hostname}{target.path}{query}"

    @property
    def is_permanent_redirect(self) -> bool:
        """Whether the answer says that the feed has moved for good."""
        return self.status in (301, 308)

    @property
    def is_error(self) -> bool:
        """Whether the answer is an error that asks for a back-off of the reader's own."""
        return self.status >= 400 and self.status != 410 and self.host_quiet_until is None


@dataclass(frozen=True, slots=True)
class Tags:
    """ETag and Last-Modified, or what is sent back of them."""

    etag: str | None = None
    last_modified: str | None = None

    def __bool__(self) -> bool:
        return self.etag is not None or self.last_modified is not None

    def __str__(self) -> str:
        return f"ETag {self.etag or 'none'}, Last-Modified {self.last_modified or 'none'}"


@dataclass(frozen=True, slots=True)
class Log:
    """All exchanges of a simulation, in order of time, and what is needed to judge them.

    ``places`` are those that a reader may ask for: subscribed, or redirected to. ``reported`` are
    the warnings and errors that the service shows its operator.
    """

    exchanges: Sequence[Exchange]
    ended_at: datetime
    places: frozenset[str] = frozenset()
    reported: Sequence[str] = ()
    interval: timedelta = HOUR
    max_per_host: int = 2

    def by_place(self) -> Iterator[list[Exchange]]:
        """Yield the exchanges of each place."""
        for _, found in groupby(sorted(self.exchanges, key=_place), key=_place):
            yield list(found)

    def by_host(self) -> Iterator[list[Exchange]]:
        """Yield the exchanges of each host."""
        for _, found in groupby(sorted(self.exchanges, key=_host), key=_host):
            yield list(found)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a check did not pass, and the request that broke it."""

    exchange: Exchange
    reason: str


def polls(exchanges: Sequence[Exchange]) -> list[Exchange]:
    """Return the last request of each scheduled poll of one place."""
    scheduled = [exchange for exchange in exchanges if not exchange.is_manual]
    found: list[Exchange] = []
    for exchange in scheduled:
        if found and _is_tried_again(found[-1], exchange):
            found.pop()
        found.append(exchange)
    return found


def _is_tried_again(earlier: Exchange, later: Exchange) -> bool:
    return earlier.status >= 500 and earlier.is_error and later.at - earlier.at <= ONE_POLL


def _place(exchange: Exchange) -> str:
    return exchange.place


def _host(exchange: Exchange) -> str:
    return exchange.host
