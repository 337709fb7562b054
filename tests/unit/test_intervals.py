"""Indexers of programs, on a MongoDB in memory: steps, rollbacks, lost answers, any queue."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shared.errors import (
    InFlightLimit,
    InvalidRequestError,
    ReachedLatest,
    StaleEpoch,
    StoreUnavailable,
)
from shared.intervals import (
    MAX_OPEN,
    Interval,
    IntervalIndexer,
    RolledBack,
    complete,
    every,
    pages,
    roll_back,
    sequence,
    take,
)
from shared.store.database import Database
from shared.store.intervals import IndexerState, IntervalStore
from tests.fakes import FakeClock
from tests.memory_database import make_memory_database

MANUAL = Path(__file__).parents[2] / "docs" / "intervals.md"
NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


class Answer(Enum):
    """What becomes of a write."""

    GIVEN = auto()
    LOST = auto()
    NEVER_ASKED = auto()
    # The driver asks again, and is told that the document is not as it was.
    ASKED_TWICE = auto()


class LosingStore(IntervalStore):
    """Answers swaps as ``answers`` says, and then as it should."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.database = database
        self.answers: list[Answer] = []

    def swap(self, seen: IndexerState, new: IndexerState) -> IndexerState | None:
        answer = self.answers.pop(0) if self.answers else Answer.GIVEN
        stored = super().swap(seen, new) if answer is not Answer.NEVER_ASKED else None
        if answer in (Answer.LOST, Answer.NEVER_ASKED):
            raise StoreUnavailable("MongoDB cannot serve: the answer is lost")
        return None if answer is Answer.ASKED_TWICE else stored


@pytest.fixture
def store() -> LosingStore:
    return LosingStore(make_memory_database())


def minute(count: int) -> datetime:
    return NOON + timedelta(minutes=count)


def take_all(indexer: IntervalIndexer) -> list[Interval]:
    taken: list[Interval] = []
    while True:
        try:
            taken.append(indexer.atomic())
        except ReachedLatest:
            return taken


def test_every_minute_is_given_once_it_has_passed(store: IntervalStore) -> None:
    clock = FakeClock(minute(2))
    minutes = IntervalIndexer(store, "quotes", every(60, lag_s=5, now=clock.now), start=NOON)
    assert take_all(minutes) == [(minute(0), minute(1), 1)]
    with pytest.raises(ReachedLatest) as caught:
        minutes.atomic()
    assert caught.value.retry_at == minute(2) + timedelta(seconds=5)
    clock.advance_to(caught.value.retry_at)
    assert minutes.atomic() == (minute(1), minute(2), 1)


def test_a_sequence_ends_with_the_last_number_that_there_is(store: IntervalStore) -> None:
    latest = [7]
    numbers = IntervalIndexer(store, "orders", sequence(3, lambda: latest[0]), start=1)
    assert [tuple(each[:2]) for each in take_all(numbers)] == [(1, 4), (4, 7), (7, 8)]
    latest[0] = 9
    assert [tuple(each[:2]) for each in take_all(numbers)] == [(8, 10)]


def test_pages_are_given_one_by_one(store: IntervalStore) -> None:
    endless = IntervalIndexer(store, "archive", pages(), start=1)
    assert [endless.atomic().start for _ in range(3)] == [1, 2, 3]
    last = IntervalIndexer(store, "board", pages(lambda: 2), start=1)
    assert [each.start for each in take_all(last)] == [1, 2]


def test_the_step_may_be_any_function_of_the_position(store: IntervalStore) -> None:
    letters = IntervalIndexer(store, "words", lambda current: chr(ord(current) + 1), start="a")
    assert [letters.atomic() for _ in range(2)] == [("a", "b", 1), ("b", "c", 1)]


@pytest.mark.parametrize("step", [lambda at: at, lambda at: at - 1])
def test_a_step_that_does_not_lead_forward_is_refused(
    store: IntervalStore, step: Callable[[int], int]
) -> None:
    with pytest.raises(ValueError, match=r"'own:stuck' leads from 5 to \d, not forward"):
        IntervalIndexer(store, "stuck", step, start=5).atomic()


def test_values_that_cannot_be_are_refused_at_once(store: IntervalStore) -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        IntervalIndexer(store, "naive", every(60), start=datetime(2026, 11, 1))
    with pytest.raises(ValueError, match="in_flight must be at least 1, not 0"):
        IntervalIndexer(store, "none", pages(), start=1, in_flight=0)
    with pytest.raises(ValueError, match="size must be at least 1, not 0"):
        sequence(0)


