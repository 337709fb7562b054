"""Dead letters: what keeps an item away, what brings it back, and what is remembered."""

from dataclasses import replace as with_other
from typing import Any

import pytest

from server.importing.merging import MovedGuids
from server.importing.remover import Remover
from server.importing.replayer import Obstacle, Replay
from server.importing.selecting import compare
from shared.errors import InvalidRequestError, NotFoundError, StoreUnavailable
from shared.models import content_hash, encode_json
from shared.queue import JobState, NewJob
from shared.store import DeadLetterStore, Import, ImportState, LetterKind, dead_letters
from shared.store.journal import Chunk, JournalEntry, JournalStore
from tests.factories import (
    JOB_MAX_BYTES,
    NOON,
    Bench,
    make_candidate,
    make_data,
    make_letter_of,
)


class UnreadableJournal(JournalStore):
    """MongoDB goes away after the import was committed."""

    def read_entries(self, chunk: Chunk) -> list[JournalEntry]:
        raise StoreUnavailable("connection closed")


def bad(guid: str = "1", **fields: Any) -> dict[str, Any]:
    """Return an item that dies: its author is no text."""
    return make_data(guid, **({"author": 5} | fields))


def compare_again(bench: Bench, *items: dict[str, Any], revision: int = 9) -> dict[str, int]:
    """Compare fetched items with the record; return what they count as."""
    importing = Import("i9", "lwn", [], "api", ImportState.FETCHING, NOON, revision=revision)
    candidates = [make_candidate(one) for one in items]
    moved = MovedGuids(bench.stores, "lwn", listed=[], aliases={})
    compared = compare(bench.stores, importing, revision, candidates, moved)
    return {str(verdict): count for verdict, count in compared.counts.items()}


def make_remover(bench: Bench) -> Remover:
    return Remover(
        stores=bench.stores,
        item_queues=[bench.queue, bench.heavy],
        dead_letter_queue=bench.dlq,
        clock=bench.clock,
    )


def replay(bench: Bench, **choice: Any) -> Replay:
    replayer = bench.make_replayer()
    return replayer.replay(**choice)


def dlq_ids(bench: Bench) -> list[str]:
    return sorted(view.id for view in bench.dlq.list_jobs(JobState.WAITING, 0, 100))


