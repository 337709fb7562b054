"""Dates as feeds write them. Pure: what is plausible is judged by a time that is handed in.

A date that cannot be read with certainty is no date: a wrong one would misorder and mislead.
"""

import re
from datetime import UTC, datetime, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

EARLIEST = datetime(1990, 1, 1, tzinfo=UTC)
LONGEST_AHEAD = timedelta(hours=48)
_LONGEST_TEXT = 100

_ZONE_HOURS = {
    "ut": 0, "utc": 0, "gmt": 0, "z": 0, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2,
    "met": 1, "mest": 2, "mez": 1, "mesz": 2, "eet": 2, "eest": 3, "msk": 3, "sast": 2, "eat": 3,
    "wat": 1, "cat": 2, "gst": 4, "pkt": 5, "ist": 5.5, "npt": 5.75, "ict": 7, "wib": 7, "sgt": 8,
    "hkt": 8, "pht": 8, "awst": 8, "jst": 9, "kst": 9, "acst": 9.5, "acdt": 10.5, "aest": 10,
    "aedt": 11, "nzst": 12, "nzdt": 13, "nst": -3.5, "ndt": -2.5, "ast": -4, "adt": -3, "at": -4,
    "est": -5, "edt": -4, "et": -5, "cst": -6, "cdt": -5, "ct": -6, "mst": -7, "mdt": -6, "mt": -7,
    "pst": -8, "pdt": -7, "pt": -8, "akst": -9, "akdt": -8, "hst": -10, "brt": -3, "art": -3,
}  # fmt: skip
_MONTHS = {
    "jan": 1, "ene": 1, "gen": 1, "feb": 2, "fev": 2, "fév": 2, "mar": 3, "mär": 3, "mrz": 3,
    "mrt": 3, "maa": 3, "apr": 4, "avr": 4, "abr": 4, "may": 5, "mai": 5, "mei": 5, "mag": 5,
    "jun": 6, "giu": 6, "jui": 0, "jul": 7, "lug": 7, "aug": 8, "aoû": 8, "aou": 8, "ago": 8,
    "sep": 9, "set": 9, "oct": 10, "okt": 10, "ott": 10, "out": 10, "nov": 11, "dec": 12,
    "dez": 12, "déc": 12, "dic": 12,
}  # fmt: skip

_TIME = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(?::(?P<second>\d{2})(?:[.,](?P<fraction>\d+))?)?"
_ISO = re.compile(
    r"(?P<year>\d{4})-?(?P<month>\d{2})-?(?P<day>\d{2})"
    rf"(?:(?:[T_]|\s+){_TIME}\s*(?P<half>[AaPp]\.?[Mm]\b\.?)?)?\s*(?P<zone>\S.*)?",
    re.IGNORECASE,
)
_ISO_SHORT = re.compile(r"(?P<year>\d{4})(?:-(?P<month>\d{2}))?")
_WEEKDAY = r"(?:[^\W\d_]+\.?(?:\s*,\s*|\s+))?"
_DAY_FIRST = re.compile(
    rf"{_WEEKDAY}(?P<day>\d{{1,2}})(?:st|nd|rd|th|\.)?[\s-]+(?:de\s+)?(?P<month>[^\W\d_]{{3,}})"
    rf"[\s.,-]+(?:de\s+)?(?P<year>\d{{4}}|\d{{2}})(?:[\s,]+{_TIME}\s*(?P<half>[AaPp]\.?[Mm]\b\.?)?)?"
    r"\s*(?P<zone>\S.*)?"
)
_MONTH_FIRST = re.compile(
    rf"{_WEEKDAY}(?P<month>[^\W\d_]{{3,}})\.?\s+(?P<day>\d{{1,2}})(?:st|nd|rd|th)?,?\s+"
    rf"(?P<year>\d{{4}})(?:[\s,]+{_TIME}\s*(?P<half>[AaPp]\.?[Mm]\b\.?)?)?\s*(?P<zone>\S.*)?"
)
_YEAR_LAST = re.compile(
    rf"{_WEEKDAY}(?P<month>[^\W\d_]{{3,}})\s+(?P<day>\d{{1,2}})\s+{_TIME}"
    r"(?:\s+(?P<zone>[^\W\d_]+|[+-]\d+))?\s+(?P<year>\d{4})"
)
_SLASHES = re.compile(
    rf"(?P<first>\d{{1,2}})[/.](?P<second_part>\d{{1,2}})[/.](?P<year>\d{{4}})"
    rf"(?:[\s,]+{_TIME}\s*(?P<half>[AaPp]\.?[Mm]\b\.?)?)?\s*(?P<zone>\S.*)?"
)
_OFFSET = re.compile(r"(?:GMT|UTC|UT)?\s*(?P<sign>[+-])(?P<hours>\d{1,2}):?(?P<minutes>\d{2})?")
_FORMS = (_ISO, _DAY_FIRST, _MONTH_FIRST, _YEAR_LAST, _SLASHES, _ISO_SHORT)


