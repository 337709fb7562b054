"""Delays between runs are BullMQ's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.queue import backoff_delay_ms
from shared.queue.job import MAX_DELAY_MS

EXPONENTIAL = {"type": "exponential", "delay": 1000}


@pytest.mark.parametrize(("attempts_made", "delay_ms"), [(1, 1000), (2, 2000), (3, 4000)])
def test_an_exponential_backoff_doubles(attempts_made: int, delay_ms: int) -> None:
    assert backoff_delay_ms(EXPONENTIAL, attempts_made) == delay_ms


@pytest.mark.parametrize("backoff", [500, 500.0, {"type": "fixed", "delay": 500}, {"delay": 500}])
def test_a_fixed_backoff_stays(backoff: object) -> None:
    assert backoff_delay_ms(backoff, 7) == 500  # type: ignore[arg-type]


@pytest.mark.parametrize(("drawn", "delay_ms"), [(0.0, 2000), (0.5, 3000), (0.999, 3998)])
def test_jitter_takes_away_up_to_its_share(drawn: float, delay_ms: int) -> None:
    backoff = EXPONENTIAL | {"jitter": 0.5}
    assert backoff_delay_ms(backoff, 3, draw=lambda: drawn) == delay_ms


def test_jitter_takes_away_no_more_than_all() -> None:
    assert backoff_delay_ms(EXPONENTIAL | {"jitter": 7}, 1, draw=lambda: 0.25) == 250


@pytest.mark.parametrize(
    "backoff",
    [None, {}, 0, -5, True, "soon", {"type": "exponential"}, {"delay": "x"}, {"delay": -1}],
)
def test_what_is_no_backoff_means_at_once(backoff: object) -> None:
    assert backoff_delay_ms(backoff, 1) == 0  # type: ignore[arg-type]


def test_no_backoff_is_longer_than_a_week() -> None:
    assert MAX_DELAY_MS == 604_800_000
    assert backoff_delay_ms(EXPONENTIAL, 10_000) == MAX_DELAY_MS


_json = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))


@given(st.dictionaries(st.sampled_from(["type", "delay", "jitter"]), _json), st.integers())
def test_whatever_a_producer_wrote_gives_a_delay(
    backoff: dict[str, object], attempts_made: int
) -> None:
    assert 0 <= backoff_delay_ms(backoff, attempts_made) <= MAX_DELAY_MS


def test_an_exponential_backoff_is_rounded_before_its_jitter_as_node_does() -> None:
    backoff = {"type": "exponential", "delay": 0.7}
    assert [backoff_delay_ms(backoff, made) for made in (1, 2, 3)] == [1, 1, 3]
    assert backoff_delay_ms({"type": "exponential", "delay": 1e300}, 99) == MAX_DELAY_MS
