"""The traces of the model check (F1–F17), step by step against the real parts.

Each is a sequence of steps by which the protocol, with one guard left out, lost or hid an item or
never came to an end. F11 spoke of two feeds that share a source; a source is one feed now, and what
can still overlap with an uncommitted import is a run whose feed was deleted, a replay, or an import
that stands in the record for whatever reason: the trace is driven with such a one. F18 (two feeds
of one source that disagree) has fallen away with shared sources.
"""

import orjson
import pytest

from server.feeds.service import FeedService
from server.importing.replayer import REPLAY_REVISION
from shared.queue import JobState
from shared.store import Import, ImportState, JournalEntry, new_import_id
from shared.store.imports import empty_counts
from tests.actors import Held
from tests.mill import SOURCE, Mill
from tests.oracle import assert_accounted_for
from tests.press import feed_url, hash_of

pytest_plugins = ["tests.mill_fixture"]

ITEM = f"{SOURCE}#a"


def settle_down(mill: Mill) -> None:
    mill.lose_locks()
    mill.come_to_rest()


def title_of(mill: Mill, item_id: str = ITEM) -> str | None:
    found = mill.stores.items.get(item_id)
    return None if found is None else found["title"]


def counts_of(mill: Mill, import_id: str) -> dict[str, int]:
    found = mill.stores.imports.get(import_id)
    assert found is not None
    return {name: count for name, count in found.counts.items() if count}


def seed(mill: Mill, title: str) -> None:
    """Store the item with a title, by an import that is closed."""
    mill.subscribe({"a": title})
    mill.poll()
    mill.come_to_rest()


def kill_item(mill: Mill, title: str) -> None:
    """Let the item die with a title that MongoDB refuses."""
    mill.poll({"a": title})
    mill.come_to_rest()
    assert mill.stores.dead_letters.get(ITEM) is not None


# F1: the commit is fenced


def test_a_run_that_lost_its_lock_cannot_commit_chunks_that_were_collected(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    zombie = mill.new_server()
    zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.imports, "commit"):
        mill.lose_locks()
        server = mill.server
        with Held(server.fetch, server.stores.sources, "draw_revision", after=True):
            pass
        mill.new_server().heal()
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def test_a_run_that_was_overtaken_before_its_commit_stops(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    zombie = mill.new_server()
    zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.imports, "commit"):
        mill.lose_locks()
        with Held(mill.server.fetch, mill.server.stores.imports, "commit") as second:
            mill.new_server().heal()
            assert mill.stores.journal.read_lowest_revisions()
            second.go_on()
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def test_chunks_of_an_overtaken_run_that_commits_late_were_not_needed(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    zombie = mill.new_server()
    started = zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.imports, "commit") as first:
        mill.lose_locks()
        with Held(mill.server.fetch, mill.server.stores.imports, "mark_fetching", after=True):
            mill.new_server().heal()
            first.go_on()
            found = mill.stores.imports.get(started.import_id)
            assert found is not None
            assert found.state is ImportState.FETCHING
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


# F2: every crash between an import and its feed is healed


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
@pytest.mark.parametrize(
    ("store", "method"),
    [
        ("sources", "draw_revision"),
        ("imports", "mark_fetching"),
        ("journal", "insert_chunk"),
        ("imports", "commit"),
        ("feeds", "finish"),
    ],
)
def test_a_feed_is_free_again_after_a_crash_of_its_run(
    mill: Mill, store: str, method: str, after: bool
) -> None:
    mill.subscribe({"a": "A"})
    crashing = mill.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(getattr(crashing.stores, store), method, crashing.fetch, after=after)

    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def test_a_feed_is_freed_though_its_import_was_closed_before_the_lock_ran_out(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    crashing = mill.new_server()
    started = crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)

    mill.server.audit(started.import_id)
    mill.work()
    assert mill.server.audit(started.import_id)
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def test_a_feed_is_freed_after_a_crash_behind_a_304(mill: Mill) -> None:
    seed(mill, "A")
    crashing = mill.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)
    assert mill.stores.feeds.find_running()

    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def test_a_feed_is_freed_though_the_crashed_run_left_no_job_either(mill: Mill) -> None:
    seed(mill, "A")
    crashing = mill.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)
    mill.lose_redis()

    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"})


