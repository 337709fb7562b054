"""Which times suit a feed: interval or crontab line, its publisher's skipHours, jitter. Pure."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from apscheduler.triggers.cron import CronTrigger

from server.feeds.history import MAX_WAIT, FeedHistory
from shared.errors import InvalidRequestError

_WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_ALIASES = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
_ACCEPTED = "five crontab fields in UTC (minute hour day month weekday; 0 is Sunday): '0 6 * * 1-5'"
_UNITS_S = {"day": 86_400, "h": 3_600, "min": 60, "s": 1}
_MAX_PART = timedelta(minutes=5)
_PART = 0.05

_INSTANT = timedelta(microseconds=1)

# Returns a float from 0 to below 1, as ``random.random`` does.
Random = Callable[[], float]


def check_cron(text: str, now: datetime) -> None:
    """Refuse what is not a crontab line, and one whose day never comes.

    Raises:
        InvalidRequestError: says what is accepted.
    """
    if _next_by_cron(text, now) is None:
        raise InvalidRequestError(f"cron {text[:80]!r} never matches a date: use {_ACCEPTED}")


def cron_time(cron: str, after: datetime) -> datetime | None:
    """Return the first time behind ``after``; None for a line that never comes."""
    try:
        return _next_by_cron(cron, after)
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
        if moment - first > MAX_WAIT:
            return first, False
    return moment, moment != first


def _leave_skipped(moment: datetime, history: FeedHistory) -> datetime | None:
    """Return the moment, or the first full hour behind it that is not skipped; None without one."""
    hour = moment
    while history.skips(hour):
        if hour - moment > MAX_WAIT:
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
    """Return a duration for people, its two largest units: ``3 h 12 min``, ``2 days 1 h``."""
    rest = round(duration.total_seconds())
    amounts: list[str] = []
    for unit, length_s in _UNITS_S.items():
        amount, rest = divmod(rest, length_s)
        if amount or amounts:
            amounts.append(_show_amount(amount, unit))
    return " ".join(filter(None, amounts[:2])) or "0 s"


def _show_amount(amount: int, unit: str) -> str:
    plural = "s" if unit == "day" and amount != 1 else ""
    return f"{amount} {unit}{plural}" if amount else ""


def _next_by_cron(text: str, now: datetime) -> datetime | None:
    after = now + timedelta(microseconds=1)
    times = [trigger.get_next_fire_time(None, after) for trigger in _triggers(text)]
    return min((moment.astimezone(UTC) for moment in times if moment is not None), default=None)


def _triggers(text: str) -> list[CronTrigger]:
    """Return triggers of which the earliest counts: day and weekday are alternatives to cron."""
    line = _ALIASES.get(text.strip().lower(), text)
    try:
        minute, hour, day, month, weekday = line.split()
        days = [(day, "*"), ("*", weekday)] if "*" not in (day[0], weekday[0]) else [(day, weekday)]
        return [
            CronTrigger(
                minute=minute,
                hour=hour,
                day=day_of_month,
                month=month,
                day_of_week=_name_weekdays(day_of_week),
                timezone=UTC,
            )
            for day_of_month, day_of_week in days
        ]
    except (ValueError, TypeError, AttributeError) as exc:
        raise InvalidRequestError(f"cron {text[:80]!r}: use {_ACCEPTED}") from exc


def _name_weekdays(field: str) -> str:
    """Return a weekday field as names, for APScheduler counts from Monday and cron from Sunday."""
    if field == "*":
        return field
    days = {day % 7 for part in field.lower().split(",") for day in _weekdays_of(part)}
    return ",".join(_WEEKDAYS[day] for day in sorted(days))


def _weekdays_of(part: str) -> range:
    span, _, step = part.partition("/")
    if span == "*":
        return range(0, 7, int(step or 1))
    first, is_range, last = span.partition("-")
    start = _weekday_number(first)
    end = _weekday_number(last) if is_range else 6 if step else start
    if end < start:  # fri-mon
        end += 7
    return range(start, end + 1, int(step or 1))


def _weekday_number(text: str) -> int:
    if text in _WEEKDAYS:
        return _WEEKDAYS.index(text)
    number = int(text)
    if not 0 <= number <= 7:
        raise ValueError(f"weekday {number} is not in 0-7")
    return number
