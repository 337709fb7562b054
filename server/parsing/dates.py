"""The dates of one document, read together. Pure: what is plausible is judged by a time given.

A date that cannot be read with certainty is no date: a wrong one would misorder and mislead.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from server.parsing.date_forms import (
    Parts,
    clean_text,
    english_month,
    find_months,
    languages_of,
    match_form,
    parse_zone,
    unix_milliseconds,
    weekday_numbers,
)
from shared.models import UNREAD_PUBLISHED, UNREAD_UPDATED, ExtraField

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LONGEST_AHEAD = timedelta(hours=48)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MONTHS = {
    "Jan": 1, "Feb": 2, "Mar": 3, "Apr": 4, "May": 5, "Jun": 6, "Jul": 7, "Aug": 8, "Sep": 9,
    "Oct": 10, "Nov": 11, "Dec": 12,
}  # fmt: skip
# What nearly all feeds write, as RFC 822 and RFC 3339 have it: read without trying other forms.
_RFC_822 = re.compile(
    r"(?:Mon|Tue|Wed|Thu|Fri|Sat|Sun), (?P<day>[0-9]{1,2}) (?P<month>[A-Z][a-z]{2}) "
    r"(?P<year>[0-9]{4}) (?P<hour>[0-9]{2}):(?P<minute>[0-9]{2}):(?P<second>[0-9]{2}) "
    r"(?:GMT|(?P<offset>[+-][0-9]{2}[0-5][0-9]))"
)
_RFC_3339 = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,3})?"
    r"(?:Z|[+-][0-9]{2}:[0-9]{2})"
)
_AFTERNOON = frozenset({"午後", "下午", "오후"})
_LONGEST_SAMPLE = 60


@dataclass(frozen=True, slots=True)
class DateHabits:
    """What the other dates of a document tell about one that could mean two things.

    ``day_first`` is the order of dates in figures, None where nothing or both orders were seen;
    ``languages`` are those of CLDR that the document may be in, none where nothing is known.
    """

    day_first: bool | None = None
    languages: frozenset[str] = frozenset()


def parse_date(written: str, habits: Callable[[], DateHabits] = DateHabits) -> datetime | None:
    """Return the moment that ``written`` names, in UTC, or None where it names none with certainty.

    Without a zone UTC is assumed; with an unknown zone, with day and month in an order that neither
    the weekday nor ``habits`` tell, or with a name that means different months, the answer is None.
    ``habits`` is asked only by a date that needs it.
    Nine or ten figures are seconds since 1970, with three or six more milli- or microseconds.
    Milliseconds are kept, finer parts dropped.
    """
    plain = _read_plain(written)
    if plain is not None:
        return plain
    text = clean_text(written)
    since_epoch_ms = unix_milliseconds(text)
    if since_epoch_ms is not None:
        return _EPOCH + timedelta(milliseconds=since_epoch_ms)
    parts = match_form(text) if text else None
    return _read_parts(parts, habits) if parts is not None else None


def find_habits(texts: Iterable[str], language: str | None) -> DateHabits:
    """Return what the dates of one document, read together, and its ``language`` tell.

    A date that is certain decides for all. Where two contradict, the order stays open.
    """
    orders: set[bool] = set()
    languages: frozenset[str] = frozenset()
    for text in dict.fromkeys(texts):
        parts = match_form(clean_text(text))
        if parts is None:
            continue
        if parts.get("first"):
            orders |= _certain_order(parts)
        elif (name := _foreign_name(parts)) is not None:
            found = languages_of(name, parts.get("weekday"))
            languages = (languages & found) or languages or found
    spoken = _spoken(language)
    day_first = next(iter(orders)) if len(orders) == 1 else None
    return DateHabits(day_first, (languages & spoken) or languages or spoken)


def _read_plain(text: str) -> datetime | None:
    """Return the moment of a date in one of the usual forms, to the letter; None for others."""
    try:
        match = _RFC_822.fullmatch(text)
        if match is None:
            is_plain = _RFC_3339.fullmatch(text) is not None
            return datetime.fromisoformat(text).astimezone(UTC) if is_plain else None
        day, month, year, hour, minute, second, offset = match.groups()
        if offset is None:
            written = f"{year}-{_MONTHS.get(month, 0):02}-{day:0>2}T{hour}:{minute}:{second}+00:00"
            return datetime.fromisoformat(written)
        zone = parse_zone(offset)
        if zone is None:
            # A time without a zone would be read in the machine's.
            return None
        moment = datetime(
            int(year), _MONTHS.get(month, 0), int(day), int(hour), int(minute), int(second),
            tzinfo=zone,
        )  # fmt: skip
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read_parts(parts: Parts, habits: Callable[[], DateHabits]) -> datetime | None:
    month_and_day = _month_and_day(parts, habits)
    zone = parse_zone(parts.get("zone"))
    if month_and_day is None or zone is None:
        return None
    try:
        day = datetime(_year(parts["year"]), *month_and_day, tzinfo=zone)
        return (day + _time_of_day(parts)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _month_and_day(parts: Parts, habits: Callable[[], DateHabits]) -> tuple[int, int] | None:
    weekday = parts.get("weekday")
    if weekday is not None and " " in weekday and not weekday_numbers(weekday):
        # A sentence, which may say anything.
        return None
    if parts.get("first"):
        certain = _certain_order(parts)
        return _ordered(parts, certain.pop() if certain else _usual_order(parts, habits()))
    month = parts["month"]
    if month is None or month.isdigit():
        return int(month or 1), int(parts.get("day") or 1)
    day = int(parts["day"] or 1)
    number = english_month(month, weekday)
    if number is None:
        number = _certain_month(find_months(month, weekday, habits().languages), day, parts)
    return (number, day) if number else None


def _certain_month(months: frozenset[int], day: int, parts: Parts) -> int | None:
    """Return the one month, or the one whose day is the weekday beside it."""
    if len(months) > 1:
        numbers = weekday_numbers(parts.get("weekday") or "")
        months = frozenset(m for m in months if _weekday_of(parts["year"], m, day) in numbers)
    return next(iter(months)) if len(months) == 1 else None


def _certain_order(parts: Parts) -> set[bool]:
    """Return whether the day stands first, as far as a date in figures tells that itself.

    A number over twelve is a day; else the weekday decides, if it fits one order alone. Empty where
    neither tells; both where it makes no difference.
    """
    first, second = int(parts["first"] or 0), int(parts["second_part"] or 0)
    if first == second or max(first, second) <= 12:
        numbers = weekday_numbers(parts.get("weekday") or "")
        fitting = {order for order in (True, False) if _weekday_in_order(parts, order) in numbers}
        return fitting if len(fitting) == 1 else set()
    return {first > 12}


def _usual_order(parts: Parts, habits: DateHabits) -> bool | None:
    if habits.day_first is None and parts["mark"] == "." and habits.languages - {"en"}:
        # No language but English writes the month first before a point.
        return True
    return habits.day_first


def _ordered(parts: Parts, day_first: bool | None) -> tuple[int, int] | None:
    """Return month and day of a date in figures; None where the order matters and is not known."""
    first, second = int(parts["first"] or 0), int(parts["second_part"] or 0)
    if day_first is None and first != second:
        return None
    return (second, first) if day_first else (first, second)


def _weekday_in_order(parts: Parts, day_first: bool) -> int | None:
    month, day = _ordered(parts, day_first) or (0, 0)
    return _weekday_of(parts["year"], month, day)


def _weekday_of(year: str | None, month: int, day: int) -> int | None:
    try:
        return date(_year(year), month, day).weekday()
    except ValueError:
        return None


def _foreign_name(parts: Parts) -> str | None:
    """Return the name of a month that is not written in English."""
    month = parts["month"]
    if month is None or month.isdigit() or english_month(month, parts.get("weekday")):
        return None
    return month


def _spoken(language: str | None) -> frozenset[str]:
    primary = (language or "").strip().lower().replace("_", "-").partition("-")[0]
    return frozenset({"no": {"nb", "nn"}, "sr": {"sr", "sr-Latn"}}.get(primary, {primary} - {""}))


def _year(digits: str | None) -> int:
    year = int(digits or 0)
    if digits is not None and len(digits) == 2:
        return year + (1900 if year >= 90 else 2000)
    return year


def _time_of_day(parts: Parts) -> timedelta:
    hour, minute, second = (int(parts.get(unit) or 0) for unit in ("hour", "minute", "second"))
    half = (parts.get("half") or "").lower()
    if half:
        hour = hour % 12 + (12 if half.startswith("p") or half in _AFTERNOON else 0)
    if hour > 24 or minute > 59 or second > 60:
        raise ValueError("no time of day")
    milliseconds = int((parts.get("fraction") or "0")[:3].ljust(3, "0"))
    # A leap second, :60, has no place in our calendar.
    return timedelta(hours=hour, minutes=minute, seconds=min(second, 59), milliseconds=milliseconds)


class DateReader:
    """Turns written dates into times; what cannot be read or believed is absent and counted.

    ``written`` gives all dates of the document, and ``language`` is the one it says it is in: they
    are looked at only when a date does not say by itself which of two it means.
    """

    def __init__(
        self,
        now: datetime,
        *,
        written: Callable[[], Iterable[str]] = tuple,
        language: str | None = None,
    ) -> None:
        self._latest = now + LONGEST_AHEAD
        self._written = written
        self._language = language
        self._habits: DateHabits | None = None
        self._rejected = 0
        self._left_out: dict[str, None] = {}

    def read(self, written: str | None) -> datetime | None:
        """Return the moment, or None for no date, an unreadable or an implausible one."""
        if not written:
            return None
        moment = parse_date(written, self._find_habits)
        if moment is not None and EARLIEST <= moment <= self._latest:
            return moment
        self._rejected += 1
        self._left_out[written] = None
        return None

    def unread(self, published: str | None, updated: str | None) -> tuple[ExtraField, ...]:
        """Return the dates that :meth:`read` had no moment for, word for word, as extra fields."""
        if not self._left_out:
            return ()
        dates = ((UNREAD_PUBLISHED, published), (UNREAD_UPDATED, updated))
        return tuple(ExtraField(name, text) for name, text in dates if text in self._left_out)

    def warnings(self) -> tuple[str, ...]:
        """Return one warning for all dates left out, or none."""
        if not self._rejected:
            return ()
        text = f"{self._rejected} date(s) left out: unreadable, before 1990 or over two days ahead"
        first = next(iter(self._left_out))[:_LONGEST_SAMPLE]
        return (f"{text} (first: {first!r})",)

    def _find_habits(self) -> DateHabits:
        if self._habits is None:
            self._habits = find_habits(self._written(), self._language)
        return self._habits
