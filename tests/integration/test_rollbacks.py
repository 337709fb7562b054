"""Rollbacks: once one is answered, nothing that was read before is stored any more."""

import zlib
from datetime import datetime, timedelta
from typing import Any

import pytest

from server.importing import rollbacks
from shared.error_kinds import ErrorKind
from shared.errors import BusyError, InvalidRequestError, NotFoundError
from shared.intervals import RolledBack
from shared.store import Import, ImportState, KeptBody
from tests.factories import make_job
from tests.fake_publisher import POISON, render
from tests.harness import SOURCE, Harness
from tests.integration.test_pulls import (
    URL,
    add_window,
    fetch_all,
    pull_all,
    pulls_of,
    show,
    show_hour,
    show_time,
    state_of,
)
from tests.kept_bodies import read_kept
from tests.roles import Held, Server


def roll_back(harness: Harness, to: Any, server: Server | None = None) -> RolledBack:
    return (server or harness.server).services.rollbacks.roll_back(SOURCE, to)


def begin(harness: Harness, to: Any) -> None:
    harness.server.services.rollbacks.begin(SOURCE, to)


def settle(harness: Harness, server: Server | None = None) -> int:
    """Do what can be done now; returns what a rollback waits for."""
    return (server or harness.server).services.rollbacks.settle(state_of(harness))


def add_hours(harness: Harness, hours: int = 4, title: str | None = None) -> datetime:
    """Add a window of so many hours, each with two items; returns its start."""
    add_window(harness, hours)
    show(harness, hours)
    if title is not None:
        for number in range(-hours, 0):
            show_hour(harness, number, {f"g{number}": f"{title} {number}"})
    return harness.clock.now() - timedelta(hours=hours)


def commit_first(harness: Harness) -> Import:
    """Import the first interval up to its commit; its items wait in their queue."""
    harness.server.dispatch()
    fetch_all(harness)
    return pulls_of(harness)[0]


def starts_of(harness: Harness, epoch: int) -> list[Any]:
    pulls = [each for each in pulls_of(harness) if each.epoch == epoch]
    return [(each.interval or {})["start"] for each in pulls]


def documents(harness: Harness) -> dict[str, Any]:
    found = harness.database.collection("items").find({"source": SOURCE})
    return {each["_id"]: (each["revision"], each["modified_by"]) for each in found}


def test_all_intervals_behind_the_target_are_read_again(harness: Harness) -> None:
    begun = add_hours(harness)
    pull_all(harness)
    to = begun + timedelta(hours=2)

    assert roll_back(harness, to) == RolledBack(2, to)
    pull_all(harness)

    assert starts_of(harness, 2) == [to, to + timedelta(hours=1)]
    again = [each for each in pulls_of(harness) if each.epoch == 2]
    assert [each.counts["unchanged"] for each in again] == [2, 2]
    state = state_of(harness)
    assert (state.settled_epoch, state.rolled_back_to, state.open) == (2, None, ())


def test_an_interval_that_was_open_before_the_target_is_read_again_too(harness: Harness) -> None:
    begun = add_hours(harness)
    commit_first(harness)
    to = begun + timedelta(hours=1)

    assert roll_back(harness, to) == RolledBack(2, begun)
    pull_all(harness)

    assert starts_of(harness, 2)[0] == begun
    assert len(documents(harness)) == 8


def test_a_run_that_is_about_to_commit_is_waited_for_and_never_does(harness: Harness) -> None:
    begun = add_hours(harness)
    harness.server.dispatch()
    server, other = harness.server, harness.new_server()

    with Held(server.fetch, server.stores.imports, "commit"):
        other.services.rollbacks.begin(SOURCE, begun)
        assert settle(harness, other) == 1
    assert settle(harness, other) == 0

    [stale] = pulls_of(harness)
    assert (stale.state, stale.error_kind) == (ImportState.FAILED, ErrorKind.STALE_EPOCH)
    assert stale.error == "stale_epoch: its interval was rolled back"
    harness.work()
    assert documents(harness) == {}


