"""Crontab patterns as BullMQ reads them, and the times they name. Pure.

A parser of our own, for Node's workers go on with our schedules and we with theirs, so that both
have to find the same times: a test compares them. APScheduler, croniter and cronsim find others
where a clock is put back or forward, and where both day fields are given.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta, tzinfo

from shared.errors import InvalidJobOptions

ACCEPTED = (
    "a crontab pattern: [second] minute hour day month weekday, with * ? , - / L and #; "
    "or @yearly @monthly @weekly @daily @hourly @minutely @secondly @weekdays @weekends"
)
MAX_LENGTH = 1024
# The year 9000: calendars end soon after.
MAX_TIME_MS = 221_845_392_000_000
# A 29th of February that is a given weekday comes within 40 years, also across 2100.
_SEARCHED_DAYS = 40 * 366
_HOURS_OF_DAY = 24
_DAYS_OF_WEEK = 7

_ALIASES = {
    "@yearly": "0 0 0 1 1 *",
    "@annually": "0 0 0 1 1 *",
    "@monthly": "0 0 0 1 * *",
    "@weekly": "0 0 0 * * 0",
    "@daily": "0 0 0 * * *",
    "@hourly": "0 0 * * * *",
    "@minutely": "0 * * * * *",
    "@secondly": "* * * * * *",
    "@weekdays": "0 0 0 * * 1-5",
    "@weekends": "0 0 0 * * 0,6",
}
# What stands for fields that are missing in front.
_DEFAULTS = ("0", "*", "*", "*", "*", "*")
_MONTH_NAMES = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAY_NAMES = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_MONTHS = {name: number for number, name in enumerate(_MONTH_NAMES, 1)}
_WEEKDAYS = {name: number for number, name in enumerate(_DAY_NAMES)}
_ANY = ("*", "?")
_PART = re.compile(r"(?P<first>[*?]|[0-9a-z]+)(?:-(?P<last>[0-9a-z]+))?(?:/(?P<step>[0-9]+))?")
_NTH = re.compile(r"(?P<day>[0-9A-Za-z]+)#(?P<nth>[1-5])")


@dataclass(frozen=True, slots=True)
class DaysOfMonth:
    """Days by their number; ``with_last``: and the last one of each month."""

    numbers: frozenset[int]
    with_last: bool

    def match(self, day: date) -> bool:
        """Return whether a day is one of them."""
        return day.day in self.numbers or (self.with_last and (day + timedelta(days=1)).day == 1)


@dataclass(frozen=True, slots=True)
class Weekdays:
    """Days of the week, 0 is Sunday: all of them, or if ``nth`` is not 0 the nth of each month.

    ``last`` are those that count only as the last one of their month.
    """

    numbers: frozenset[int]
    last: frozenset[int]
    nth: int

    def match(self, day: date) -> bool:
        """Return whether a day is one of them."""
        weekday = day.isoweekday() % _DAYS_OF_WEEK
        if weekday in self.numbers:
            return self.nth in (0, (day.day - 1) // _DAYS_OF_WEEK + 1)
        is_last = (day + timedelta(days=_DAYS_OF_WEEK)).month != day.month
        return is_last and weekday in self.last


@dataclass(frozen=True, slots=True)
class Pattern:
    """The times of day, in order, and the days on which they come.

    Where both day fields are given, a day that one of them names is enough.
    """

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: frozenset[int]
    day_fields: tuple[DaysOfMonth | Weekdays, ...]

    def match_day(self, day: date) -> bool:
        """Return whether the times come on a day."""
        if day.month not in self.months:
            return False
        return not self.day_fields or any(field.match(day) for field in self.day_fields)

    def match(self, wall: datetime) -> bool:
        """Return whether what a clock shows is one of the times."""
        is_time = wall.minute in self.minutes and wall.second in self.seconds
        return is_time and wall.hour in self.hours and self.match_day(wall.date())


def read_pattern(text: str) -> Pattern:
    """Read a crontab pattern of up to six fields; missing ones are added in front, as Node does.

    Raises:
        InvalidJobOptions: it is none, or has an ``H``, which means another time to each reader.
    """
    fields = _ALIASES.get(text, text).split()
    try:
        if not 1 <= len(fields) <= len(_DEFAULTS) or len(text) > MAX_LENGTH:
            raise ValueError("so many fields")
        return _read_fields(*_DEFAULTS[: len(_DEFAULTS) - len(fields)], *fields)
    except ValueError as exc:
        raise InvalidJobOptions("pattern", text[:80], ACCEPTED) from exc


def next_time(pattern: Pattern, zone: tzinfo, after_ms: int) -> int | None:
    """Return the first time behind ``after_ms``; None where none comes within 40 years, or ever.

    A time that a clock put forward leaves out comes as much later, unless midnight is left out too:
    then it does not come. In an hour that a clock put back repeats, a pattern for every hour comes
    both times, any other the first time only.
    """
    if after_ms > MAX_TIME_MS:
        return None
    after = after_ms // 1000
    wall = _wall(after, zone)
    there = _next_wall(pattern, wall)
    if there is not None and there < (begin := _begin_of_day(there, zone)):
        there = _next_wall(pattern, begin - timedelta(seconds=1))
    if there is None:
        return None
    first, second = (_instant(there, zone, fold) for fold in (0, 1))
    found = first if first > after else second
    if len(pattern.hours) == _HOURS_OF_DAY:
        # By the clock that was not put back.
        elapsed = after + int((there - wall).total_seconds())
        if elapsed < found and pattern.match(_wall(elapsed, zone)):
            found = elapsed
    return found * 1000


def _begin_of_day(there: datetime, zone: tzinfo) -> datetime:
    """Return the first time that a day has: midnight, unless a clock put forward leaves it out."""
    return _wall(_instant(datetime.combine(there, time()), zone), zone)


def _instant(wall: datetime, zone: tzinfo, fold: int = 0) -> int:
    return int(wall.replace(tzinfo=zone, fold=fold).timestamp())


def _wall(instant: int, zone: tzinfo) -> datetime:
    return datetime.fromtimestamp(instant, zone).replace(tzinfo=None, fold=0)


def _next_wall(pattern: Pattern, wall: datetime) -> datetime | None:
    """Return the first time behind ``wall`` that the clocks of a place without changes show."""
    day: date | None = wall.date()
    at = _later(pattern, wall.hour, wall.minute, wall.second)
    if at is None or not pattern.match_day(wall.date()):
        at = time(pattern.hours[0], pattern.minutes[0], pattern.seconds[0])
        day = _next_day(pattern, wall.date())
    return None if day is None else datetime.combine(day, at)


def _later(pattern: Pattern, hour: int, minute: int, second: int) -> time | None:
    later = (
        time(*clock)
        for clock_hour in pattern.hours
        if clock_hour >= hour
        for clock_minute in pattern.minutes
        if (clock_hour, clock_minute) >= (hour, minute)
        for clock_second in pattern.seconds
        if (clock := (clock_hour, clock_minute, clock_second)) > (hour, minute, second)
    )
    return next(later, None)


def _next_day(pattern: Pattern, day: date) -> date | None:
    days = (day + timedelta(days=number) for number in range(1, _SEARCHED_DAYS))
    return next((each for each in days if pattern.match_day(each)), None)


def _read_fields(
    second: str, minute: str, hour: str, day: str, month: str, weekday: str
) -> Pattern:
    days = () if day in _ANY else (_read_days(day.split(",")),)
    weekdays = () if weekday in _ANY else (_read_weekdays(weekday),)
    return Pattern(
        seconds=tuple(sorted(_numbers(second.split(","), 0, 59))),
        minutes=tuple(sorted(_numbers(minute.split(","), 0, 59))),
        hours=tuple(sorted(_numbers(hour.split(","), 0, 23))),
        months=frozenset(_numbers(month.lower().split(","), 1, 12, _MONTHS)),
        day_fields=(*days, *weekdays),
    )


def _read_days(parts: Sequence[str]) -> DaysOfMonth:
    numbers = _numbers([part for part in parts if part != "L"], 1, 31)
    return DaysOfMonth(frozenset(numbers), "L" in parts)


def _read_weekdays(field: str) -> Weekdays:
    nth = _NTH.fullmatch(field)
    if nth is not None:
        return Weekdays(_weekdays([nth["day"]]), frozenset(), int(nth["nth"]))
    parts = field.split(",")
    last = [part[:-1] for part in parts if part.endswith("L")]
    if not all(day.isalnum() for day in last):
        raise ValueError("which day's last")
    return Weekdays(_weekdays([part for part in parts if part[-1:] != "L"]), _weekdays(last), 0)


def _weekdays(parts: Sequence[str]) -> frozenset[int]:
    return frozenset(_numbers([part.lower() for part in parts], 0, _DAYS_OF_WEEK, _WEEKDAYS))


def _numbers(
    parts: Sequence[str], lowest: int, highest: int, names: Mapping[str, int] | None = None
) -> list[int]:
    numbers: list[int] = []
    for part in parts:
        span = _span(part, lowest, highest, names or {})
        numbers += {day % _DAYS_OF_WEEK for day in span} if names is _WEEKDAYS else span
    # As in Node: naming one twice is mostly a slip.
    if len(set(numbers)) < len(numbers):
        raise ValueError("named twice")
    return numbers


def _span(part: str, lowest: int, highest: int, names: Mapping[str, int]) -> range:
    found = _PART.fullmatch(part)
    if found is None or (found["first"] in _ANY and found["last"] is not None):
        raise ValueError(part)
    first, last, step = found["first"], found["last"], found["step"]
    start = lowest if first in _ANY else _number(first, names)
    end = start if last is None else _number(last, names)
    if first in _ANY or (last is None and step is not None):
        end = highest
    if not lowest <= start <= end <= highest:
        raise ValueError(part)
    return range(start, end + 1, int(step or 1))


def _number(text: str, names: Mapping[str, int]) -> int:
    return names[text] if text in names else int(text)
