"""A batch is worth a round trip when it is full, or when its oldest item has waited enough."""

import pytest

from shared.queue import JobQueue, Lock, connect
from tests.factories import guids, make_data, make_decoded
from tests.fakes import FakeClock
from worker.buffer import Buffer
from worker.decoding import DecodedItem

CLIENT = connect("redis://127.0.0.1:1")


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def buffer(clock: FakeClock) -> Buffer:
    return Buffer(max_items=3, max_age_s=2.0, clock=clock)


def item(guid: str, source: str = "a", queue: str = "light", token: str = "t1") -> DecodedItem:
    return make_decoded(
        JobQueue(CLIENT, queue, clock=FakeClock()), make_data(guid, source=source), token=token
    )


def add(buffer: Buffer, *texts: str, source: str = "a", queue: str = "light") -> None:
    for guid in texts:
        buffer.add(item(guid, source, queue))


def test_nothing_is_due_before_its_time(buffer: Buffer, clock: FakeClock) -> None:
    add(buffer, "1", "2")
    clock.advance(seconds=1.9)
    assert buffer.drain_due() == []
    assert len(buffer) == 2


def test_a_full_batch_is_due_at_once_and_no_larger_than_the_limit(buffer: Buffer) -> None:
    add(buffer, "1", "2", "3", "4")
    assert guids(buffer.drain_due()) == ["1", "2", "3"]
    assert len(buffer) == 1


def test_an_item_that_waited_long_enough_is_due(buffer: Buffer, clock: FakeClock) -> None:
    add(buffer, "1")
    clock.advance(seconds=1)
    assert buffer.next_due_in_s() == pytest.approx(1.0)
    clock.advance(seconds=1)
    assert buffer.next_due_in_s() == 0
    assert guids(buffer.drain_due()) == ["1"]
    assert buffer.next_due_in_s() is None


def test_a_due_batch_takes_other_sources_of_its_queue_along(
    buffer: Buffer, clock: FakeClock
) -> None:
    add(buffer, "b1", source="b")
    clock.advance(seconds=1)
    add(buffer, "a1", source="a")
    clock.advance(seconds=1)
    assert guids(buffer.drain_due()) == ["b1", "a1"]


def test_a_batch_holds_items_of_one_queue_only(buffer: Buffer, clock: FakeClock) -> None:
    add(buffer, "l1")
    add(buffer, "h1", queue="heavy")
    clock.advance(seconds=2)
    assert guids(buffer.drain_due()) == ["l1"]
    assert guids(buffer.drain_due()) == ["h1"]
    assert buffer.drain_due() == []


def test_a_source_that_is_due_goes_before_one_that_is_not(buffer: Buffer) -> None:
    add(buffer, "b1", source="b")
    add(buffer, "a1", "a2", "a3", source="a")
    assert guids(buffer.drain_due()) == ["a1", "a2", "a3"]


def test_everything_can_be_drained_at_once(buffer: Buffer) -> None:
    add(buffer, "1", "2", "3", "4")
    add(buffer, "h", queue="heavy")
    drained = []
    while batch := buffer.drain_due(everything=True):
        drained.append(guids(batch))
    assert drained == [["1", "2", "3"], ["4"], ["h"]]


def test_lost_items_are_dropped_but_not_the_same_job_claimed_anew(buffer: Buffer) -> None:
    buffer.add(item("1", token="old"))
    buffer.add(item("1", token="new"))
    buffer.add(item("2", token="old"))
    buffer.discard({Lock("a#1", "old"), Lock("a#2", "old")})
    [left] = buffer.drain_due(everything=True)
    assert left.lock == Lock("a#1", "new")


def test_its_fill_follows_what_comes_and_goes(buffer: Buffer) -> None:
    items = [item(guid) for guid in "12345"]
    for one in items:
        buffer.add(one)
    size_bytes = len(items[0].job.raw_data)
    assert (len(buffer), buffer.held_bytes) == (5, 5 * size_bytes)
    buffer.discard({items[4].lock, Lock("never#held", "t1")})
    assert (len(buffer), buffer.held_bytes) == (4, 4 * size_bytes)
    buffer.drain_due()
    assert (len(buffer), buffer.held_bytes) == (1, size_bytes)
    buffer.drain_due(everything=True)
    assert (len(buffer), buffer.held_bytes) == (0, 0)


def test_its_fill_is_counted_in_bytes_not_in_characters(buffer: Buffer) -> None:
    queue = JobQueue(CLIENT, "light", clock=FakeClock())
    data = make_data("1", title="\u4f60\u597d \N{GRINNING FACE}" * 100)
    held = make_decoded(queue, data)
    buffer.add(held)
    assert buffer.held_bytes == len(held.job.raw_data.encode())
    assert buffer.held_bytes > len(held.job.raw_data)
    buffer.drain_due(everything=True)
    assert buffer.held_bytes == 0
