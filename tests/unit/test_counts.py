"""The counts of an import add up at every moment, whatever the live counters say."""

from typing import Any

import pytest

from server.importing.deriving import count_settled, live_counts
from shared.store import Import, ImportState
from tests.factories import NOON


def make_import(state: ImportState = ImportState.IMPORTING, **fields: Any) -> Import:
    values: dict[str, Any] = {"counts": {"fetched": 10, "unchanged": 3, "dead": 1}, "journaled": 6}
    return Import("i1", "lwn", [], "api", state, NOON, **(values | fields))


def sum_of_parts(counts: dict[str, int]) -> int:
    return sum(count for name, count in counts.items() if name != "fetched")


def test_what_is_left_is_pending() -> None:
    counts = live_counts(make_import(), {"new": 2, "dead": 1})
    assert (counts["new"], counts["dead"], counts["pending"]) == (2, 2, 3)
    assert sum_of_parts(counts) == counts["fetched"] == 10


@pytest.mark.parametrize(
    "tally",
    [
        {},
        {"new": 6},
        {"new": 7},
        {"new": 5, "updated": 5, "dead": 100},
        {"removed": 9},
        {"new": -4, "updated": 2},
        {"nonsense": 3},
    ],
)
def test_counters_that_counted_twice_never_break_the_sum(tally: dict[str, int]) -> None:
    counts = live_counts(make_import(), tally)
    assert sum_of_parts(counts) == counts["fetched"] == 10
    assert min(counts.values()) >= 0


@pytest.mark.parametrize(
    "state", [ImportState.QUEUED, ImportState.FETCHING, ImportState.COMPLETED, ImportState.FAILED]
)
def test_counters_say_nothing_of_an_import_that_is_not_importing(state: ImportState) -> None:
    assert live_counts(make_import(state), {"new": 5})["new"] == 0


def test_only_known_counters_count_as_settled() -> None:
    assert count_settled({"new": 2, "superseded": 1, "retried": 7}) == 3
