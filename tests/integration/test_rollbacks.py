"""Rollbacks: once one is answered, nothing that was read before is stored any more."""

from datetime import timedelta
from typing import Any

import pytest

from shared.errors import BusyError, ErrorKind, InvalidRequestError, NotFoundError
from shared.store import ImportState, KeptBody
from shared.store.intervals import IndexerState
from tests.fake_publisher import POISON
from tests.harness import SOURCE, Harness
from tests.integration.test_pulls import (
    add_window,
    fetch_all,
    pull_all,
    pulls_of,
    show,
    show_hour,
    state_of,
)
from tests.roles import Held


def roll_back(harness: Harness, to: Any) -> tuple[int, Any]:
    epoch, cursor = harness.server.services.rollbacks.roll_back(SOURCE, to)
    return epoch, cursor


def start_of(harness: Harness, hours_ago: int) -> Any:
    return harness.clock.now() - timedelta(hours=hours_ago)


def begin(harness: Harness, to: Any) -> IndexerState:
    return harness.server.services.rollbacks.begin(SOURCE, to)


def settle(harness: Harness) -> int:
    return harness.server.services.rollbacks.settle(state_of(harness))


def titles(harness: Harness) -> set[str]:
    found = harness.database.collection("items").find({"source": SOURCE})
    return {each["title"] for each in found}


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
