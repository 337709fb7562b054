"""Times and spans in words, as people at a terminal read them."""

import re
from datetime import datetime, tzinfo

from shared.errors import InvalidRequestError
from shared.models import parse_time

_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))
_TYPED_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_TYPED_SPAN = re.compile(r"([0-9]{1,9})\s*([a-z]+)")
# Below so many of a unit, the next smaller one says more.
_FEW = 2


def describe_moment(text: str, now: datetime, zone: tzinfo | None = None) -> str:
    """Return an RFC 3339 time in the viewer's zone, and how far off it is: ``… (in 12 min)``.

    ``zone`` None is the zone of this machine.
    """
    moment = parse_time(text)
    local = moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")
    return f"{local} ({describe_distance(moment, now)})"


def describe_distance(moment: datetime, now: datetime) -> str:
    """Return ``in 12 min``, ``12 min ago`` or ``now``."""
    seconds = round((moment - now).total_seconds())
    if seconds == 0:
        return "now"
    span = describe_span(abs(seconds))
    return f"in {span}" if seconds > 0 else f"{span} ago"


def describe_span(seconds: int) -> str:
    """Return a span in its largest sensible unit, rounded: ``90 s``, ``12 min``, ``36 h``."""
    for size, unit in _UNITS:
        if seconds >= size * _FEW:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} s"


def describe_interval(seconds: int) -> str:
    """Return a span exactly, in the largest unit that it is a multiple of: ``1 h``, ``90 min``."""
    for size, unit in _UNITS:
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def parse_span_ms(text: str) -> int:
    """Return a span that a person typed, as ``90s``, ``15m``, ``1h`` or ``7d``, in milliseconds.

    Raises:
        InvalidRequestError: it is none.
    """
    typed = _TYPED_SPAN.fullmatch(text.strip().lower())
    if typed is None or typed[2] not in _TYPED_UNITS_MS:
        raise InvalidRequestError(f"{text!r} is no span of time: write 90s, 15m, 1h or 7d")
    return int(typed[1]) * _TYPED_UNITS_MS[typed[2]]