def test_a_feed_of_unreadable_items_is_recorded_in_calls_that_end_in_time(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = bench.stores.database.collection("dead_letters")
    store = DeadLetterStore(bench.stores.database)
    sizes: list[int] = []

    def write(operations: list[Any], **options: Any) -> Any:
        sizes.append(len(operations))
        return letters.bulk_write(operations, **options)

    store.record_many([make_letter_of(str(number), revision=2) for number in range(50)])
    monkeypatch.setattr(store._letters, "bulk_write", write)
    monkeypatch.setattr(dead_letters, "LETTERS_A_CALL", 20)
    store.record_many([make_letter_of(str(number), revision=1) for number in range(70)])
    # What does not get on top takes three writes.
    assert (min(sizes[:2]), max(sizes)) == (20, 60)
    found = store.read_many([f"lwn#{number}" for number in range(70)])
    assert {letter.revision for letter in found.values()} == {1, 2}
    assert sorted(len(letter.history) for letter in found.values()) == [1] * 20 + [2] * 50


def test_the_same_content_met_again_is_dead_and_other_content_is_tried(bench: Bench) -> None:
    bench.import_items(bad())
    assert compare_again(bench, bad()) == {"dead": 1}
    assert compare_again(bench, bad(title="other")) == {"journaled": 1}


def test_content_that_is_stored_clears_the_letter_in_both_places(bench: Bench) -> None:
    bench.import_items(bad())
    assert dlq_ids(bench) == ["lwn#1"]
    bench.import_items(make_data("1"), revision=2)
    assert bench.stores.dead_letters.get("lwn#1") is None
    assert dlq_ids(bench) == []


def test_a_newer_version_that_dies_leaves_the_older_one_stored(bench: Bench) -> None:
    bench.import_items(make_data("1"))
    bench.import_items(bad(), revision=2)
    assert bench.titles() == {"1": "Title 1"}
    assert compare_again(bench, make_data("1")) == {"journaled": 1}
    assert compare_again(bench, bad()) == {"dead": 1}


def test_an_older_version_that_dies_late_does_not_hide_the_newer_one(bench: Bench) -> None:
    bench.import_items(make_data("1"), revision=2)
    bench.stores.dead_letters.record_many([make_letter_of(revision=1)])
    assert compare_again(bench, make_data("1")) == {"unchanged": 1}


def test_what_an_operator_removed_stays_away_until_other_content_comes(bench: Bench) -> None:
    bench.import_items(bad())
    make_remover(bench).remove_dead_letter("lwn#1")
    assert bench.dead() == {}
    assert dlq_ids(bench) == []
    assert compare_again(bench, bad()) == {"removed": 1}
    assert compare_again(bench, bad(title="other")) == {"journaled": 1}
    bench.import_items(make_data("1"), revision=2)
    assert bench.stores.dead_letters.get("lwn#1") is None


def test_removing_twice_says_that_there_is_nothing(bench: Bench) -> None:
    bench.import_items(bad())
    remover = make_remover(bench)
    remover.remove_dead_letter("lwn#1")
    for item_id in ("lwn#1", "lwn#never"):
        with pytest.raises(NotFoundError):
            remover.remove_dead_letter(item_id)


def test_a_removed_job_stays_away_even_when_it_is_added_again(bench: Bench) -> None:
    bench.add(make_data("1", import_id="i1"))
    make_remover(bench).remove_job(bench.queue, "lwn#1")
    assert bench.left() == {}
    assert bench.queue.read_tallies(["i1"]) == [{"removed": 1}]
    assert compare_again(bench, make_data("1")) == {"removed": 1}
    bench.queue.delete_tallies(["i1"])
    bench.import_items(make_data("1", import_id="i1"))
    assert bench.documents() == {}
    assert bench.queue.read_tallies(["i1"]) == [{"removed": 1}]


def test_the_last_ten_ends_are_kept_and_the_highest_revision_is_on_top(bench: Bench) -> None:
    letters = bench.stores.dead_letters
    for revision in (*range(2, 14), 1):
        letters.record_many([make_letter_of(revision=revision, import_id=f"i{revision}")])
    letter = letters.get("lwn#1")
    assert letter is not None
    assert (letter.revision, letter.import_id) == (13, "i13")
    assert [end["revision"] for end in letter.history] == [*range(5, 14), 1]
    assert letter.has_failed_at(1)
    assert letter.has_failed_at(13)
    assert not letter.has_failed_at(3)


def test_recording_the_same_end_again_changes_nothing(bench: Bench) -> None:
    letters = bench.stores.dead_letters
    deaths = [make_letter_of(revision=2), make_letter_of("2", revision=1)]
    letters.record_many(deaths)
    letters.record_many([make_letter_of(revision=1)])
    before = letters.read_whole(["lwn#1", "lwn#2"])
    letters.record_many(deaths)
    letters.record_many([make_letter_of(revision=1)])
    assert letters.read_whole(["lwn#1", "lwn#2"]) == before


def test_a_death_of_the_same_revision_does_not_undo_a_removal(bench: Bench) -> None:
    letters = bench.stores.dead_letters
    letters.record_many([make_letter_of(kind=LetterKind.REMOVED)])
    letters.record_many([make_letter_of()])
    letter = letters.get("lwn#1")
    assert letter is not None
    assert letter.kind is LetterKind.REMOVED
    assert [end["kind"] for end in letter.history] == ["removed", "dead"]


# Replay.


@pytest.fixture
def fixed(bench: Bench) -> Bench:
    """Letters of two sources and two causes whose content could be stored by now."""
    for number, (source, reason) in enumerate(
        [("lwn", "boom 17"), ("lwn", "bang"), ("ars", "boom 4")]
    ):
        data = make_data(str(number), source=source)
        raw_data = f'{{"source": "{source}", "guid": "{number}", "title": "{data["title"]}"}}'
        death = make_letter_of(
            str(number),
            item_id=f"{source}#{number}",
            source=source,
            reason=reason,
            data=raw_data,
            content_hash=content_hash(data),
        )
        bench.stores.dead_letters.record_many([death])
    return bench


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ({"item_ids": ["lwn#1"]}, {"lwn#1"}),
        ({"item_ids": ["lwn#1", "ars#2", "lwn#absent"]}, {"lwn#1", "ars#2"}),
        ({"item_ids": []}, set()),
        ({"source": "lwn"}, {"lwn#0", "lwn#1"}),
        ({"cause": "invalid: boom …"}, {"lwn#0", "ars#2"}),
        ({"everything": True}, {"lwn#0", "lwn#1", "ars#2"}),
        ({"source": "unheard-of"}, set()),
    ],
)
def test_dead_letters_are_replayed_by_id_source_cause_or_all(
    fixed: Bench, choice: dict[str, Any], expected: set[str]
) -> None:
    replayed = replay(fixed, **choice)
    assert replayed.replayed == len(expected)
    sources = {item_id.partition("#")[0] for item_id in expected}
    assert sorted(one.source for one in replayed.imports) == sorted(sources)
    assert {one.trigger for one in replayed.imports} <= {"replay"}
    fixed.work()
    assert set(fixed.documents()) == expected
    left = {f"{letter.source}#{letter.guid}" for letter in fixed.dead().values()}
    assert left == {"lwn#0", "lwn#1", "ars#2"} - expected


