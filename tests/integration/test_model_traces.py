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
from tests.fake_publisher import feed_url, hash_of
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for
from tests.roles import Held

pytest_plugins = ["tests.harness_fixture"]

ITEM = f"{SOURCE}#a"


def settle_down(harness: Harness) -> None:
    harness.lose_locks()
    harness.come_to_rest()


def title_of(harness: Harness, item_id: str = ITEM) -> str | None:
    found = harness.stores.items.get(item_id)
    return None if found is None else found["title"]


def counts_of(harness: Harness, import_id: str) -> dict[str, int]:
    found = harness.stores.imports.get(import_id)
    assert found is not None
    return {name: count for name, count in found.counts.items() if count}


def seed(harness: Harness, title: str) -> None:
    """Store the item with a title, by an import that is closed."""
    harness.subscribe({"a": title})
    harness.poll()
    harness.come_to_rest()


def kill_item(harness: Harness, title: str) -> None:
    """Let the item die with a title that MongoDB refuses."""
    harness.poll({"a": title})
    harness.come_to_rest()
    assert harness.stores.dead_letters.get(ITEM) is not None


# F1: the commit is fenced


def test_a_run_that_lost_its_lock_cannot_commit_chunks_that_were_collected(
    harness: Harness,
) -> None:
    harness.subscribe({"a": "A"})
    zombie = harness.new_server()
    zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.imports, "commit"):
        harness.lose_locks()
        server = harness.server
        with Held(server.fetch, server.stores.sources, "draw_revision", after=True):
            pass
        harness.new_server().heal()
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def test_a_run_that_was_overtaken_before_its_commit_stops(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    zombie = harness.new_server()
    zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.imports, "commit"):
        harness.lose_locks()
        with Held(harness.server.fetch, harness.server.stores.imports, "commit") as second:
            harness.new_server().heal()
            assert harness.stores.journal.read_lowest_revisions()
            second.go_on()
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def test_chunks_of_an_overtaken_run_that_commits_late_were_not_needed(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    zombie = harness.new_server()
    started = zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.imports, "commit") as first:
        harness.lose_locks()
        with Held(harness.server.fetch, harness.server.stores.imports, "mark_fetching", after=True):
            harness.new_server().heal()
            first.go_on()
            found = harness.stores.imports.get(started.import_id)
            assert found is not None
            assert found.state is ImportState.FETCHING
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


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
    harness: Harness, store: str, method: str, after: bool
) -> None:
    harness.subscribe({"a": "A"})
    crashing = harness.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(getattr(crashing.stores, store), method, crashing.fetch, after=after)

    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def test_a_feed_is_freed_though_its_import_was_closed_before_the_lock_ran_out(
    harness: Harness,
) -> None:
    harness.subscribe({"a": "A"})
    crashing = harness.new_server()
    started = crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)

    harness.server.audit(started.import_id)
    harness.work()
    assert harness.server.audit(started.import_id)
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def test_a_feed_is_freed_after_a_crash_behind_a_304(harness: Harness) -> None:
    seed(harness, "A")
    crashing = harness.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)
    assert harness.stores.feeds.find_running()

    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def test_a_feed_is_freed_though_the_crashed_run_left_no_job_either(harness: Harness) -> None:
    seed(harness, "A")
    crashing = harness.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)
    harness.lose_redis()

    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"})


def test_a_feed_is_freed_after_a_crash_behind_a_failure(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    harness.publisher.break_down()
    crashing = harness.new_server()
    crashing.start(SOURCE)
    for _ in range(2):
        assert crashing.fetch()
        harness.clock.advance(seconds=60)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)

    settle_down(harness)

    assert_accounted_for(harness, {})
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert feed.error is not None


def test_a_fetching_import_gets_a_job_again_after_redis_was_lost(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    crashing = harness.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.journal, "insert_chunk", crashing.fetch)

    harness.lose_redis()
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"})


