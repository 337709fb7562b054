"""How often a scheduler makes a job, and when the next one is due. Pure.

Names are BullMQ's in Python's case; times are ms since 1970.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from shared.errors import InvalidJobOptions
from shared.queue.cron import MAX_TIME_MS, next_time, read_pattern
from shared.queue.option_readers import (
    Readers,
    read_bool,
    read_option,
    read_text,
    whole_between,
)
from shared.queue.options import MAX_DELAY_MS, MAX_WHOLE
from shared.queue.reading import whole_number


@dataclass(frozen=True, slots=True)
class Repeat:
    """When jobs are due: at the times of a crontab ``pattern``, or ``every`` so many ms.

    ``tz``: the zone of the pattern, UTC without one. ``limit``: so many jobs at most.
    ``start_date`` and ``end_date``: none before, none after. ``immediately``: the first job of a
    pattern at once. ``offset``: ms that each job of ``every`` comes behind a whole multiple of it.
    """

    pattern: str | None = None
    every: int | None = None
    tz: str | None = None
    limit: int | None = None
    start_date: int | None = None
    end_date: int | None = None
    immediately: bool = False
    offset: int | None = None


# As BullMQ stores them, in a scheduler's record and in its jobs.
_STORED = {
    "pattern": "pattern",
    "every": "every",
    "tz": "tz",
    "limit": "limit",
    "start_date": "startDate",
    "end_date": "endDate",
}


def read_repeat(given: Mapping[str, object], now_ms: int) -> Repeat:
    """Return what a caller asks for, checked. None is not given.

    Raises:
        InvalidJobOptions: one line that names the option, its value and what is accepted.
    """
    values = {
        name: read_option(_READERS, name, value)
        for name, value in given.items()
        if value is not None
    }
    repeat = Repeat(**values)
    if (repeat.pattern is None) == (repeat.every is None):
        raise InvalidJobOptions("repeat", dict(given), "a pattern or every, one of the two")
    if repeat.offset is not None and (repeat.every is None or repeat.offset >= repeat.every):
        raise InvalidJobOptions("offset", repeat.offset, "less than every, without a pattern")
    if repeat.immediately and repeat.start_date is not None:
        raise InvalidJobOptions("immediately", True, "no start_date beside it")
    if repeat.end_date is not None and repeat.end_date < now_ms:
        raise InvalidJobOptions("end_date", repeat.end_date, "a time to come")
    read_zone(repeat.tz)
    return repeat


def read_zone(name: str | None) -> tzinfo:
    """Return a time zone by its name in the tz database, or UTC where none is named.

    Raises:
        InvalidJobOptions: there is no such zone.
    """
    if name is None:
        return UTC
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError) as exc:
        raise InvalidJobOptions("tz", name, "a time zone such as 'Europe/Rome'") from exc


def stored_repeat(repeat: Repeat) -> dict[str, object]:
    """Return it by BullMQ's names, as each job carries it; ``immediately`` is of the first only."""
    values = {stored: getattr(repeat, name) for name, stored in _STORED.items()}
    values["offset"] = repeat.offset or None
    return {stored: value for stored, value in values.items() if value is not None}


def read_stored(stored: object) -> tuple[Repeat, int]:
    """Return what BullMQ stored, and which job of the row it is, from 1; nonsense is absent."""
    fields = stored if isinstance(stored, Mapping) else {}
    values: dict[str, Any] = {
        name: whole_number(fields.get(_STORED.get(name, name))) for name in _NUMBERS
    }
    values |= {name: fields[name] for name in _TEXTS if isinstance(fields.get(name), str)}
    return Repeat(**values), whole_number(fields.get("count")) or 0


def is_over(repeat: Repeat, count: int, now_ms: int) -> bool:
    """Return whether no job comes behind the ``count``-th, be it due or not."""
    is_late = repeat.end_date is not None and now_ms > repeat.end_date
    return is_late or (repeat.limit is not None and count >= repeat.limit)


def next_of_pattern(repeat: Repeat, after_ms: int) -> int | None:
    """Return the first time of a pattern behind ``after_ms`` and its start; None if past its end.

    Raises:
        InvalidJobOptions: a pattern or zone that cannot be read, as another producer may write it.
    """
    pattern, zone = read_pattern(repeat.pattern or ""), read_zone(repeat.tz)
    due_ms = next_time(pattern, zone, max(after_ms, repeat.start_date or 0))
    is_late = due_ms is not None and repeat.end_date is not None and due_ms > repeat.end_date
    return None if is_late else due_ms


def _read_pattern(value: object) -> str:
    text = read_text(value)
    read_pattern(text)
    return text


_read_ms = whole_between(0, MAX_TIME_MS)


def _read_time(value: object) -> int:
    if not isinstance(value, datetime):
        return _read_ms(value)
    if value.utcoffset() is None:
        raise ValueError(value)
    return _read_ms(int(value.timestamp() * 1000))


_TIME_ACCEPTED = "an aware datetime, or milliseconds since 1970, before the year 9000"
_TEXTS = ("pattern", "tz")
_NUMBERS = ("every", "limit", "start_date", "end_date", "offset")
_READERS: Readers = {
    "pattern": (_read_pattern, "a text"),
    "every": (whole_between(1, MAX_DELAY_MS), f"whole milliseconds from 1 to {MAX_DELAY_MS}"),
    "tz": (read_text, "the name of a time zone"),
    "limit": (whole_between(1, MAX_WHOLE), "a whole number from 1"),
    "start_date": (_read_time, _TIME_ACCEPTED),
    "end_date": (_read_time, _TIME_ACCEPTED),
    "immediately": (read_bool, "True or False"),
    "offset": (whole_between(0, MAX_DELAY_MS), f"whole milliseconds from 0 to {MAX_DELAY_MS}"),
}
