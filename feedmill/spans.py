"""How spans of time, backoffs, rates and what is kept are written at a declared queue. Pure.

A span is ``"500ms"``, ``"2s"``, ``"5m"``, ``"24h"`` or ``"7d"``, or whole milliseconds.
"""

import re
from collections.abc import Callable, Mapping

from shared.errors import InvalidJobOptions

Span = str | int
Keep = int | Mapping[str, Span]

# Given the attempts made and the last one's error.
Backoff = Span | Callable[[int, BaseException], Span]
# The type that jobs have whose backoff a function computes.
OWN_BACKOFF = "own"

_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
_SPAN = re.compile(r"(\d{1,12})(ms|s|m|h|d)")
_BACKOFF = re.compile(r"(\S+)(?: (fixed|exp))?(?: jitter (0|0?\.\d+|1))?")
_RATE = re.compile(r"(\d{1,9})/(\d{0,9})(ms|s|m|h|d)")
_TYPES = {None: "fixed", "fixed": "fixed", "exp": "exponential"}

_SPANS = '"500ms", "2s", "5m", "24h", "7d", or whole milliseconds'
_BACKOFFS = '"2s", "2s exp", "2s exp jitter 0.5", whole milliseconds, or a function'
_RATES = '"100/s", "10/5m"'
_KEEPS = 'a count, or a mapping of count and age, as {"count": 100, "age": "24h"}'


def read_span_ms(option: str, span: object) -> int:
    """Return a span in ms; ``option`` is what the error names.

    Raises:
        InvalidJobOptions: it is none.
    """
    if isinstance(span, int) and not isinstance(span, bool) and span >= 0:
        return span
    written = _SPAN.fullmatch(span) if isinstance(span, str) else None
    if written is None:
        raise InvalidJobOptions(option, span, _SPANS)
    return int(written[1]) * _UNITS_MS[written[2]]


def read_times(schedule: object) -> dict[str, object]:
    """Return what a scheduler repeats by: a span, or a text that is none as a crontab pattern.

    Raises:
        InvalidJobOptions: it is neither; a text is for who reads the pattern.
    """
    if isinstance(schedule, str) and _SPAN.fullmatch(schedule) is None:
        return {"pattern": schedule}
    return {"every": read_span_ms("schedule", schedule)}


def read_backoff(backoff: object) -> dict[str, object]:
    """Return BullMQ's backoff of one that is written as ``"2s exp jitter 0.5"``, or computed.

    Raises:
        InvalidJobOptions: it is none.
    """
    if callable(backoff):
        return {"type": OWN_BACKOFF}
    if not isinstance(backoff, str):
        return {"type": "fixed", "delay": _read_delay(backoff, backoff)}
    written = _BACKOFF.fullmatch(backoff)
    if written is None:
        raise InvalidJobOptions("backoff", backoff, _BACKOFFS)
    read: dict[str, object] = {
        "type": _TYPES[written[2]],
        "delay": _read_delay(written[1], backoff),
    }
    if written[3] is not None:
        read["jitter"] = float(written[3])
    return read


def read_rate(option: str, rate: object) -> tuple[int, int]:
    """Return ``"100/s"`` as so many in so many ms; ``option`` is what the error names.

    Raises:
        InvalidJobOptions: it is none, or lets none pass.
    """
    written = _RATE.fullmatch(rate) if isinstance(rate, str) else None
    if written is None:
        raise InvalidJobOptions(option, rate, _RATES)
    count, window_ms = int(written[1]), int(written[2] or 1) * _UNITS_MS[written[3]]
    if count < 1 or window_ms < 1:
        raise InvalidJobOptions(option, rate, _RATES)
    return count, window_ms


def read_keep(keep: object) -> dict[str, int]:
    """Return how many finished jobs are kept, and for how many seconds, as BullMQ takes it.

    Raises:
        InvalidJobOptions: another value.
    """
    given = keep if isinstance(keep, Mapping) else {"count": keep}
    if not given or not set(given) <= {"count", "age"}:
        raise InvalidJobOptions("keep", keep, _KEEPS)
    read = {}
    if "count" in given:
        read["count"] = _read_count(given["count"], keep)
    if "age" in given:
        read["age"] = -(-read_span_ms("keep", given["age"]) // 1000)
    return read


def _read_delay(span: object, backoff: object) -> int:
    try:
        return read_span_ms("backoff", span)
    except InvalidJobOptions as exc:
        raise InvalidJobOptions("backoff", backoff, _BACKOFFS) from exc


def _read_count(count: object, keep: object) -> int:
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise InvalidJobOptions("keep", keep, _KEEPS)
    return count
