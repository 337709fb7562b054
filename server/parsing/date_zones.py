"""Time zones as feeds write them: offsets, abbreviations, names of the zone database."""

import re
from datetime import UTC, timedelta, timezone
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

_ZONE_HOURS = {
    "ut": 0, "utc": 0, "gmt": 0, "z": 0, "wet": 0, "west": 1, "bst": 1, "cet": 1, "cest": 2,
    "met": 1, "mest": 2, "mez": 1, "mesz": 2, "eet": 2, "eest": 3, "msk": 3, "sast": 2, "eat": 3,
    "wat": 1, "cat": 2, "gst": 4, "pkt": 5, "ist": 5.5, "npt": 5.75, "ict": 7, "wib": 7, "sgt": 8,
    "hkt": 8, "pht": 8, "awst": 8, "jst": 9, "kst": 9, "acst": 9.5, "acdt": 10.5, "aest": 10,
    "aedt": 11, "nzst": 12, "nzdt": 13, "nst": -3.5, "ndt": -2.5, "ast": -4, "adt": -3, "at": -4,
    "est": -5, "edt": -4, "et": -5, "cst": -6, "cdt": -5, "ct": -6, "mst": -7, "mdt": -6, "mt": -7,
    "pst": -8, "pdt": -7, "pt": -8, "akst": -9, "akdt": -8, "hst": -10, "brt": -3, "art": -3,
}  # fmt: skip
_OFFSET = re.compile(r"(?:GMT|UTC|UT)?\s*(?P<sign>[+-])(?P<hours>\d{1,2}):?(?P<minutes>\d{2})?")
_NAMED = re.compile(r"[A-Za-z_]+(?:/[A-Za-z_+-]+){1,2}|[A-Z]{3}[0-9][A-Z]{3}")


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
    if _NAMED.fullmatch(name) is None:
        return None
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return None