@pytest.mark.parametrize("method", ["insert_many", "mark_fetching"])
def test_an_import_that_begins_behind_the_rollback_fetches_nothing(
    harness: Harness, method: str
) -> None:
    begun = add_hours(harness)
    server, other = harness.server, harness.new_server()
    act = server.dispatch
    if method == "mark_fetching":
        server.dispatch()
        act = server.fetch  # type: ignore[assignment]

    with Held(act, server.stores.imports, method):
        other.services.rollbacks.begin(SOURCE, begun)
        settle(harness, other)
    fetch_all(harness)

    assert settle(harness, other) == 0
    [stale] = pulls_of(harness)
    assert stale.error_kind == ErrorKind.STALE_EPOCH
    assert documents(harness) == {}


def test_a_write_that_is_under_way_is_waited_for(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rollbacks, "ROLLBACK_WAIT_S", 1.0)
    begun = add_hours(harness)
    commit_first(harness)
    worker = harness.worker

    with Held(worker.work, worker.stores.items, "write_many"):
        with pytest.raises(BusyError, match="waits for 2 jobs"):
            roll_back(harness, begun)
        assert documents(harness) == {}
        with pytest.raises(BusyError):
            roll_back(harness, begun)
    answered = roll_back(harness, begun)

    # The same request went on: one rollback, one epoch.
    assert answered == RolledBack(2, begun)
    before = documents(harness)
    assert len(before) == 2
    harness.work()
    harness.server.look()
    assert documents(harness) == before


def test_a_job_that_was_claimed_before_but_not_judged_is_superseded(harness: Harness) -> None:
    begun = add_hours(harness)
    stale = commit_first(harness)
    worker = harness.worker

    with Held(worker.work, worker.stores.intervals, "read_epochs"):
        begin(harness, begun)
        assert settle(harness) == 2
    assert settle(harness) == 0

    assert documents(harness) == {}
    closed = harness.stores.imports.get(stale.import_id)
    assert closed is not None
    assert closed.counts["superseded"] == 2


def test_what_still_waits_counts_as_superseded_and_is_never_stored(harness: Harness) -> None:
    begun = add_hours(harness)
    stale = commit_first(harness)

    roll_back(harness, begun)

    closed = harness.stores.imports.get(stale.import_id)
    assert closed is not None
    assert closed.state is ImportState.COMPLETED
    counts = closed.counts
    assert (counts["superseded"], counts["pending"]) == (2, 0)
    assert counts["fetched"] == sum(counts.values()) - counts["fetched"]
    harness.work()
    assert documents(harness) == {}
    assert harness.is_drained()


def test_content_that_was_corrected_wins_when_it_is_read_again(harness: Harness) -> None:
    begun = add_hours(harness, 1, title="rubbish")
    pull_all(harness)
    hour = URL.replace("{start}", show_time(begun))
    hour = hour.replace("{ended}", show_time(begun + timedelta(hours=1)))
    harness.publisher._shown[hour] = render({"g-1": "right"})

    roll_back(harness, begun)
    pull_all(harness)

    [found] = harness.database.collection("items").find({"source": SOURCE})
    assert found["title"] == "right"


def test_the_auditor_adds_no_job_of_an_earlier_epoch_again(harness: Harness) -> None:
    begun = add_hours(harness)
    stale = commit_first(harness)
    begin(harness, begun)
    harness.lose_redis()

    harness.server.look()

    assert harness.is_drained()
    assert not harness.server.audit(stale.import_id)
    assert settle(harness) == 0


def test_dead_letters_of_what_is_read_again_are_deleted_the_earlier_ones_stay(
    harness: Harness,
) -> None:
    begun = add_hours(harness, 2, title=POISON)
    pull_all(harness)
    for _ in range(4):
        harness.clock.advance(seconds=30)
        harness.reclaim()
        pull_all(harness)
    assert harness.dead_letter_queue.get_job(f"{SOURCE}#g-1") is not None

    roll_back(harness, begun + timedelta(hours=1))

    assert list(harness.stores.dead_letters.find_dead()) == [f"{SOURCE}#g-2"]
    assert harness.dead_letter_queue.get_job(f"{SOURCE}#g-1") is None
    assert harness.dead_letter_queue.get_job(f"{SOURCE}#g-2") is not None
    harness.accept_poison()
    pull_all(harness)
    assert set(documents(harness)) == {f"{SOURCE}#g-1"}


