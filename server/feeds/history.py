"""What a feed remembers of earlier answers, for its schedule. Pure.

It is a plain document, the feed's field ``history``; empty parts are left out::

    retry_after_until  until when a host of the feed asked not to be asked
    gone_since         when the first of an unbroken row of 410s came
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

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import isfinite
from typing import Any, Self, TypeVar

T = TypeVar("T")
_DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


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
        """Return an entry of ``urls`` read back."""
        return cls(
            ttl_s=_only(float, document.get("ttl_s")),
            skip_hours=frozenset(_all_of(int, document.get("skip_hours"))),
            skip_days=frozenset(_all_of(str, document.get("skip_days"))),
            moved_to=_only(str, document.get("moved_to")),
            had_items=document.get("had_items", False) is True,
            was_slow=document.get("was_slow", False) is True,
            said_moved_to=_only(str, document.get("said_moved_to")),
            only_304_since=_only(datetime, document.get("only_304_since")),
            is_disbelieved=document.get("is_disbelieved", False) is True,
        )

    def write(self) -> dict[str, Any]:
        """Return it as stored."""
        return _without_empty(
            {
                "ttl_s": self.ttl_s,
                "skip_hours": sorted(self.skip_hours),
                "skip_days": sorted(self.skip_days),
                "moved_to": self.moved_to,
                "had_items": self.had_items,
                "was_slow": self.was_slow,
                "said_moved_to": self.said_moved_to,
                "only_304_since": self.only_304_since,
                "is_disbelieved": self.is_disbelieved,
            }
        )


@dataclass(frozen=True, slots=True)
class FeedHistory:
    """A feed's history; the module's docstring says what each part means."""

    retry_after_until: datetime | None = None
    gone_since: datetime | None = None
    urls: Mapping[str, UrlHistory] = field(default_factory=dict)

    @classmethod
    def read(cls, document: Mapping[str, Any]) -> Self:
        """Return a feed's stored history; what makes no sense in it is forgotten."""
        entries = _all_of(dict, document.get("urls"))
        return cls(
            retry_after_until=_only(datetime, document.get("retry_after_until")),
            gone_since=_only(datetime, document.get("gone_since")),
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
                "urls": [{"url": url, **entry} for url, entry in urls.items() if entry],
            }
        )

    @property
    def ttl_s(self) -> float | None:
        """The longest time for which one of the URLs asks not to be fetched again."""
        return max((entry.ttl_s for entry in self.urls.values() if entry.ttl_s), default=None)

    def skips(self, moment: datetime) -> bool:
        """Tell whether one of the URLs asks not to be fetched in this hour or on this day (UTC)."""
        hours, days = _union(self.urls.values())
        return moment.hour in hours or _DAYS[moment.weekday()] in days


def _only(kind: type[T], value: Any) -> T | None:
    """Return a value of a kind (a float may be whole), None for any other."""
    if kind is float and isinstance(value, int | float) and not isinstance(value, bool):
        return value if isfinite(value) and value >= 0 else None  # type: ignore[return-value]
    return value if isinstance(value, kind) else None


def _all_of(kind: type[T], values: Any) -> list[T]:
    return [value for value in values if isinstance(value, kind)] if _is_list(values) else []


def _is_list(value: Any) -> bool:
    return isinstance(value, list)


def _union(entries: Iterable[UrlHistory]) -> tuple[set[int], set[str]]:
    hours: set[int] = set()
    days: set[str] = set()
    for entry in entries:
        hours |= entry.skip_hours
        days |= entry.skip_days
    return hours, days


def _without_empty(document: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in document.items() if value}
