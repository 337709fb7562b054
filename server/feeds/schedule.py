"""When a feed's next regular fetch is: after its interval, or by its crontab line. Pure."""

from datetime import UTC, datetime, timedelta

from apscheduler.triggers.cron import CronTrigger

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


def next_regular_fetch(
    feed_interval_s: int | None, cron: str | None, now: datetime
) -> datetime | None:
    """Return the next time after ``now``; None for a feed that is not scheduled.

    Raises:
        InvalidRequestError: ``cron`` is no crontab line.
    """
    if cron is not None:
        return _next_by_cron(cron, now)
    if feed_interval_s is not None:
        return now + timedelta(seconds=feed_interval_s)
    return None


def check_cron(text: str, now: datetime) -> None:
    """Refuse what is not a crontab line, and one whose day never comes.

    Raises:
        InvalidRequestError: says what is accepted.
    """
    if _next_by_cron(text, now) is None:
        raise InvalidRequestError(f"cron {text[:80]!r} never comes: accepted are {_ACCEPTED}")


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
        raise InvalidRequestError(f"cron {text[:80]!r}: accepted are {_ACCEPTED}") from exc


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
