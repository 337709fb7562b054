"""Calls repeated after a lost reply change nothing more; zombies change nothing at all."""

from collections.abc import Callable

import pytest

from shared.queue import (
    Completion,
    DeadLettering,
    Failure,
    JobQueue,
    Lock,
    Retry,
    SettleOutcome,
)
from tests.queue_states import (
    claim,
    lose_locks,
    make_job,
    seed_active,
    seed_stalled,
    seed_waiting,
    whole_state,
)

Act = Callable[[JobQueue, JobQueue, str], object]

# Each takes the queue, its dead-letter queue and a token, and settles `a#1` with it.
SETTLEMENTS: dict[str, Act] = {
    "complete": lambda q, d, t: q.complete_many([Completion("a#1", t, 1, "new")]),
    "complete_kept": lambda q, d, t: q.complete_many([Completion("a#1", t, 1, "new")]),
    "retry": lambda q, d, t: q.retry_many([Retry("a#1", t, "boom", "stack", 0)]),
    "delay": lambda q, d, t: q.retry_many([Retry("a#1", t, "boom", "stack", 5_000)]),
    "fail": lambda q, d, t: q.fail_many([Failure("a#1", t, "boom", "stack")]),
    "release": lambda q, d, t: q.release_many([Lock("a#1", t)]),
    "dead_letter": lambda q, d, t: q.dead_letter_many(
        [DeadLettering("a#1", t, "bad", "stack", make_job("a#1"), "dead")], d
    ),
}
HOLDINGS: dict[str, Act] = {
    "extend": lambda q, d, t: q.extend_many([Lock("a#1", t)], lock_ms=30_000),
    "assign_revision": lambda q, d, t: q.assign_revisions([(Lock("a#1", t), 77)]),
}


def both(queue: JobQueue, dlq: JobQueue) -> object:
    return whole_state(queue), whole_state(dlq)


@pytest.mark.parametrize("name", [*SETTLEMENTS, *HOLDINGS])
def test_a_repeated_call_changes_nothing_more(queue: JobQueue, dlq: JobQueue, name: str) -> None:
    act = (SETTLEMENTS | HOLDINGS)[name]
    seed_active(queue, "a#1", revision=None, keep_completed=5 if name == "complete_kept" else 0)
    act(queue, dlq, "t1")
    after_first = both(queue, dlq)
    repeated = act(queue, dlq, "t1")
    assert both(queue, dlq) == after_first
    if name in SETTLEMENTS:
        assert repeated == [SettleOutcome.LOCK_LOST]


@pytest.mark.parametrize("name", [*SETTLEMENTS, *HOLDINGS])
def test_a_zombie_cannot_touch_the_job_of_its_successor(
    queue: JobQueue, dlq: JobQueue, name: str
) -> None:
    seed_stalled(queue, "a#1", token="zombie")
    queue.reclaim_stalled(max_stalled=5)
    claim(queue, "successor")
    before = both(queue, dlq)
    (SETTLEMENTS | HOLDINGS)[name](queue, dlq, "zombie")
    assert both(queue, dlq) == before


@pytest.mark.parametrize("name", [*SETTLEMENTS, *HOLDINGS])
def test_a_zombie_cannot_touch_a_job_that_waits_again(
    queue: JobQueue, dlq: JobQueue, name: str
) -> None:
    seed_stalled(queue, "a#1", token="zombie")
    queue.reclaim_stalled(max_stalled=5)
    before = both(queue, dlq)
    (SETTLEMENTS | HOLDINGS)[name](queue, dlq, "zombie")
    assert both(queue, dlq) == before


@pytest.mark.parametrize("name", [*SETTLEMENTS])
def test_one_lost_lock_does_not_hold_up_the_rest_of_a_batch(
    queue: JobQueue, dlq: JobQueue, name: str
) -> None:
    seed_active(queue, "a#0", "a#1")
    lose_locks(queue, "a#0")
    assert SETTLEMENTS[name](queue, dlq, "t1") == [SettleOutcome.SETTLED]
    assert queue.complete_many([Completion("a#0", "t1")]) == [SettleOutcome.LOCK_LOST]


def test_adding_again_changes_nothing_but_bullmqs_own_bookkeeping(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    before = whole_state(queue)
    seed_waiting(queue, "a#1", "a#2")
    after = whole_state(queue)
    for name in ("bull:items:id", "bull:items:events"):
        del before[name], after[name]
    assert after == before


@pytest.mark.parametrize(
    "act",
    [
        lambda q: q.pause(),
        lambda q: q.reclaim_stalled(max_stalled=1),
        lambda q: q.promote_due(),
        lambda q: q.create_incarnation("first"),
        lambda q: q.remove_many(["a#1"]),
    ],
    ids=["pause", "reclaim_stalled", "promote_due", "create_incarnation", "remove_many"],
)
def test_repeated_upkeep_changes_nothing_more(
    queue: JobQueue, act: Callable[[JobQueue], object]
) -> None:
    seed_stalled(queue, "a#1")
    act(queue)
    before = whole_state(queue)
    act(queue)
    after = whole_state(queue)
    for state in (before, after):
        state.pop("bull:items:events")
    assert after == before


def test_no_state_lets_the_same_job_be_claimed_twice(queue: JobQueue) -> None:
    ids = [f"a#{n}" for n in range(30)]
    seed_waiting(queue, *ids)
    taken = [job.id for token in ("t1", "t2", "t3", "t4") for job in claim(queue, token, 8).jobs]
    assert taken == ids
