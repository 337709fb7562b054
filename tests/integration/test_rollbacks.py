"""Rollbacks: once one is answered, nothing that was read before is stored any more."""

from datetime import timedelta
from typing import Any

from tests.harness import SOURCE, Harness
from tests.integration.test_pulls import (
    add_window,
    pull_all,
    pulls_of,
    show,
    state_of,
)


def roll_back(harness: Harness, to: Any) -> tuple[int, Any]:
    epoch, cursor = harness.server.services.rollbacks.roll_back(SOURCE, to)
    return epoch, cursor


def start_of(harness: Harness, hours_ago: int) -> Any:
    return harness.clock.now() - timedelta(hours=hours_ago)


def test_all_intervals_behind_the_target_are_read_again(harness: Harness) -> None:
    add_window(harness)
    show(harness)
    begun = start_of(harness, 4)
    pull_all(harness)

    epoch, cursor = roll_back(harness, begun + timedelta(hours=2))
    pull_all(harness)

    assert (epoch, cursor) == (2, begun + timedelta(hours=2))
    again = [each for each in pulls_of(harness) if each.epoch == 2]
    assert [each.interval and each.interval["start"] for each in again] == [
        begun + timedelta(hours=2),
        begun + timedelta(hours=3),
    ]
    assert [each.counts["unchanged"] for each in again] == [2, 2]
    state = state_of(harness)
    assert (state.settled_epoch, state.rolled_back_to, state.open) == (2, None, ())
