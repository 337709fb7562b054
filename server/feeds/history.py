"""What a feed's URLs answered this time, and what is remembered of earlier answers. Pure.

The history is a plain document, the feed's field ``history``; empty parts are left out::

    retry_after_until  until when a host of the feed asked not to be asked
    gone_since         when the first of an unbroken row of 410s came
    failures_by_hand   how many of the feed's failures in a row came of imports by hand
    urls               of each URL that has any: ``url``, ``ttl_s``, ``skip_hours`` (UTC),
                       ``skip_days``, ``moved_to`` (target of a permanent redirect),
                       ``said_moved_to`` (where the document itself says so), ``had_items``
                       (true once it listed items: none at all is suspicious from then on),
                       ``was_slow`` (it failed late; it is asked after the others),
                       ``only_304_since`` (when the first of an unbroken row of 304s came),
                       ``is_disbelieved`` (a 304 hid items: it is asked without conditions)

``urls`` is there for the answers without a body: a 304 goes on meaning what the last document
asked for. A list, for a URL can be no field name; an empty URL stands for handed-in documents.
Changed URLs clear the whole history.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import datetime, timedelta
from math import isfinite
from typing import Any, Self, TypeVar

from shared.error_kinds import ErrorKind

T = TypeVar("T")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# Nothing that a publisher asks for counts for longer: one mistake must not silence a feed.
MAX_WAIT = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Response:
    """What one import met when it asked a feed's URLs.

    ``error_kinds`` are those of all URLs when all of them failed, else empty: a 304 and an
    unchanged body are answers too. ``is_outage``: the errors are our own line's. ``was_paused``: no
    URL was asked at all, because a host's Retry-After runs. Of several URLs ``max_age_s`` and
    ``retry_after_s`` are the longest. ``is_explicit``: somebody asked for it, not the schedule.
    """

    error_kinds: frozenset[str] = frozenset()
    is_outage: bool = False
    was_paused: bool = False
    max_age_s: float | None = None
    retry_after_s: float | None = None
    is_explicit: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether no URL answered."""
        return bool(self.error_kinds)

    @property
    def is_of_publisher(self) -> bool:
        """Whether it comes from the publisher."""
        return not (self.is_outage or self.was_paused)

    @property
    def is_gone(self) -> bool:
        """Whether all URLs answered 410."""
        return self.error_kinds == {ErrorKind.GONE}


@dataclass(frozen=True, slots=True)
class UrlHistory:
    """What one URL's documents asked for and listed, and where the URL moved to for good.

    ``moved_to`` and ``said_moved_to`` are for people: their secrets are masked.
    """

    ttl_s: float | None = None
    skip_hours: frozenset[int] = frozenset()
    skip_days: frozenset[str] = frozenset()
    moved_to: str | None = None
    had_items: bool = False
    was_slow: bool = False
    said_moved_to: str | None = None
    only_304_since: datetime | None = None
    is_disbelieved: bool = False

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return an entry of ``urls`` read back; what makes no sense in it is forgotten."""
        return cls(**{name: read(document.get(name)) for name, read in _URL_FIELDS.items()})

    def write(self) -> dict[str, Any]:
        """Return it as stored."""
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return _without_empty(
            {
                name: sorted(value) if isinstance(value, frozenset) else value
                for name, value in values.items()
            }
        )


@dataclass(frozen=True, slots=True)
class FeedHistory:
    """A feed's history; the module's docstring says what each part means."""

    retry_after_until: datetime | None = None
    gone_since: datetime | None = None
    failures_by_hand: int = 0
    urls: Mapping[str, UrlHistory] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return a feed's stored history; what makes no sense in it is forgotten."""
        entries = _all_of(dict, document.get("urls"))
        return cls(
            retry_after_until=_only(datetime, document.get("retry_after_until")),
            gone_since=_only(datetime, document.get("gone_since")),
            failures_by_hand=_count(document.get("failures_by_hand")),
            urls={
                entry["url"]: UrlHistory.read(entry)
                for entry in entries
                if isinstance(entry.get("url"), str)
            },
        )

    def write(self) -> dict[str, Any]:
        """Return it as stored."""
        urls = {url: entry.write() for url, entry in self.urls.items()}
        return _without_empty(
            {
                "retry_after_until": self.retry_after_until,
                "gone_since": self.gone_since,
                "failures_by_hand": self.failures_by_hand,
                "urls": [{"url": url, **entry} for url, entry in urls.items() if entry],
            }
        )

    @property
    def ttl_s(self) -> float | None:
        """The longest time for which one of the URLs asks not to be fetched again."""
        return max((entry.ttl_s for entry in self.urls.values() if entry.ttl_s), default=None)

    def skips(self, moment: datetime) -> bool:
        """Return whether one of the URLs asks not to be fetched in this hour or on this UTC day."""
        day = _DAYS[moment.weekday()]
        return any(
            moment.hour in url.skip_hours or day in url.skip_days for url in self.urls.values()
        )


def remember(history: FeedHistory, response: Response, now: datetime) -> FeedHistory:
    """Return a history with what a response means for Retry-After and 410.

    Anything but a 410 that comes from the publisher forgets the earlier one.
    """
    until, gone_since = history.retry_after_until, history.gone_since
    if response.retry_after_s:
        until = now + min(timedelta(seconds=response.retry_after_s), MAX_WAIT)
    if response.is_of_publisher:
        gone_since = (gone_since or now) if response.is_gone else None
    if until is not None and until <= now:
        until = None
    return replace(history, retry_after_until=until, gone_since=gone_since)


def _only(kind: type[T], value: Any) -> T | None:
    """Return a value of a kind (a float may be whole), None for any other."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return value if isfinite(value) and value >= 0 else None  # type: ignore[return-value]
    return value if isinstance(value, kind) else None


def _count(value: Any) -> int:
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    return max(value, 0) if is_whole else 0


def _all_of(kind: type[T], values: Any) -> list[T]:
    return [value for value in values if isinstance(value, kind)] if _is_list(values) else []


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _is_true(value: Any) -> bool:
    return value is True


def _without_empty(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value}


_URL_FIELDS: Mapping[str, Callable[[Any], Any]] = {
    "ttl_s": lambda value: _only(float, value),
    "skip_hours": lambda value: frozenset(_all_of(int, value)),
    "skip_days": lambda value: frozenset(_all_of(str, value)),
    "moved_to": lambda value: _only(str, value),
    "had_items": _is_true,
    "was_slow": _is_true,
    "said_moved_to": lambda value: _only(str, value),
    "only_304_since": lambda value: _only(datetime, value),
    "is_disbelieved": _is_true,
}