def test_an_import_that_was_claimed_and_never_inserted_is_inserted(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    crashing = harness.new_server()
    crashing.crash_at(crashing.stores.imports, "insert_many", lambda: crashing.start(SOURCE))
    assert harness.stores.imports.find_open() == []

    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def test_of_two_ticks_one_claims_a_feed_and_no_import_is_left_without_it(harness: Harness) -> None:
    harness.publisher.show(SOURCE, {"a": "A"})
    harness.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE, interval_s=3600)
    first, second = harness.new_server(), harness.new_server()

    with Held(first.scheduler.tick, first.stores.feeds, "reserve_many"):
        assert second.scheduler.tick() == 1
        while second.fetch():
            pass
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})
    assert harness.publisher.requests == 1


# F3: validators are neither ahead of the journal nor behind it


def test_a_redelivered_job_tells_the_feed_what_its_import_says(harness: Harness) -> None:
    seed(harness, "A")
    harness.publisher.show(SOURCE, {"a": "B"})
    crashing = harness.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.imports, "commit", crashing.fetch, after=True)
    settle_down(harness)
    assert title_of(harness) == "B"

    harness.poll({"a": "A"})
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"})


def test_a_late_feed_step_changes_nothing_of_a_later_import(harness: Harness) -> None:
    seed(harness, "A")
    harness.publisher.show(SOURCE, {"a": "B"})
    zombie = harness.new_server()
    zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.feeds, "finish"):
        settle_down(harness)
        harness.poll({"a": "C"})
        harness.come_to_rest()
        harness.publisher.show(SOURCE, {"a": "B"})
        running = harness.server.start(SOURCE)
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert feed.running_import == running.import_id
    settle_down(harness)

    assert_accounted_for(harness, {"a": "B"})


def test_a_claim_gives_the_feed_what_its_last_import_owes_it_first(harness: Harness) -> None:
    seed(harness, "A")
    harness.publisher.show(SOURCE, {"a": "B"})
    crashing = harness.new_server()
    crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.feeds, "finish", crashing.fetch)
    harness.lose_locks()

    harness.poll({"a": "A"})
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"})


# F4: compare reads journals, then dead letters, then documents


def test_an_item_that_is_stored_while_it_is_compared_is_not_taken_for_unchanged(
    harness: Harness,
) -> None:
    seed(harness, "A")
    open_import = harness.poll({"a": "B"})
    harness.publisher.show(SOURCE, {"a": "A"})
    comparing = harness.new_server()
    comparing.start(SOURCE)

    # Whatever is read first: between two reads the item is stored and its import is closed.
    with Held(comparing.fetch, comparing.stores.items, "read_versions", after=True):
        harness.work()
        harness.server.audit(open_import.import_id)
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def test_a_replay_that_is_stored_while_letters_are_compared_hides_nothing(
    harness: Harness,
) -> None:
    seed(harness, "A")
    kill_item(harness, "poison B")
    harness.accept_poison()
    harness.publisher.show(SOURCE, {"a": "A"})
    comparing = harness.new_server()
    comparing.start(SOURCE)

    with Held(comparing.fetch, comparing.stores.items, "read_versions", after=True):
        [replay] = harness.server.services.replayer.replay(everything=True).imports
        harness.work()
        harness.server.audit(replay.import_id)
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


# F5: raising a revision is guarded by the hash


def test_a_raise_loses_to_content_that_was_written_in_between(harness: Harness) -> None:
    seed(harness, "A")
    harness.poll({"a": "B"})
    slow, raising = harness.new_worker(), harness.new_worker()

    with Held(slow.work, slow.stores.items, "write_many") as writing:
        harness.lose_locks()
        harness.poll({"a": "A"})
        with Held(raising.work, raising.stores.items, "write_many"):
            writing.go_on()
            assert title_of(harness) == "B"
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


# F6: an item with a dead letter is never unchanged


def test_an_older_version_shown_again_beats_the_replay_of_a_dead_one(harness: Harness) -> None:
    seed(harness, "A")
    kill_item(harness, "poison B")
    harness.accept_poison()

    harness.poll({"a": "A"})
    harness.server.services.replayer.replay(everything=True)
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"})


# F7: a replay is dead only by a death of its own