def make_letters(harness: Harness) -> datetime:
    """Let the item of one interval die; returns the interval's start."""
    begun = add_hours(harness, 1, title=POISON)
    for _ in range(2):
        pull_all(harness)
        harness.clock.advance(seconds=30)
        harness.reclaim()
    pull_all(harness)
    assert harness.stores.dead_letters.find_dead() == [f"{SOURCE}#g-1"]
    return begun


def replay(server: Server) -> int:
    return server.services.replayer.replay(everything=True).replayed


@pytest.mark.parametrize("is_cancelled", [False, True])
def test_dead_letters_of_a_back_fill_stay_unless_a_later_one_reads_their_interval(
    harness: Harness, is_cancelled: bool
) -> None:
    hour, now = timedelta(hours=1), harness.clock.now()
    add_window(harness, hours=0)
    show_hour(harness, -2, {"bad": f"{POISON} item"})
    backfills = harness.server.services.backfills
    backfills.start(SOURCE, now - 2 * hour, now - hour)
    for _ in range(4):
        pull_all(harness)
        harness.clock.advance(seconds=30)
        harness.reclaim()
    assert harness.stores.dead_letters.find_dead() == [f"{SOURCE}#bad"]

    backfills.start(SOURCE, now - 4 * hour, now - (1 if is_cancelled else 3) * hour)
    if is_cancelled:
        backfills.cancel(SOURCE)
    pull_all(harness)

    state = harness.stores.intervals.get(f"{SOURCE}#backfill")
    assert state is not None
    assert state.settled_epoch == state.epoch > 1
    assert harness.stores.dead_letters.find_dead() == [f"{SOURCE}#bad"]
    assert harness.dead_letter_queue.get_job(f"{SOURCE}#bad") is not None


def test_a_replay_that_has_begun_is_waited_for(harness: Harness) -> None:
    begun = make_letters(harness)
    harness.accept_poison()
    assert replay(harness.server) == 1

    begin(harness, begun)
    assert settle(harness) == 1
    harness.work()
    harness.server.look()

    assert settle(harness) == 0
    assert set(documents(harness)) == {f"{SOURCE}#g-1"}


def test_a_letter_that_died_again_in_its_replay_is_deleted_too(harness: Harness) -> None:
    begun = make_letters(harness)
    replay(harness.server)
    for _ in range(3):
        harness.work()
        harness.clock.advance(seconds=30)
        harness.reclaim()
        harness.server.look()
    assert harness.stores.dead_letters.find_dead() == [f"{SOURCE}#g-1"]

    roll_back(harness, begun)

    assert harness.stores.dead_letters.find_dead() == []


def test_a_replay_that_read_its_letters_just_before_stores_nothing(harness: Harness) -> None:
    begun = make_letters(harness)
    harness.accept_poison()
    server, other = harness.server, harness.new_server()

    with Held(lambda: replay(server), server.stores.imports, "insert"):
        assert roll_back(harness, begun, other).epoch == 2
    harness.work()

    assert documents(harness) == {}


def test_a_job_that_cannot_be_read_leaves_no_letter_behind_its_rollback(harness: Harness) -> None:
    begun = add_hours(harness)
    commit_first(harness)
    bad = {"source": SOURCE, "guid": "bad", "title": 5, "import_id": "i1"}
    bad |= {"indexer": SOURCE, "epoch": 1}
    harness.item_queues[0].add_many([make_job(bad), make_job({**bad, "guid": "b", "epoch": 2})])

    roll_back(harness, begun)
    harness.work()

    assert harness.stores.dead_letters.find_dead() == [f"{SOURCE}#b"]
    assert harness.is_drained()


def test_kept_bodies_of_what_is_read_again_are_deleted(harness: Harness) -> None:
    begun = add_hours(harness)
    pull_all(harness)
    harness.stores.bodies.delete(SOURCE)
    hours = [begun, begun + timedelta(hours=1), None]
    for number, start in enumerate(hours):
        body = zlib.compress(b"body %d" % number)
        kept = KeptBody(SOURCE, "", number, "i", begun, 6, body, indexer=SOURCE, start=start)
        harness.stores.bodies.keep(kept, 3)

    roll_back(harness, begun + timedelta(hours=1))

    assert {each.start for each in read_kept(harness.stores.bodies, SOURCE)} == {begun, None}