def test_a_feed_is_freed_after_a_crash_behind_a_failure(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    mill.press.break_down()
    crashing = mill.new_server()
    crashing.start(SOURCE)
    for _ in range(2):
        assert crashing.fetch()
        mill.clock.advance(seconds=60)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)

    settle_down(mill)

    assert_accounted_for(mill, {})
    feed = mill.stores.feeds.get(SOURCE)
    assert feed is not None
    assert feed.error is not None


def test_a_fetching_import_gets_a_job_again_after_redis_was_lost(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    crashing = mill.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.journal, "insert_chunk", crashing.fetch)

    mill.lose_redis()
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"})


def test_an_import_that_was_claimed_and_never_inserted_is_inserted(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    crashing = mill.new_server()
    crashing.crash_at(crashing.stores.imports, "insert_many", lambda: crashing.start(SOURCE))
    assert mill.stores.imports.find_open() == []

    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def test_of_two_ticks_one_claims_a_feed_and_no_import_is_left_without_it(mill: Mill) -> None:
    mill.press.show(SOURCE, {"a": "A"})
    mill.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE, interval_s=3600)
    first, second = mill.new_server(), mill.new_server()

    with Held(first.scheduler.tick, first.stores.feeds, "reserve_many"):
        assert second.scheduler.tick() == 1
        while second.fetch():
            pass
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})
    assert mill.press.requests == 1


# F3: validators are neither ahead of the journal nor behind it


def test_a_redelivered_job_tells_the_feed_what_its_import_says(mill: Mill) -> None:
    seed(mill, "A")
    mill.press.show(SOURCE, {"a": "B"})
    crashing = mill.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.imports, "commit", crashing.fetch, after=True)
    settle_down(mill)
    assert title_of(mill) == "B"

    mill.poll({"a": "A"})
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"})


def test_a_late_feed_step_changes_nothing_of_a_later_import(mill: Mill) -> None:
    seed(mill, "A")
    mill.press.show(SOURCE, {"a": "B"})
    zombie = mill.new_server()
    zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.feeds, "finish"):
        settle_down(mill)
        mill.poll({"a": "C"})
        mill.come_to_rest()
        mill.press.show(SOURCE, {"a": "B"})
        running = mill.server.start(SOURCE)
    feed = mill.stores.feeds.get(SOURCE)
    assert feed is not None
    assert feed.running_import == running.import_id
    settle_down(mill)

    assert_accounted_for(mill, {"a": "B"})


def test_a_claim_gives_the_feed_what_its_last_import_owes_it_first(mill: Mill) -> None:
    seed(mill, "A")
    mill.press.show(SOURCE, {"a": "B"})
    crashing = mill.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)
    mill.lose_locks()

    mill.poll({"a": "A"})
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"})


# F4: compare reads journals, then dead letters, then documents


def test_an_item_that_comes_home_while_it_is_compared_is_not_taken_for_unchanged(
    mill: Mill,
) -> None:
    seed(mill, "A")
    open_import = mill.poll({"a": "B"})
    mill.press.show(SOURCE, {"a": "A"})
    comparing = mill.new_server()
    comparing.start(SOURCE)

    # Whatever is read first: between two reads the item comes home and its import is closed.
    with Held(comparing.fetch, comparing.stores.items, "read_versions", after=True):
        mill.work()
        mill.server.audit(open_import.import_id)
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def test_a_replay_that_comes_home_while_letters_are_compared_hides_nothing(mill: Mill) -> None:
    seed(mill, "A")
    kill_item(mill, "poison B")
    mill.accept_poison()
    mill.press.show(SOURCE, {"a": "A"})
    comparing = mill.new_server()
    comparing.start(SOURCE)

    with Held(comparing.fetch, comparing.stores.items, "read_versions", after=True):
        [replay] = mill.server.services.replayer.replay(everything=True).imports
        mill.work()
        mill.server.audit(replay.import_id)
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


# F5: raising a revision is guarded by the hash


def test_a_raise_loses_to_content_that_was_written_in_between(mill: Mill) -> None:
    seed(mill, "A")
    mill.poll({"a": "B"})
    slow, raising = mill.new_worker(), mill.new_worker()

    with Held(slow.work, slow.stores.items, "write_many") as writing:
        mill.lose_locks()
        mill.poll({"a": "A"})
        with Held(raising.work, raising.stores.items, "write_many"):
            writing.go_on()
            assert title_of(mill) == "B"
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


