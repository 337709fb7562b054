"""Programs that race for one indexer's intervals, and roll it back meanwhile."""

import threading
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from typing import Any

import pytest
from pymongo.database import Database as PymongoDatabase

from shared.errors import ReachedLatest
from shared.intervals import Interval, IntervalIndexer, sequence
from shared.store.database import open_database
from shared.store.intervals import IntervalStore

SIZE, LAST, PROGRAMS, EPOCHS = 3, 120, 5, 4


@pytest.fixture
def store(
    mongodb_url: str, mongo_database: PymongoDatabase[dict[str, Any]]
) -> Iterator[IntervalStore]:
    database = open_database(f"{mongodb_url}/{mongo_database.name}")
    yield IntervalStore(database)
    database.close()


def test_racing_programs_are_given_every_number_once_in_each_epoch(store: IntervalStore) -> None:
    """Each program has an indexer object of its own; three times one rolls it back."""
    together = threading.Barrier(PROGRAMS)

    def run(_: int) -> list[Interval]:
        numbers = IntervalIndexer(store, "race", sequence(SIZE, lambda: LAST), start=1)
        taken: list[Interval] = []
        together.wait()
        while True:
            try:
                taken.append(numbers.atomic())
            except ReachedLatest:
                return taken
            start, ended, epoch = taken[-1]
            if epoch < EPOCHS and start <= 25 * epoch < ended:
                numbers.rollback(start - 10)

    with ThreadPoolExecutor(PROGRAMS) as programs:
        taken = [each for some in programs.map(run, range(PROGRAMS)) for each in some]
    by_epoch = defaultdict(list)
    for each in sorted(taken, key=lambda each: (each.epoch, each.start)):
        by_epoch[each.epoch].append(each)
    assert list(by_epoch) == [1, 2, 3, 4]
    for of_epoch in by_epoch.values():
        assert all(before.ended == after.start for before, after in pairwise(of_epoch))
    # What an epoch leaves undone the next one begins with, or before it.
    for earlier, later in pairwise(by_epoch.values()):
        assert later[0].start <= earlier[-1].ended
    assert (by_epoch[1][0].start, by_epoch[4][-1].ended) == (1, LAST + 1)


def test_racing_workers_complete_each_open_interval_once_while_it_is_rolled_back(
    store: IntervalStore,
) -> None:
    numbers = IntervalIndexer(store, "race", sequence(1, lambda: 60), start=1, in_flight=4)
    completed: list[Interval] = []
    may_roll_back = threading.Lock()

    def run(_: int) -> None:
        while numbers.read().cursor <= 60 or numbers.read().open:
            for each in numbers.hand_out():
                if numbers.complete(each):
                    completed.append(each)
                if each.start == 30 and may_roll_back.acquire(blocking=False):
                    numbers.rollback(20)

    with ThreadPoolExecutor(4) as programs:
        list(programs.map(run, range(4)))
    assert len(completed) == len(set(completed))
    assert {each.start for each in completed} == set(range(1, 61))
    assert {each.start for each in completed if each.epoch == 2} >= set(range(20, 61))
    assert (numbers.read().open, numbers.read().epoch) == ((), 2)