def parse_date(text: str) -> datetime | None:
    """Return the moment that ``text`` names, in UTC, or None where it names none with certainty.

    Without a zone UTC is assumed; with an unknown zone, or with day and month in an order that
    cannot be told, the answer is None. Milliseconds are kept, finer parts dropped.
    """
    text = text.strip()
    if not text or len(text) > _LONGEST_TEXT:
        return None
    for form in _FORMS:
        match = form.fullmatch(text)
        if match is not None:
            return _read_match(match)
    return None


def is_plausible(moment: datetime, now: datetime) -> bool:
    """Tell whether an item may have this date: from 1990 to 48 hours after ``now``."""
    return EARLIEST <= moment <= now + LONGEST_AHEAD


def _read_match(match: re.Match[str]) -> datetime | None:
    parts = match.groupdict()
    month_and_day = _month_and_day(parts)
    zone = parse_zone(parts.get("zone"))
    if month_and_day is None or zone is None:
        return None
    try:
        day = datetime(_year(parts["year"]), *month_and_day, tzinfo=zone)
        return (day + _time_of_day(parts)).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _month_and_day(parts: dict[str, str | None]) -> tuple[int, int] | None:
    if "first" in parts:
        return _untangle(int(parts["first"] or 0), int(parts["second_part"] or 0))
    month = parts["month"]
    if month is None or month.isdigit():
        return int(month or 1), int(parts.get("day") or 1)
    number = _month_number(month.lower())
    return (number, int(parts["day"] or 1)) if number else None


def _untangle(first: int, second: int) -> tuple[int, int] | None:
    """Return month and day of two numbers whose order is known only when one exceeds twelve."""
    if first > 12 or first == second:
        return second, first
    return (first, second) if second > 12 else None


def _month_number(name: str) -> int:
    if name.startswith(("juin", "jui")):
        return 6 if name.startswith("juin") else 7
    return _MONTHS.get(name[:3], 0)


def _year(digits: str | None) -> int:
    year = int(digits or 0)
    if digits is not None and len(digits) == 2:
        return year + (1900 if year >= 90 else 2000)
    return year


def _time_of_day(parts: dict[str, str | None]) -> timedelta:
    hour, minute, second = (int(parts.get(unit) or 0) for unit in ("hour", "minute", "second"))
    half = (parts.get("half") or "").lower()
    if half:
        hour = hour % 12 + (12 if half.startswith("p") else 0)
    if hour > 24 or minute > 59 or second > 60:
        raise ValueError("no time of day")
    milliseconds = int((parts.get("fraction") or "0")[:3].ljust(3, "0"))
    # A leap second, :60, has no place in our calendar.
    return timedelta(hours=hour, minutes=minute, seconds=min(second, 59), milliseconds=milliseconds)


@lru_cache(maxsize=256)
def parse_zone(text: str | None) -> timezone | ZoneInfo | None:
    """Return the zone that ``text`` names; UTC for none, None for one that nobody knows."""
    name = (text or "").strip().removeprefix("(").removesuffix(")").strip()
    if not name or set(name) == {"0"}:
        return UTC
    offset = _OFFSET.match(name)
    if offset is not None:
        return _fixed_zone(offset)
    hours = _ZONE_HOURS.get(name.lower().split(" ")[0].removeprefix("etc/"))
    if hours is not None:
        return timezone(timedelta(hours=hours))
    return _named_zone(name)


def _fixed_zone(offset: re.Match[str]) -> timezone | None:
    hours, minutes = int(offset["hours"]), int(offset["minutes"] or 0)
    if hours > 14 or minutes > 59:
        return None
    distance = timedelta(hours=hours, minutes=minutes)
    return timezone(-distance if offset["sign"] == "-" else distance)


def _named_zone(name: str) -> ZoneInfo | None:
    if re.fullmatch(r"[A-Za-z_]+(?:/[A-Za-z_+-]+){1,2}", name) is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