def test_a_replay_is_not_dead_before_it_ran(harness: Harness) -> None:
    harness.subscribe({})
    kill_item(harness, "poison A")
    harness.accept_poison()

    [replay] = harness.server.services.replayer.replay(everything=True).imports
    assert not harness.server.audit(replay.import_id)
    harness.lose_redis()
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "poison A"})
    assert counts_of(harness, replay.import_id) == {"fetched": 1, "new": 1}


def test_a_replay_that_dies_again_is_counted_dead(harness: Harness) -> None:
    harness.subscribe({})
    kill_item(harness, "poison A")

    [replay] = harness.server.services.replayer.replay(everything=True).imports
    harness.come_to_rest()

    assert_accounted_for(harness, {}, dead=["a"])
    assert counts_of(harness, replay.import_id) == {"fetched": 1, "dead": 1}


# F8: only a death of this very revision ends an entry


def test_the_death_of_newer_content_does_not_end_older_content(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    first = harness.poll()
    harness.poll({"a": "poison B"})
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"}, dead=["a"])
    assert counts_of(harness, first.import_id) == {"fetched": 1, "new": 1}


def test_two_dead_versions_do_not_take_one_anothers_evidence(harness: Harness) -> None:
    harness.subscribe({"a": "poison A"})
    first = harness.poll()
    second = harness.poll({"a": "poison B"})
    harness.come_to_rest()

    assert_accounted_for(harness, {}, dead=["a"])
    assert counts_of(harness, first.import_id) == {"fetched": 1, "dead": 1}
    assert counts_of(harness, second.import_id) == {"fetched": 1, "dead": 1}


# F9: the highest revision stays on top of the dead letter


def test_a_late_death_of_older_content_does_not_hide_the_newer_one(harness: Harness) -> None:
    harness.subscribe({"a": "poison A"})
    harness.poll()
    harness.work()
    harness.clock.advance(seconds=60)
    zombie = harness.new_worker()

    with Held(zombie.work, zombie.stores.dead_letters, "record_many"):
        harness.lose_locks()
        harness.poll({"a": "poison B"})
        harness.work()
        harness.clock.advance(seconds=60)
        harness.work()
    letter = harness.stores.dead_letters.get(ITEM)
    assert letter is not None
    assert letter.content_hash == hash_of("a", "poison B")
    settle_down(harness)

    assert_accounted_for(harness, {}, dead=["a"])


# F10: what an open journal may change is not dead at once


def test_dead_content_shown_again_over_an_open_import_is_tried_again(harness: Harness) -> None:
    harness.subscribe({})
    kill_item(harness, "poison B")
    harness.poll({"a": "A"})
    harness.poll({"a": "poison B"})
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"}, dead=["a"])
    letter = harness.stores.dead_letters.get(ITEM)
    assert letter is not None
    assert letter.content_hash == hash_of("a", "poison B")


# F11: no shortcut beside an uncommitted import of a lower revision


def test_an_uncommitted_import_of_the_source_takes_all_shortcuts_away(harness: Harness) -> None:
    seed(harness, "A")
    rival = insert_uncommitted(harness)

    polled = harness.poll({"a": "A", "new": "N"})
    commit_uncommitted(harness, rival, "B")
    harness.come_to_rest()

    assert polled.journaled == 2
    assert_accounted_for(harness, {"a": "A", "new": "N"})


# F12: no dead letter outlives what stored its item


def test_a_letter_is_cleared_though_the_worker_crashed_before(harness: Harness) -> None:
    harness.subscribe({})
    kill_item(harness, "poison A")
    harness.poll({"a": "A"})
    crashing = harness.new_worker()
    crashing.crash_at(crashing.stores.dead_letters, "clear_many", crashing.work)
    harness.lose_redis()

    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"})


def test_a_letter_is_cleared_in_the_queue_though_the_worker_crashed_in_between(
    harness: Harness,
) -> None:
    harness.subscribe({})
    kill_item(harness, "poison A")
    harness.poll({"a": "A"})
    crashing = harness.new_worker()
    crashing.crash_at(crashing.stores.dead_letters, "clear_many", crashing.work, after=True)

    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def test_a_letter_written_after_everything_was_closed_is_swept(harness: Harness) -> None:
    harness.subscribe({"a": "poison A"})
    harness.poll()
    harness.work()
    harness.clock.advance(seconds=60)
    zombie = harness.new_worker()

    with Held(zombie.work, zombie.stores.dead_letters, "record_many"):
        harness.lose_locks()
        harness.poll({"a": "A"})
        harness.come_to_rest()
    harness.clock.advance(hours=1)
    harness.reclaim()
    harness.server.look()

    assert_accounted_for(harness, {"a": "A"})


def test_a_letter_that_is_removed_before_its_job_was_moved_leaves_no_job(harness: Harness) -> None:
    harness.subscribe({"a": "poison A"})
    harness.poll()
    harness.work()
    harness.clock.advance(seconds=60)
    worker = harness.new_worker()

    with Held(worker.work, worker.queues[0], "dead_letter_many"):
        harness.server.services.remover.remove_dead_letter(ITEM)
    harness.come_to_rest()
    harness.clock.advance(hours=1)
    harness.come_to_rest()

    assert_accounted_for(harness, {}, removed=["a"])


def test_a_letter_whose_job_is_missing_in_the_queue_is_shown_there_again(harness: Harness) -> None:
    harness.subscribe({"a": "poison A"})
    kill_item(harness, "poison A")
    harness.dead_letter_queue.remove_many([ITEM])

    harness.clock.advance(hours=1)
    harness.come_to_rest()

    assert_accounted_for(harness, {}, dead=["a"])


# F13: the worker looks at dead letters


def test_a_removed_job_that_the_auditor_adds_again_is_not_stored(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    started = harness.poll()
    auditing = harness.new_server()

    def audit() -> bool:
        return auditing.audit(started.import_id)

    with Held(audit, auditing.stores.journal, "read_entries"):
        harness.server.services.remover.remove_job(harness.item_queues[0], ITEM)
    assert harness.item_queues[0].get_job(ITEM) is not None
    harness.come_to_rest()

    assert_accounted_for(harness, {}, removed=["a"])
    assert counts_of(harness, started.import_id) == {"fetched": 1, "removed": 1}


def test_a_death_on_record_is_not_run_again(harness: Harness) -> None:
    harness.subscribe({"a": "poison A"})
    started = harness.poll()
    harness.work()
    harness.clock.advance(seconds=60)
    crashing = harness.new_worker()
    crashing.crash_at(crashing.stores.dead_letters, "record_many", crashing.work, after=True)
    harness.accept_poison()

    settle_down(harness)

    assert_accounted_for(harness, {}, dead=["a"])
    assert counts_of(harness, started.import_id) == {"fetched": 1, "dead": 1}


# F14: only garbage is collected


def test_chunks_of_a_run_that_began_after_its_import_was_read_are_kept(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    crashing = harness.new_server()
    started = crashing.start(SOURCE)
    crashing.crash_at(crashing.stores.imports, "commit", crashing.fetch)
    harness.lose_locks()
    # A second one, so that there is garbage: the chunks of the first.
    crashing = harness.new_server()
    crashing.crash_at(crashing.stores.imports, "commit", crashing.fetch)
    harness.lose_locks()
    collecting = harness.new_server()

    with Held(collecting.heal, collecting.stores.journal, "delete_below"):
        while harness.server.fetch():
            pass
    found = harness.stores.imports.get(started.import_id)
    assert found is not None
    assert list(harness.stores.journal.chunks(started.import_id, found.revision or 0))
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A"})


def test_chunks_left_by_a_crash_behind_the_close_are_collected(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    started = harness.poll()
    harness.work()
    crashing = harness.new_server()
    crashing.crash_at(crashing.stores.journal, "delete", lambda: crashing.audit(started.import_id))
    harness.clock.advance(seconds=60)

    harness.come_to_rest()
    harness.server.heal()

    assert_accounted_for(harness, {"a": "A"})


def test_chunks_of_a_replay_are_no_garbage_before_its_commit(harness: Harness) -> None:
    harness.subscribe({})
    kill_item(harness, "poison A")
    harness.accept_poison()
    replaying = harness.new_server()

    def replay() -> object:
        return replaying.services.replayer.replay(everything=True)

    with Held(replay, replaying.stores.imports, "commit"):
        harness.server.heal()
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "poison A"})


# F15: a feed that was changed takes no validators of its old self


def test_validators_of_the_old_url_are_not_stored_after_a_change(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    other_url = "https://other.example/feed.json"
    fetching = harness.new_server()
    fetching.start(SOURCE)

    with Held(fetching.fetch, fetching.stores.imports, "commit"):
        feeds: FeedService = harness.server.services.feeds
        feeds.change(SOURCE, {"urls": [other_url]})
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert feed.validators == {}
    feeds.change(SOURCE, {"urls": [feed_url(SOURCE)]})
    harness.poll({"a": "A", "b": "B"})
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "A", "b": "B"})


# F16: a replay that never commits is failed


def test_a_replay_that_crashed_before_its_commit_is_failed_and_can_be_repeated(
    harness: Harness,
) -> None:
    harness.subscribe({})
    kill_item(harness, "poison A")
    harness.accept_poison()
    crashing = harness.new_server()
    crashing.crash_at(
        crashing.stores.imports,
        "commit",
        lambda: crashing.services.replayer.replay(everything=True),
    )
    harness.clock.advance(minutes=11)
    harness.come_to_rest()
    assert harness.fetch_queue.counts()[JobState.WAITING] == 0
    assert title_of(harness) is None

    harness.server.services.replayer.replay(everything=True)
    harness.come_to_rest()

    assert_accounted_for(harness, {"a": "poison A"})


# F17: the import of a deleted feed never runs beside those of its successor


def test_the_queued_import_of_a_deleted_feed_fails(harness: Harness) -> None:
    seed(harness, "A")
    old = harness.server.start(SOURCE)
    harness.publisher.show(SOURCE, {"a": "B"})
    harness.server.services.feeds.remove(SOURCE)
    harness.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE)

    harness.poll({"a": "A"})
    harness.come_to_rest()

    found = harness.stores.imports.get(old.import_id)
    assert found is not None
    assert found.state is ImportState.FAILED
    assert_accounted_for(harness, {"a": "A"})


