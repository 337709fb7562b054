"""How spans, backoffs, rates and what is kept are written at a declared queue."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from feedmill import InvalidJobOptions
from feedmill.spans import read_backoff, read_keep, read_rate, read_span_ms


@pytest.mark.parametrize(
    ("written", "ms"),
    [
        ("500ms", 500),
        ("2s", 2000),
        ("5m", 300_000),
        ("24h", 86_400_000),
        ("7d", 604_800_000),
        (1500, 1500),
        (0, 0),
    ],
)
def test_a_span_is_read_in_milliseconds(written: str | int, ms: int) -> None:
    assert read_span_ms("delay", written) == ms


@pytest.mark.parametrize(
    ("written", "backoff"),
    [
        ("2s", {"type": "fixed", "delay": 2000}),
        ("2s fixed", {"type": "fixed", "delay": 2000}),
        ("2s exp", {"type": "exponential", "delay": 2000}),
        ("2s exp jitter 0.5", {"type": "exponential", "delay": 2000, "jitter": 0.5}),
        ("1m jitter 1", {"type": "fixed", "delay": 60_000, "jitter": 1.0}),
        (250, {"type": "fixed", "delay": 250}),
        (lambda made, error: "2s", {"type": "own"}),
    ],
)
def test_a_backoff_is_read_as_bullmq_takes_it(written: object, backoff: dict[str, object]) -> None:
    assert read_backoff(written) == backoff


@pytest.mark.parametrize(
    ("written", "rate"),
    [("100/s", (100, 1000)), ("10/5m", (10, 300_000)), ("1/250ms", (1, 250))],
)
def test_a_rate_is_so_many_in_so_many_milliseconds(written: str, rate: tuple[int, int]) -> None:
    assert read_rate("limit", written) == rate


@pytest.mark.parametrize(
    ("written", "keep"),
    [
        (100, {"count": 100}),
        ({"count": 100, "age": "24h"}, {"count": 100, "age": 86_400}),
        ({"age": "1500ms"}, {"age": 2}),
    ],
)
def test_what_is_kept_is_read_with_its_age_in_seconds(
    written: int | dict[str, str | int], keep: dict[str, int]
) -> None:
    assert read_keep(written) == keep


@pytest.mark.parametrize(
    ("read", "wrong", "name"),
    [
        (partial(read_span_ms, "delay"), "2 hours", "delay"),
        (partial(read_span_ms, "delay"), "-2s", "delay"),
        (partial(read_span_ms, "delay"), -1, "delay"),
        (partial(read_span_ms, "delay"), True, "delay"),
        (partial(read_span_ms, "delay"), 1.5, "delay"),
        (read_backoff, "2s linear", "backoff"),
        (read_backoff, "exp", "backoff"),
        (read_backoff, "2s exp jitter 2", "backoff"),
        (read_backoff, None, "backoff"),
        (partial(read_rate, "limit"), "100", "limit"),
        (partial(read_rate, "limit"), "0/s", "limit"),
        (partial(read_rate, "limit"), "5/0s", "limit"),
        (partial(read_rate, "limit"), 100, "limit"),
        (read_keep, {}, "keep"),
        (read_keep, {"limit": 3}, "keep"),
        (read_keep, {"age": "old"}, "keep"),
        (read_keep, -1, "keep"),
        (read_keep, True, "keep"),
    ],
)
def test_what_cannot_be_is_refused_by_name_with_what_is_accepted(
    read: Callable[[Any], object], wrong: object, name: str
) -> None:
    with pytest.raises(InvalidJobOptions, match=f"^{name}=.*: accepted is ") as refused:
        read(wrong)
    assert "\n" not in str(refused.value)