def test_times_are_kept_in_whole_milliseconds_so_that_what_is_given_is_what_is_stored(
    store: IntervalStore,
) -> None:
    start = NOON + timedelta(microseconds=1999)
    thirds = IntervalIndexer(store, "thirds", lambda at: at + timedelta(seconds=1 / 3), start=start)
    taken = [thirds.atomic() for _ in range(4)]
    assert [each.ended for each in taken[:-1]] == [each.start for each in taken[1:]]
    assert thirds.read().cursor == taken[-1].ended
    assert taken[0].start == NOON + timedelta(milliseconds=1)


def test_indexers_of_one_name_are_one_and_those_of_feeds_are_others(store: IntervalStore) -> None:
    store.insert(IndexerState("lwn", "lwn", epoch=7, cursor=100))
    first, second = (IntervalIndexer(store, "lwn", pages(), start=1) for _ in range(2))
    assert [first.atomic(), second.atomic(), first.atomic()] == [(1, 2, 1), (2, 3, 1), (3, 4, 1)]


def test_no_more_are_open_than_may_be_until_one_is_completed(store: IntervalStore) -> None:
    numbers = IntervalIndexer(store, "n", pages(), start=1, in_flight=2)
    first, second = take_all(numbers)
    with pytest.raises(InFlightLimit):
        numbers.atomic()
    assert numbers.complete(first)
    assert not numbers.complete(first)
    assert numbers.atomic().start == 3
    assert numbers.complete(tuple(second))
    assert not numbers.complete((1, 3, 1))


def test_what_a_crash_left_open_is_handed_out_again_before_what_is_new(
    store: IntervalStore,
) -> None:
    crashed = IntervalIndexer(store, "n", pages(lambda: 3), start=1, in_flight=5)
    left = [crashed.atomic(), crashed.atomic()]
    restarted = IntervalIndexer(store, "n", pages(lambda: 3), start=1, in_flight=5)
    assert list(restarted.hand_out()) == [*left, (3, 4, 1)]
    assert restarted.complete(left[0])
    assert [each.start for each in restarted.hand_out()] == [2, 3]


def test_a_rollback_makes_what_was_given_stale_and_gives_it_again(store: IntervalStore) -> None:
    numbers = IntervalIndexer(store, "n", pages(lambda: 4), start=1)
    take_all(numbers)
    numbers.validate(1)
    assert numbers.rollback(2) == RolledBack(epoch=2, cursor=2)
    with pytest.raises(StaleEpoch, match="epoch 1 of 'n' was rolled back: it is at epoch 2"):
        numbers.validate(1)
    assert take_all(numbers) == [(2, 3, 2), (3, 4, 2), (4, 5, 2)]
    with pytest.raises(InvalidRequestError, match="6 is ahead of the cursor"):
        numbers.rollback(6)


def test_a_rollback_gives_again_what_was_open_before_its_target(store: IntervalStore) -> None:
    numbers = IntervalIndexer(store, "n", pages(), start=1, in_flight=5)
    taken = [numbers.atomic() for _ in range(4)]
    numbers.complete(taken[0])
    assert numbers.rollback(4) == (2, 2)
    # Its answer was lost, say. The same again before anything is taken is no other rollback.
    assert numbers.rollback(4) == (2, 2)
    assert not numbers.complete(taken[1])
    assert [numbers.atomic() for _ in range(3)] == [(2, 3, 2), (3, 4, 2), (4, 5, 2)]
    assert numbers.rollback(2) == (3, 2)


def test_an_epoch_of_an_indexer_that_is_gone_is_stale(store: IntervalStore) -> None:
    with pytest.raises(StaleEpoch, match="it is gone"):
        IntervalIndexer(store, "n", pages(), start=1).validate(1)


@settings(max_examples=40)
@given(
    answers=st.lists(st.sampled_from(Answer), max_size=12),
    in_flight=st.sampled_from([None, MAX_OPEN]),
)
def test_whoever_loses_answers_is_given_every_interval_once(
    answers: list[Answer], in_flight: int | None
) -> None:
    store = LosingStore(make_memory_database())
    # The other one has its answers always, and comes in between.
    sound = IntervalStore(store.database)
    mine, other = (
        IntervalIndexer(each, "n", pages(), start=1, in_flight=in_flight) for each in (store, sound)
    )
    store.answers, taken = answers.copy(), []
    while store.answers:
        try:
            taken.append(mine.atomic().start)
        except StoreUnavailable:
            taken.append(other.atomic().start)
    taken.append(mine.atomic().start)
    assert sorted(taken) == list(range(1, len(taken) + 1))