# F6: an item with a dead letter is never unchanged


def test_an_older_version_shown_again_beats_the_replay_of_a_dead_one(mill: Mill) -> None:
    seed(mill, "A")
    kill_item(mill, "poison B")
    mill.accept_poison()

    mill.poll({"a": "A"})
    mill.server.services.replayer.replay(everything=True)
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"})


# F7: a replay is dead only by a death of its own


def test_a_replay_is_not_dead_before_it_ran(mill: Mill) -> None:
    mill.subscribe({})
    kill_item(mill, "poison A")
    mill.accept_poison()

    [replay] = mill.server.services.replayer.replay(everything=True).imports
    assert not mill.server.audit(replay.import_id)
    mill.lose_redis()
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "poison A"})
    assert counts_of(mill, replay.import_id) == {"fetched": 1, "new": 1}


def test_a_replay_that_dies_again_is_counted_dead(mill: Mill) -> None:
    mill.subscribe({})
    kill_item(mill, "poison A")

    [replay] = mill.server.services.replayer.replay(everything=True).imports
    mill.come_to_rest()

    assert_accounted_for(mill, {}, dead=["a"])
    assert counts_of(mill, replay.import_id) == {"fetched": 1, "dead": 1}


# F8: only a death of this very revision ends an entry


def test_the_death_of_newer_content_does_not_end_older_content(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    first = mill.poll()
    mill.poll({"a": "poison B"})
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"}, dead=["a"])
    assert counts_of(mill, first.import_id) == {"fetched": 1, "new": 1}


def test_two_dead_versions_do_not_take_one_anothers_evidence(mill: Mill) -> None:
    mill.subscribe({"a": "poison A"})
    first = mill.poll()
    second = mill.poll({"a": "poison B"})
    mill.come_to_rest()

    assert_accounted_for(mill, {}, dead=["a"])
    assert counts_of(mill, first.import_id) == {"fetched": 1, "dead": 1}
    assert counts_of(mill, second.import_id) == {"fetched": 1, "dead": 1}


# F9: the highest revision stays on top of the dead letter


def test_a_late_death_of_older_content_does_not_hide_the_newer_one(mill: Mill) -> None:
    mill.subscribe({"a": "poison A"})
    mill.poll()
    mill.work()
    mill.clock.advance(seconds=60)
    zombie = mill.new_worker()

    with Held(zombie.work, zombie.stores.dead_letters, "record_many"):
        mill.lose_locks()
        mill.poll({"a": "poison B"})
        mill.work()
        mill.clock.advance(seconds=60)
        mill.work()
    letter = mill.stores.dead_letters.get(ITEM)
    assert letter is not None
    assert letter.content_hash == hash_of("a", "poison B")
    settle_down(mill)

    assert_accounted_for(mill, {}, dead=["a"])


# F10: what an open journal may change is not dead at once


def test_dead_content_shown_again_over_an_open_import_is_tried_again(mill: Mill) -> None:
    mill.subscribe({})
    kill_item(mill, "poison B")
    mill.poll({"a": "A"})
    mill.poll({"a": "poison B"})
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"}, dead=["a"])
    letter = mill.stores.dead_letters.get(ITEM)
    assert letter is not None
    assert letter.content_hash == hash_of("a", "poison B")


# F11: no shortcut beside an uncommitted import of a lower revision


def test_an_uncommitted_import_of_the_source_takes_all_shortcuts_away(mill: Mill) -> None:
    seed(mill, "A")
    rival = insert_uncommitted(mill)

    polled = mill.poll({"a": "A", "new": "N"})
    commit_uncommitted(mill, rival, "B")
    mill.come_to_rest()

    assert polled.journaled == 2
    assert_accounted_for(mill, {"a": "A", "new": "N"})


# F12: no dead letter outlives what stored its item


def test_a_letter_is_cleared_though_the_worker_crashed_before(mill: Mill) -> None:
    mill.subscribe({})
    kill_item(mill, "poison A")
    mill.poll({"a": "A"})
    crashing = mill.new_worker()
    crashing.crash_at(crashing.stores.dead_letters, "clear_many", crashing.work)
    mill.lose_redis()

    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"})


def test_a_letter_is_cleared_in_the_queue_though_the_worker_crashed_in_between(mill: Mill) -> None:
    mill.subscribe({})
    kill_item(mill, "poison A")
    mill.poll({"a": "A"})
    crashing = mill.new_worker()
    crashing.crash_at(crashing.stores.dead_letters, "clear_many", crashing.work, after=True)

    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def test_a_letter_written_after_everything_was_closed_is_swept(mill: Mill) -> None:
    mill.subscribe({"a": "poison A"})
    mill.poll()
    mill.work()
    mill.clock.advance(seconds=60)
    zombie = mill.new_worker()

    with Held(zombie.work, zombie.stores.dead_letters, "record_many"):
        mill.lose_locks()
        mill.poll({"a": "A"})
        mill.come_to_rest()
    mill.clock.advance(hours=1)
    mill.reclaim()
    mill.server.look()

    assert_accounted_for(mill, {"a": "A"})


def test_a_letter_that_is_removed_before_its_job_was_moved_leaves_no_job(mill: Mill) -> None:
    mill.subscribe({"a": "poison A"})
    mill.poll()
    mill.work()
    mill.clock.advance(seconds=60)
    worker = mill.new_worker()

    with Held(worker.work, worker.queues[0], "dead_letter_many"):
        mill.server.services.remover.remove_dead_letter(ITEM)
    mill.come_to_rest()
    mill.clock.advance(hours=1)
    mill.come_to_rest()

    assert_accounted_for(mill, {}, removed=["a"])


def test_a_letter_whose_job_is_missing_in_the_queue_is_shown_there_again(mill: Mill) -> None:
    mill.subscribe({"a": "poison A"})
    kill_item(mill, "poison A")
    mill.dead_letter_queue.remove_many([ITEM])

    mill.clock.advance(hours=1)
    mill.come_to_rest()

    assert_accounted_for(mill, {}, dead=["a"])


# F13: the worker looks at dead letters


def test_a_removed_job_that_the_auditor_adds_again_is_not_stored(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    started = mill.poll()
    auditing = mill.new_server()

    def audit() -> bool:
        return auditing.audit(started.import_id)

    with Held(audit, auditing.stores.journal, "read_entries"):
        mill.server.services.remover.remove_job(mill.item_queues[0], ITEM)
    assert mill.item_queues[0].get_job(ITEM) is not None
    mill.come_to_rest()

    assert_accounted_for(mill, {}, removed=["a"])
    assert counts_of(mill, started.import_id) == {"fetched": 1, "removed": 1}


def test_a_death_on_record_is_not_run_again(mill: Mill) -> None:
    mill.subscribe({"a": "poison A"})
    started = mill.poll()
    mill.work()
    mill.clock.advance(seconds=60)
    crashing = mill.new_worker()
    crashing.crash_at(crashing.stores.dead_letters, "record_many", crashing.work, after=True)
    mill.accept_poison()

    settle_down(mill)

    assert_accounted_for(mill, {}, dead=["a"])
    assert counts_of(mill, started.import_id) == {"fetched": 1, "dead": 1}


# F14: only garbage is collected


def test_chunks_of_a_run_that_began_after_its_import_was_read_are_kept(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    crashing = mill.new_server()
    started = crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.imports, "commit", crashing.fetch)
    mill.lose_locks()
    # A second one, so that there is garbage: the chunks of the first.
    crashing = mill.new_server()
    crashing.crash_at(crashing.stores.imports, "commit", crashing.fetch)
    mill.lose_locks()
    collecting = mill.new_server()

    with Held(collecting.heal, collecting.stores.journal, "delete_below"):
        while mill.server.fetch():
            pass
    found = mill.stores.imports.get(started.import_id)
    assert found is not None
    assert list(mill.stores.journal.chunks(started.import_id, found.revision or 0))
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A"})


def test_chunks_left_by_a_crash_behind_the_close_are_collected(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    started = mill.poll()
    mill.work()
    crashing = mill.new_server()
    crashing.crash_at(crashing.stores.journal, "delete", lambda: crashing.audit(started.import_id))
    mill.clock.advance(seconds=60)

    mill.come_to_rest()
    mill.server.heal()

    assert_accounted_for(mill, {"a": "A"})


def test_chunks_of_a_replay_are_no_garbage_before_its_commit(mill: Mill) -> None:
    mill.subscribe({})
    kill_item(mill, "poison A")
    mill.accept_poison()
    replaying = mill.new_server()

    def replay() -> object:
        return replaying.services.replayer.replay(everything=True)

    with Held(replay, replaying.stores.imports, "commit"):
        mill.server.heal()
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "poison A"})


# F15: a feed that was changed takes no validators of its old self


def test_validators_of_the_old_url_are_not_stored_after_a_change(mill: Mill) -> None:
    mill.subscribe({"a": "A"})
    other_url = "https://other.example/feed.json"
    fetching = mill.new_server()
    fetching.start(SOURCE)

    with Held(fetching.fetch, fetching.stores.imports, "commit"):
        feeds: FeedService = mill.server.services.feeds
        feeds.change(SOURCE, {"urls": [other_url]})
    feed = mill.stores.feeds.get(SOURCE)
    assert feed is not None
    assert feed.validators == {}
    feeds.change(SOURCE, {"urls": [feed_url(SOURCE)]})
    mill.poll({"a": "A", "b": "B"})
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "A", "b": "B"})


