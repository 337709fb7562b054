"""Which items a worker takes for stale: those of another epoch than their indexer's."""

from collections.abc import Iterable
from typing import Any
from unittest import mock

import pytest

from shared.errors import UnreadableDocument
from shared.models import encode_json
from shared.queue import JobQueue, connect
from shared.store import IntervalStore
from tests.factories import make_claimed, make_data, make_decoded
from tests.fakes import FakeClock
from worker.decoding import DecodedItem, read_epoch
from worker.epochs import EpochGuard, Judged

QUEUE = JobQueue(connect("redis://127.0.0.1:1"), "items", clock=FakeClock())


class Epochs:
    """Knows the epochs of indexers, and how often it was asked."""

    def __init__(self, **epochs: int) -> None:
        self.store = mock.create_autospec(IntervalStore, instance=True)
        self.store.read_epochs.side_effect = self._read
        self.guard = EpochGuard(self.store)
        self.unreadable: set[str] = set()
        self._epochs = epochs

    @property
    def reads(self) -> int:
        return int(self.store.read_epochs.call_count)

    def _read(self, names: Iterable[str]) -> dict[str, int]:
        for name in self.unreadable.intersection(names):
            raise UnreadableDocument("intervals", name, "epoch is 'x'")
        return {name: self._epochs[name] for name in names if name in self._epochs}


def guids_of(job_ids: frozenset[str]) -> set[str]:
    return {job_id.partition("#")[2] for job_id in job_ids}


def decode_pulled(data: dict[str, Any]) -> DecodedItem:
    return make_decoded(QUEUE, data, tally="i1")


def data_of(guid: str, indexer: object = None, epoch: object = None) -> dict[str, Any]:
    named = {"indexer": indexer, "epoch": epoch} if indexer is not None else {}
    return make_data(guid, **named)


def test_items_of_another_epoch_are_stale_and_so_are_those_of_no_indexer() -> None:
    epochs = Epochs(news=3, other=1)
    items = [
        decode_pulled(data_of("old", "news", 2)),
        decode_pulled(data_of("right", "news", 3)),
        decode_pulled(data_of("ahead", "news", 4)),
        decode_pulled(data_of("other", "other", 1)),
        decode_pulled(data_of("gone", "gone", 1)),
        decode_pulled(data_of("plain")),
    ]

    judged = epochs.guard.judge(items)

    assert guids_of(judged.stale) == {"old", "ahead", "gone"}
    assert judged.unknown == frozenset()
    assert epochs.reads == 1


def test_of_items_whose_indexer_cannot_be_read_nothing_is_known_but_of_the_others_it_is() -> None:
    epochs = Epochs(news=3)
    epochs.unreadable = {"spoilt"}
    items = [
        decode_pulled(data_of("old", "news", 2)),
        decode_pulled(data_of("right", "news", 3)),
        decode_pulled(data_of("spoilt", "spoilt", 3)),
    ]

    judged = epochs.guard.judge(items)

    assert (guids_of(judged.stale), guids_of(judged.unknown)) == ({"old"}, {"spoilt"})


def test_fields_that_a_producer_calls_as_ours_name_no_indexer() -> None:
    epochs = Epochs(news=3)
    data = data_of("1", "news", 2)

    assert epochs.guard.judge([make_decoded(QUEUE, data, tally=None)]) == Judged()
    assert epochs.guard.judge_jobs([make_claimed(encode_json(data).decode())]) == Judged()
    assert epochs.reads == 0


def test_ordinary_items_are_not_asked_about() -> None:
    epochs = Epochs()
    plain = data_of("1")

    assert epochs.guard.judge([make_decoded(QUEUE, plain)]) == Judged()
    assert epochs.guard.judge_jobs([make_claimed(encode_json(plain).decode())]) == Judged()
    assert epochs.reads == 0


@pytest.mark.parametrize(
    ("raw_data", "is_stale"),
    [
        ('{"title":5,"indexer":"news","epoch":2}', True),
        ('{"title":5,"indexer":"news","epoch":3}', False),
        ('{"indexer":"news","epoch":', False),
        ('["epoch", {"epoch":2}]', False),
    ],
)
def test_jobs_that_are_no_items_are_judged_by_what_can_be_read(
    raw_data: str, is_stale: bool
) -> None:
    job = make_claimed(raw_data, tally="i1")
    assert bool(Epochs(news=3).guard.judge_jobs([job]).stale) is is_stale


@pytest.mark.parametrize(
    ("indexer", "epoch", "read"),
    [("news", 2, ("news", 2)), ("news", "2", None), ("news", None, None), (7, 2, None)],
)
def test_what_is_no_epoch_makes_an_ordinary_item(indexer: Any, epoch: Any, read: Any) -> None:
    job = make_claimed("{}", tally="i1")
    assert read_epoch(job, {"indexer": indexer, "epoch": epoch}) == read
