"""What an import met when it asked a feed's URLs, and what of it is worth remembering. Pure."""

from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from server.feeds.history import FeedHistory
from shared.errors import ErrorKind

# No wish of a publisher counts for longer: one mistake of his must not silence a feed.
MAX_WISH = timedelta(days=7)


@dataclass(frozen=True, slots=True)
class Response:
    """What one import met when it asked a feed's URLs.

    ``error_kinds`` are those of all URLs when all of them failed, else empty: a 304 and an
    unchanged body are answers too. ``is_outage``: the errors are our own line's. ``was_held``: no
    URL was asked at all, because a host's Retry-After runs. Of several URLs ``max_age_s`` and
    ``retry_after_s`` are the longest. ``is_explicit``: somebody asked for it, not the schedule.
    """

    error_kinds: frozenset[str] = frozenset()
    is_outage: bool = False
    was_held: bool = False
    max_age_s: float | None = None
    retry_after_s: float | None = None
    is_explicit: bool = False

    @property
    def has_failed(self) -> bool:
        """Whether no URL answered."""
        return bool(self.error_kinds)

    @property
    def is_telling(self) -> bool:
        """Whether it says anything about the publisher."""
        return not (self.is_outage or self.was_held)

    @property
    def is_gone(self) -> bool:
        """Whether all URLs answered 410."""
        return self.error_kinds == {ErrorKind.GONE}


def remember(history: FeedHistory, response: Response, now: datetime) -> FeedHistory:
    """Return a history with what a response says of Retry-After and 410.

    Anything but a 410 that comes from the publisher forgets the earlier one.
    """
    until, gone_since = history.retry_after_until, history.gone_since
    if response.retry_after_s:
        until = now + min(timedelta(seconds=response.retry_after_s), MAX_WISH)
    if response.is_telling:
        gone_since = (gone_since or now) if response.is_gone else None
    if until is not None and until <= now:
        until = None
    return replace(history, retry_after_until=until, gone_since=gone_since)