# F16: a replay that never commits is failed


def test_a_replay_that_crashed_before_its_commit_is_failed_and_can_be_repeated(mill: Mill) -> None:
    mill.subscribe({})
    kill_item(mill, "poison A")
    mill.accept_poison()
    crashing = mill.new_server()
    crashing.crash_at(
        crashing.stores.imports,
        "commit",
        lambda: crashing.services.replayer.replay(everything=True),
    )
    mill.clock.advance(minutes=11)
    mill.come_to_rest()
    assert mill.fetch_queue.counts()[JobState.WAITING] == 0
    assert title_of(mill) is None

    mill.server.services.replayer.replay(everything=True)
    mill.come_to_rest()

    assert_accounted_for(mill, {"a": "poison A"})


# F17: the import of a deleted feed never runs beside those of its successor


def test_the_queued_import_of_a_deleted_feed_fails(mill: Mill) -> None:
    seed(mill, "A")
    old = mill.server.start(SOURCE)
    mill.press.show(SOURCE, {"a": "B"})
    mill.server.services.feeds.remove(SOURCE)
    mill.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE)

    mill.poll({"a": "A"})
    mill.come_to_rest()

    found = mill.stores.imports.get(old.import_id)
    assert found is not None
    assert found.state is ImportState.FAILED
    assert_accounted_for(mill, {"a": "A"})