@pytest.mark.parametrize("is_committed", [True, False])
def test_another_server_settles_what_a_crash_left(harness: Harness, is_committed: bool) -> None:
    begun = add_hours(harness)
    harness.server.dispatch()
    if is_committed:
        fetch_all(harness)
    server = harness.server
    server.crash_at(
        server.stores.intervals, "swap", lambda: roll_back(harness, begun, server), after=True
    )
    harness.replace_roles()

    pull_all(harness)

    state = state_of(harness)
    assert (state.epoch, state.settled_epoch, state.rolled_back_to) == (2, 2, None)
    assert starts_of(harness, 2)[0] == begun
    assert len(documents(harness)) == 8


@pytest.mark.parametrize(
    ("store", "method"),
    [("imports", "complete"), ("dead_letters", "find_dead"), ("bodies", "delete_from")],
)
def test_a_crash_at_any_step_is_made_good(harness: Harness, store: str, method: str) -> None:
    begun = add_hours(harness)
    commit_first(harness)
    server = harness.server
    crashing = getattr(server.stores, store)
    server.crash_at(crashing, method, lambda: roll_back(harness, begun, server))
    harness.replace_roles()

    assert roll_back(harness, begun) == RolledBack(2, begun)
    pull_all(harness)

    assert len(documents(harness)) == 8
    assert harness.stores.imports.find_open() == []


def test_nothing_is_taken_before_the_rollback_is_settled(harness: Harness) -> None:
    begun = add_hours(harness)
    commit_first(harness)
    worker = harness.worker

    with Held(worker.work, worker.stores.items, "write_many"):
        begin(harness, begun)
        harness.server.dispatch()
        assert state_of(harness).open == ()
        assert state_of(harness).settled_epoch == 1
    harness.clock.advance(seconds=1)
    harness.server.dispatch()

    assert [one.start for one in state_of(harness).open] == [begun]


def test_a_rollback_that_overtakes_another_answers_for_both(harness: Harness) -> None:
    begun = add_hours(harness)
    pull_all(harness)
    begin(harness, begun + timedelta(hours=2))

    assert roll_back(harness, begun + timedelta(hours=1)).epoch == 3
    assert state_of(harness).settled_epoch == 3


def test_a_rollback_elsewhere_than_within_what_was_read_is_refused(harness: Harness) -> None:
    begun = add_hours(harness)
    pull_all(harness)
    for to, wrong in (
        (begun - timedelta(seconds=1), "is before that"),
        (harness.clock.now() + timedelta(hours=9), "ahead of the cursor"),
        (7, "to a time only"),
    ):
        with pytest.raises(InvalidRequestError, match=wrong):
            roll_back(harness, to)
    assert state_of(harness).epoch == 1


def test_only_a_feed_with_a_window_can_be_rolled_back(harness: Harness) -> None:
    with pytest.raises(NotFoundError):
        roll_back(harness, harness.clock.now())
    harness.subscribe({})
    with pytest.raises(InvalidRequestError, match="has no window"):
        roll_back(harness, harness.clock.now())


def test_an_import_of_the_source_that_cannot_be_read_holds_up_no_rollback(
    harness: Harness,
) -> None:
    begun = add_hours(harness)
    pull_all(harness)
    harness.database.collection("imports").insert_one(
        {"_id": "spoilt", "open": True, "source": SOURCE, "state": "importing"}
    )

    assert roll_back(harness, begun).epoch == 2


def test_a_journal_that_is_spoilt_holds_up_no_rollback(harness: Harness) -> None:
    begun = add_hours(harness)
    spoilt = commit_first(harness)
    chunks = harness.database.collection("journal")
    chunks.update_many({"import_id": spoilt.import_id}, {"$set": {"item_ids": 7}})

    assert roll_back(harness, begun).epoch == 2
    harness.work()

    assert documents(harness) == {}


def test_a_server_that_stops_ends_its_wait(harness: Harness) -> None:
    begun = add_hours(harness)
    commit_first(harness)
    worker = harness.worker
    with Held(worker.work, worker.stores.items, "write_many"):
        harness.server.process._stop.set()
        before_s = harness.clock.monotonic_s()
        with pytest.raises(BusyError):
            roll_back(harness, begun)
        assert harness.clock.monotonic_s() - before_s < 1