def test_a_run_whose_feed_was_deleted_and_added_again_commits_nothing(harness: Harness) -> None:
    seed(harness, "A")
    harness.publisher.show(SOURCE, {"a": "B"})
    zombie = harness.new_server()
    zombie.start(SOURCE)

    with Held(zombie.fetch, zombie.stores.imports, "commit"):
        harness.server.services.feeds.remove(SOURCE)
        harness.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE)
        harness.lose_locks()
        harness.poll({"a": "A"})
    settle_down(harness)

    assert_accounted_for(harness, {"a": "A"})


def insert_uncommitted(harness: Harness) -> Import:
    """Open an import that is fetching, under a revision drawn now."""
    now = harness.clock.now()
    rival = Import(
        import_id=new_import_id(now),
        source=SOURCE,
        urls=[],
        # The only trigger that the healer leaves alone without a feed that names the import.
        trigger="replay",
        state=ImportState.FETCHING,
        requested_at=now,
        revision=harness.stores.sources.draw_revision(SOURCE),
    )
    harness.stores.imports.insert(rival)
    return rival


def commit_uncommitted(harness: Harness, rival: Import, title: str) -> None:
    """Journal one item and commit the import, as its run would."""
    revision = rival.revision or REPLAY_REVISION
    data = {"source": SOURCE, "guid": "a", "title": title, "content": title}
    entry = JournalEntry(ITEM, revision, hash_of("a", title), orjson.dumps(data))
    harness.stores.journal.insert_chunk(rival.import_id, revision, 0, [entry])
    outcome = {
        "state": ImportState.IMPORTING,
        "counts": {**empty_counts(), "fetched": 1},
        "journaled": 1,
        "queue": harness.settings.light_queue,
    }
    assert harness.stores.imports.commit(rival.import_id, revision, outcome)
