"""Which moments suit a feed: its crontab line, its publisher's skipHours, a little chance. Pure."""

from collections.abc import Callable
from datetime import datetime, timedelta

from server.feeds.history import FeedHistory
from server.feeds.response import MAX_WISH
from server.feeds.schedule import next_regular_fetch
from shared.errors import InvalidRequestError

_MAX_PART = timedelta(minutes=5)
_PART = 0.05

_INSTANT = timedelta(microseconds=1)

# Returns a float from 0 to below 1, as ``random.random`` does.
Random = Callable[[], float]


def cron_time(cron: str, after: datetime) -> datetime | None:
    """Return the first time behind ``after``; None for a line that never comes."""
    try:
        return next_regular_fetch(None, cron, after)
    except InvalidRequestError:
        return None


def fit(
    at: datetime,
    wait: timedelta,
    cron: str | None,
    history: FeedHistory,
    random: Random,
    cap: datetime | None = None,
) -> tuple[datetime, bool]:
    """Return the first time from ``at`` on that suits crontab line, skipHours and skipDays.

    Without a crontab line chance lengthens it by a share of ``wait``, not beyond ``cap``. Answers
    whether the publisher's hours and days have moved it; where they leave no time, they do not.
    """
    if cron is not None:
        return _fit_cron(at, cron, history)
    jitter = share(small_part(wait), random)
    spread = at + jitter if cap is None else max(at, min(at + jitter, cap))
    allowed = _leave_skipped(spread, history)
    if allowed is None or allowed == spread:
        return spread, False
    return allowed + jitter, True


def _fit_cron(at: datetime, cron: str, history: FeedHistory) -> tuple[datetime, bool]:
    first = moment = cron_time(cron, at - _INSTANT) or at
    while history.skips(moment):
        allowed = _leave_skipped(moment, history)
        if allowed is None:
            return first, False
        moment = cron_time(cron, allowed - _INSTANT) or allowed
        if moment - first > MAX_WISH:
            return first, False
    return moment, moment != first


def _leave_skipped(moment: datetime, history: FeedHistory) -> datetime | None:
    """Return the moment, or the first full hour behind it that is not skipped; None without one."""
    hour = moment
    while history.skips(hour):
        if hour - moment > MAX_WISH:
            return None
        hour = hour.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
    return hour


def small_part(wait: timedelta) -> timedelta:
    """Return how much of a wait does not matter: a twentieth, five minutes at most."""
    return min(wait * _PART, _MAX_PART)


def share(longest: timedelta, random: Random) -> timedelta:
    """Return some of a duration, in whole milliseconds, for MongoDB keeps no more."""
    return timedelta(milliseconds=int(longest / timedelta(milliseconds=1) * random()))


def show_duration(duration: timedelta) -> str:
    """Return a duration for people, its two largest units: ``3 h 12 min``, ``45 s``."""
    rest = round(duration.total_seconds())
    parts: list[str] = []
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, seconds)
        if count and len(parts) < 2:
            parts.append(f"{count} {unit}")
    return " ".join(parts) or "0 s"
