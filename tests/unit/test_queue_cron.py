"""Crontab patterns: when they are due, and which are refused."""

from datetime import datetime

import pytest

from shared.errors import InvalidJobOptions
from shared.queue.cron import next_time, read_pattern
from shared.queue.repeats import read_zone


def due_after(pattern: str, after: str, zone: str = "Europe/Rome") -> str | None:
    after_ms = int(datetime.fromisoformat(after).timestamp() * 1000)
    due_ms = next_time(read_pattern(pattern), read_zone(zone), after_ms)
    return None if due_ms is None else datetime.fromtimestamp(
        due_ms / 1000, read_zone(zone)
    ).isoformat()  # fmt: skip


@pytest.mark.parametrize(
    ("pattern", "after", "due"),
    [
        # 02:30 is left out on the day when clocks are put forward: it comes an hour later, once.
        ("30 2 * * *", "2026-03-29T00:00:00+01:00", "2026-03-29T03:30:00+02:00"),
        ("30 2 * * *", "2026-03-29T03:30:00+02:00", "2026-03-30T02:30:00+02:00"),
        # It is there twice when they are put back: the first time counts.
        ("30 2 * * *", "2026-10-25T00:00:00+02:00", "2026-10-25T02:30:00+02:00"),
        ("30 2 * * *", "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"),
        # Every half hour goes on every half hour.
        ("*/30 * * * *", "2026-10-25T02:30:00+02:00", "2026-10-25T02:00:00+01:00"),
        ("*/30 * * * *", "2026-03-29T01:30:00+01:00", "2026-03-29T03:00:00+02:00"),
    ],
)
def test_clocks_that_are_changed_leave_no_time_out_and_give_none_twice(
    pattern: str, after: str, due: str
) -> None:
    assert due_after(pattern, after) == due


@pytest.mark.parametrize(
    ("pattern", "due"),
    [
        ("0 8 * * 1", "2026-11-30T08:00:00+01:00"),
        ("0 8 1 * 1", "2026-11-30T08:00:00+01:00"),
        ("15 0 8 * * mon-fri", "2026-11-30T08:00:15+01:00"),
        ("0 0 L * *", "2026-11-30T00:00:00+01:00"),
        ("0 0 * * 5L", "2026-12-25T00:00:00+01:00"),
        ("0 0 * * 1#2", "2026-12-14T00:00:00+01:00"),
        ("5/20 * * * *", "2026-11-28T18:05:00+01:00"),
        ("@weekly", "2026-11-29T00:00:00+01:00"),
        ("0 0 29 2 *", "2028-02-29T00:00:00+01:00"),
        ("0 0 30 2 *", None),
    ],
)
def test_a_pattern_names_its_next_time(pattern: str, due: str | None) -> None:
    assert due_after(pattern, "2026-11-28T18:00:00+01:00") == due


@pytest.mark.parametrize(
    "pattern",
    [
        *("", "x", "61 * * * *", "0 22-2 * * *", "H * * * *", "0 0 15W * *", "5/0 * * * *"),
        *("1,1 * * * *", "* * * * * * *", "0 0 * * 8", "² * * * *", "0 " * 999),
    ],
)
def test_what_is_no_pattern_is_refused_with_what_is_accepted(pattern: str) -> None:
    with pytest.raises(InvalidJobOptions, match=r"pattern=.*: accepted is a crontab pattern"):
        read_pattern(pattern)


@pytest.mark.parametrize("zone", ["Mars/Base", "../etc/passwd", "", "Europe"])
def test_what_is_no_zone_is_refused(zone: str) -> None:
    with pytest.raises(InvalidJobOptions, match="a time zone such as"):
        read_zone(zone)