def test_a_take_that_nobody_knows_the_end_of_is_not_given_again_once_it_is_done(
    store: LosingStore,
) -> None:
    mine, other = (
        IntervalIndexer(store, "n", pages(lambda: 2), start=1, in_flight=5) for _ in range(2)
    )
    store.answers = [Answer.LOST]
    with pytest.raises(StoreUnavailable):
        mine.atomic()
    assert [other.complete(each) for each in other.hand_out()] == [True, True]
    with pytest.raises(ReachedLatest):
        mine.atomic()


def test_a_take_that_was_rolled_back_before_its_answer_came_is_not_given(
    store: LosingStore,
) -> None:
    numbers = IntervalIndexer(store, "n", pages(), start=1)
    store.answers = [Answer.LOST]
    with pytest.raises(StoreUnavailable):
        numbers.atomic()
    numbers.rollback(1)
    assert numbers.atomic() == (1, 2, 2)


def test_a_plain_list_does_as_a_queue_as_the_manual_says(store: IntervalStore) -> None:
    numbers = IntervalIndexer(store, "n", sequence(2, lambda: 7), start=1, in_flight=3)
    down, stored = {3, 6}, {}

    def read(number: int) -> tuple[int, int]:
        if number in down:
            down.discard(number)
            raise OSError(f"{number} cannot be read just now")
        return number, numbers.read().epoch

    names: dict[str, Any] = {
        "numbers": numbers,
        "read": read,
        "store": stored.update,
        "StaleEpoch": StaleEpoch,
    }
    exec(MANUAL.read_text("utf-8").rpartition("```python\n")[2].partition("```")[0], names)
    names["dispatch"]()
    queue = names["queue"]
    assert queue == [(1, 3, 1), (3, 5, 1), (5, 7, 1)]
    names["work"]()
    names["work"]()
    assert (stored, queue) == ({1: 1, 2: 1}, [(5, 7, 1), (3, 5, 1)])
    numbers.rollback(2)
    while True:
        names["dispatch"]()
        if not queue:
            break
        names["work"]()
    assert stored == {1: 1, **dict.fromkeys(range(2, 8), 2)}
    assert numbers.read().open == ()


acts = st.lists(
    st.one_of(
        st.just("take"),
        st.tuples(st.just("complete"), st.integers(0, 9)),
        st.tuples(st.just("roll back"), st.integers(0, 40)),
    ),
    max_size=40,
)


@given(acts=acts, in_flight=st.sampled_from([None, 1, 3, MAX_OPEN]))
def test_whatever_is_done_intervals_of_an_epoch_are_gapless_and_nothing_unfinished_is_skipped(
    acts: list[Any], in_flight: int | None
) -> None:
    state = IndexerState("n", "", epoch=1, cursor=0)
    given_out: list[Interval] = []
    done: set[int] = set()
    for act in acts:
        if act == "take":
            try:
                state, taken = take(state, lambda at: at + 2, NOON, in_flight=in_flight)
            except InFlightLimit:
                assert len(state.open) == in_flight
                continue
            given_out.append(taken)
        elif act[0] == "complete" and given_out:
            one = given_out[-1 - act[1] % len(given_out)]
            left = complete(state, one)
            done |= set(range(one.start, one.ended)) if left else set()
            state = left or state
        elif act[0] == "roll back" and act[1] <= state.cursor:
            state = roll_back(state, act[1])
            done -= set(range(act[1], 1000))
            assert not state.open
    for epoch in {each.epoch for each in given_out}:
        of_epoch = [each for each in given_out if each.epoch == epoch]
        assert all(before.ended == after.start for before, after in pairwise(of_epoch))
    if in_flight is not None:
        still_open = {at for each in state.open for at in range(each.start, each.ended)}
        assert set(range(state.cursor)) <= done | still_open


def test_tags_of_takes_are_forgotten_after_so_many() -> None:
    state = IndexerState("n", "", epoch=1, cursor=0)
    for number in range(40):
        state, _ = take(state, pages(), NOON, in_flight=None, tag=str(number))
    assert [each["tag"] for each in state.takes] == [str(number) for number in range(8, 40)]
    assert roll_back(replace(state, rolled_back_to=3), 3).takes == []