def test_removed_ones_are_not_replayed(fixed: Bench) -> None:
    make_remover(fixed).remove_dead_letter("lwn#1")
    assert replay(fixed, everything=True).replayed == 2
    fixed.work()
    assert "lwn#1" not in fixed.documents()
    again = replay(fixed, item_ids=["lwn#1", "lwn#absent"])
    assert again.imports == []
    assert again.not_replayed == {Obstacle.REMOVED: 1, Obstacle.NOT_FOUND: 1}


@pytest.mark.parametrize("choice", [{}, {"source": "lwn", "everything": True}])
def test_a_replay_that_is_chosen_in_no_way_or_two_is_refused(
    bench: Bench, choice: dict[str, Any]
) -> None:
    with pytest.raises(InvalidRequestError):
        replay(bench, **choice)


def test_a_replay_never_overwrites_newer_content(fixed: Bench) -> None:
    replayed = replay(fixed, item_ids=["lwn#1"])
    fixed.queue.remove_many(["lwn#1"])
    fixed.import_items(make_data("1", title="newer"), revision=5)
    [importing] = replayed.imports
    fixed.import_items(make_data("1", title="older", import_id=importing.import_id), revision=1)
    assert fixed.titles()["1"] == "newer"
    assert fixed.queue.read_tallies([importing.import_id]) == [{"superseded": 1}]


def test_replaying_twice_at_once_stores_an_item_once(fixed: Bench) -> None:
    replay(fixed, everything=True)
    replay(fixed, everything=True)
    assert fixed.left() == {"waiting": 3}
    fixed.work()
    assert len(fixed.documents()) == 3
    assert fixed.dead() == {}
    assert fixed.left() == {}


def test_what_is_not_replayed_is_counted_with_its_reason(bench: Bench) -> None:
    large = encode_json(make_data("5", content="x" * JOB_MAX_BYTES)).decode()
    bench.stores.dead_letters.record_many(
        [
            make_letter_of("1", data="{nonsense"),
            make_letter_of("2", data="[]"),
            make_letter_of("3", data=""),
            make_letter_of("4", error_type="unreadable"),
            make_letter_of("5", data=large, error_type="too_large"),
            make_letter_of("6", data="", error_type="too_large"),
            make_letter_of("7", error_type="too_large"),
        ]
    )
    replayed = replay(bench, everything=True)
    assert replayed.replayed == 1
    assert replayed.not_replayed == {
        Obstacle.UNDECODABLE: 3,
        Obstacle.UNREADABLE: 1,
        Obstacle.TOO_LARGE: 2,
    }


def test_a_job_whose_data_does_not_name_its_item_is_not_replayed_under_a_made_up_name(
    bench: Bench,
) -> None:
    for number, data in enumerate(
        [
            {"source": "lwn", "guid": 20},
            {"source": "lwn", "guid": ""},
            {"source": "LWN", "guid": "1"},
            {"source": "lwn"},
            {"guid": "1"},
        ]
    ):
        bench.queue.add_many([NewJob(id=f"job-{number}", name="item", data=data)])
    bench.queue.add_many([NewJob(id="lwn#21", name="item", data={"title": "no name"})])
    bench.work()
    assert len(bench.dead()) == 6
    replayed = replay(bench, everything=True)
    assert (replayed.imports, replayed.not_replayed) == ([], {Obstacle.UNDECODABLE: 6})


def test_a_replay_that_is_overtaken_says_that_nothing_was_replayed(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.stores.dead_letters.record_many([make_letter_of("1")])
    monkeypatch.setattr(bench.stores.imports, "commit", lambda *_: False)
    replayed = replay(bench, everything=True)
    assert (replayed.replayed, replayed.imports) == (0, [])
    assert replayed.not_replayed == {Obstacle.OVERTAKEN: 1}


def test_a_job_whose_death_is_on_record_is_moved_with_the_reason_it_died_of(bench: Bench) -> None:
    bench.add(make_data("1", import_id="i1"))
    taken = bench.take()
    bench.stores.dead_letters.record_many([make_letter_of(import_id="i1", reason="it was too odd")])
    bench.finish(taken)
    assert bench.documents() == {}
    assert bench.left() == {}
    [view] = bench.dlq.list_jobs(JobState.WAITING, 0, 10)
    assert '"reason":"it was too odd"' in view.data.replace('": "', '":"')


def test_committed_replay_is_answered_though_its_journal_cannot_be_read_now(bench: Bench) -> None:
    bench.stores.dead_letters.record_many([make_letter_of("1")])
    stores = with_other(bench.stores, journal=UnreadableJournal(bench.stores.database))
    replayer = bench.make_replayer(stores)
    replayed = replayer.replay(everything=True)
    [importing] = replayed.imports
    assert (replayed.replayed, importing.state) == (1, ImportState.IMPORTING)
    assert bench.queue.counts()[JobState.WAITING] == 0