def test_a_run_whose_feed_was_deleted_and_added_again_commits_nothing(mill: Mill) -> None:
    seed(mill, "A")
    mill.press.show(SOURCE, {"a": "B"})
    zombie = mill.new_server()
    zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.imports, "commit"):
        mill.server.services.feeds.remove(SOURCE)
        mill.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE)
        mill.lose_locks()
        mill.poll({"a": "A"})
    settle_down(mill)

    assert_accounted_for(mill, {"a": "A"})


def insert_uncommitted(mill: Mill) -> Import:
    """Open an import that is fetching, under a revision drawn now."""
    now = mill.clock.now()
    rival = Import(
        import_id=new_import_id(now),
        source=SOURCE,
        urls=[],
        # The only trigger that the healer leaves alone without a feed that names the import.
        trigger="replay",
        state=ImportState.FETCHING,
        requested_at=now,
        revision=mill.stores.sources.draw_revision(SOURCE),
    )
    mill.stores.imports.insert(rival)
    return rival


def commit_uncommitted(mill: Mill, rival: Import, title: str) -> None:
    """Journal one item and commit the import, as its run would."""
    revision = rival.revision or REPLAY_REVISION
    data = {"source": SOURCE, "guid": "a", "title": title, "content": title}
    entry = JournalEntry(ITEM, revision, hash_of("a", title), orjson.dumps(data))
    mill.stores.journal.insert_chunk(rival.import_id, revision, 0, [entry])
    outcome = {
        "state": ImportState.IMPORTING,
        "counts": {**empty_counts(), "fetched": 1},
        "journaled": 1,
        "queue": mill.settings.light_queue,
    }
    assert mill.stores.imports.commit(rival.import_id, revision, outcome)
