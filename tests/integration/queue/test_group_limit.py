"""A limit for each group of jobs: one that uses it up costs the others nothing."""

from typing import Any

import pytest

from shared.queue import BlockedBy, Completion, GroupLimit, JobQueue, JobState, Retry
from shared.queue.limits import limit_groups, read_group_limit
from tests.fakes import FakeClock
from tests.queue_states import claim, job_fields, line, lose_locks, make_job, whole_state

WINDOW_MS = 60_000
TWO_EACH = GroupLimit(2, WINDOW_MS, "source")


def seed(queue: JobQueue, *job_ids: str, **more: Any) -> None:
    """Add jobs, each of the source that its id begins with."""
    sources = {job_id: job_id.split("#")[0] for job_id in job_ids}
    queue.add_many([make_job(each, data={"source": sources[each]}, **more) for each in job_ids])


def take(queue: JobQueue, token: str = "t1", limit: int = 100) -> list[str]:
    return [job.id for job in claim(queue, token, limit).jobs]


def end_window(queue: JobQueue, clock: FakeClock, *sources: str) -> None:
    """Let the window pass: the clock stands still, and Redis has its own."""
    for source in sources:
        queue.client.delete(f"{queue.keys.base}own:started:{source}")
    clock.advance(seconds=WINDOW_MS / 1000 + 1)


@pytest.fixture
def limited(queue: JobQueue) -> JobQueue:
    limit_groups(queue, TWO_EACH)
    return queue


def test_a_group_starts_no_more_than_its_limit_and_keeps_its_order(
    limited: JobQueue, clock: FakeClock
) -> None:
    seed(limited, *[f"a#{n}" for n in range(5)])
    first = claim(limited, "t1")
    assert [job.id for job in first.jobs] == ["a#0", "a#1"]
    assert first.blocked_by is BlockedBy.GROUP_LIMIT
    assert first.retry_in_ms == pytest.approx(WINDOW_MS, abs=5_000)
    assert take(limited, "t2") == []
    end_window(limited, clock, "a")
    assert take(limited, "t3") == ["a#2", "a#3"]
    end_window(limited, clock, "a")
    last = claim(limited, "t4")
    assert ([job.id for job in last.jobs], last.blocked_by) == (["a#4"], BlockedBy.EMPTY)


def test_a_group_that_has_used_up_its_limit_does_not_hold_up_the_others(limited: JobQueue) -> None:
    seed(limited, "a#0", "a#1", "a#2", "a#3", "b#0", "c#0", "c#1", "c#2")
    assert sorted(take(limited)) == ["a#0", "a#1", "b#0", "c#0", "c#1"]
    seed(limited, "d#0")
    assert take(limited, "t2") == ["d#0"]


def test_groups_take_turns_where_there_is_not_room_for_all(
    queue: JobQueue, clock: FakeClock
) -> None:
    limit_groups(queue, GroupLimit(100, WINDOW_MS, "source"))
    seed(queue, *[f"a#{n}" for n in range(9)], *[f"b#{n}" for n in range(9)])
    assert sorted(take(queue, "t1", 4)) == ["a#0", "a#1", "b#0", "b#1"]
    clock.advance(seconds=1)
    assert take(queue, "t2", 1) + take(queue, "t3", 1) == ["a#2", "b#2"]


def test_jobs_of_no_group_are_not_limited(limited: JobQueue) -> None:
    limited.add_many([make_job(f"x#{n}", data={"guid": "x"}) for n in range(3)])
    limited.add_many([make_job("y#1", data=b"no json"), make_job("y#2", data={"source": None})])
    assert len(take(limited)) == 5


def test_lined_up_jobs_are_prioritized_ones_to_all_who_look(limited: JobQueue) -> None:
    seed(limited, "a#0", "a#1", "a#2", "a#3")
    take(limited)
    assert limited.counts()[JobState.PRIORITIZED] == 2
    assert [view.id for view in limited.list_jobs(JobState.PRIORITIZED, 0, 9)] == ["a#3", "a#2"]
    view = limited.get_job("a#2")
    assert view is not None
    assert view.state is JobState.PRIORITIZED


def test_a_lined_up_job_that_is_removed_is_passed_over(limited: JobQueue, clock: FakeClock) -> None:
    seed(limited, "a#0", "a#1", "a#2", "a#3")
    take(limited)
    limited.remove_many(["a#2"])
    end_window(limited, clock, "a")
    assert take(limited, "t2") == ["a#3"]
    assert limited.client.exists(limited.keys.base + "own:line:a") == 0


def test_a_lined_up_job_gets_a_higher_revision_where_it_stands(
    limited: JobQueue, clock: FakeClock
) -> None:
    seed(limited, "a#0", "a#1", "a#2", "a#3")
    take(limited)
    seed(limited, "a#2", revision=7)
    end_window(limited, clock, "a")
    taken = claim(limited, "t2").jobs
    assert [(job.id, job.revision) for job in taken] == [("a#2", 7), ("a#3", 1)]


@pytest.mark.parametrize("how", ["release", "retry", "reclaim"])
def test_jobs_that_come_back_stand_before_those_that_were_not_started(
    limited: JobQueue, clock: FakeClock, how: str
) -> None:
    seed(limited, *[f"a#{n}" for n in range(5)])
    jobs = claim(limited, "t1").jobs
    if how == "release":
        limited.release_many([job.lock for job in jobs])
    elif how == "retry":
        limited.retry_many([Retry(job.id, job.token, "", "", 0) for job in jobs])
    else:
        lose_locks(limited, "a#0", "a#1")
        limited.reclaim_stalled(max_stalled=9)
    assert take(limited, "t2") == []
    assert line(limited) == []
    end_window(limited, clock, "a")
    assert take(limited, "t3") == ["a#0", "a#1"]
    end_window(limited, clock, "a")
    assert take(limited, "t4") == ["a#2", "a#3"]


def test_jobs_that_a_foreign_producer_puts_into_the_line_stand_behind_those_there(
    limited: JobQueue, clock: FakeClock
) -> None:
    seed(limited, "a#0", "a#1", "a#2")
    take(limited)
    limited.client.hset(limited.keys.job("a#9"), mapping={"data": '{"source":"a"}', "name": "x"})
    limited.client.lpush(limited.keys.wait, "a#9")
    end_window(limited, clock, "a")
    assert take(limited, "t2") == ["a#2", "a#9"]


def test_a_job_with_a_priority_runs_before_the_line_of_its_group(limited: JobQueue) -> None:
    seed(limited, "a#0", "a#1", "a#2")
    base = limited.keys.base
    limited.client.hset(base + "a#7", mapping={"data": '{"source":"a"}', "priority": "5"})
    limited.client.zadd(limited.keys.prioritized, {"a#7": 5 * 2**32 + 1})
    assert take(limited) == ["a#7", "a#0"]


def test_the_limit_may_come_and_go_while_jobs_wait(queue: JobQueue, clock: FakeClock) -> None:
    seed(queue, *[f"a#{n}" for n in range(3)])
    limit_groups(queue, TWO_EACH)
    assert read_group_limit(queue) == TWO_EACH
    seed(queue, "a#3", "a#4", "a#5")
    assert take(queue, "t1") == ["a#0", "a#1"]
    limit_groups(queue, None)
    assert read_group_limit(queue) is None
    assert take(queue, "t2", 1) == ["a#2"]
    limit_groups(queue, TWO_EACH)
    end_window(queue, clock, "a")
    seed(queue, "a#6")
    assert take(queue, "t3") == ["a#3", "a#4"]
    end_window(queue, clock, "a")
    assert take(queue, "t4") == ["a#5", "a#6"]
    limit_groups(queue, None)
    end_window(queue, clock, "a")
    assert not [key for key in whole_state(queue) if "own:line" in key or "own:groups" in key]


def test_lines_that_were_lost_are_made_anew(limited: JobQueue, clock: FakeClock) -> None:
    seed(limited, *[f"a#{n}" for n in range(5)])
    assert take(limited, "t1") == ["a#0", "a#1"]
    base = limited.keys.base
    limited.client.delete(f"{base}own:line:a", f"{base}own:groups", f"{base}own:lined")
    end_window(limited, clock, "a")
    taken = [job_id for token in ("t2", "t3", "t4") for job_id in take(limited, token)]
    assert taken == ["a#2", "a#3"]
    end_window(limited, clock, "a")
    assert take(limited, "t5") == ["a#4"]


def test_setting_the_same_limit_again_changes_nothing(limited: JobQueue) -> None:
    seed(limited, "a#0", "a#1", "a#2")
    take(limited)
    before = whole_state(limited)
    limit_groups(limited, TWO_EACH)
    assert whole_state(limited) == before


def test_another_number_counts_from_the_next_claim_on(limited: JobQueue) -> None:
    seed(limited, *[f"a#{n}" for n in range(5)])
    take(limited)
    limit_groups(limited, GroupLimit(3, WINDOW_MS, "source"))
    limited.client.zadd(limited.keys.base + "own:groups", {"a": 0})
    assert take(limited, "t2") == ["a#2"]


def test_without_a_limit_nothing_of_it_is_in_redis(queue: JobQueue) -> None:
    limit_groups(queue, None)
    seed(queue, "a#0", "a#1", "a#2")
    assert take(queue) == ["a#0", "a#1", "a#2"]
    assert not [key for key in whole_state(queue) if "own:" in key and "claim" not in key]
    assert b"own:grouping" not in queue.client.hgetall(queue.keys.meta)
    assert "priority" in job_fields(queue, "a#0")


def commands_of(queue: JobQueue, act: Any) -> int:
    before = queue.client.info("commandstats")
    act()
    after = queue.client.info("commandstats")
    counted = {name: value["calls"] for name, value in after.items()}
    old = {name: value["calls"] for name, value in before.items()}
    return sum(counted.values()) - sum(old.values())


def throttle(queue: JobQueue, jobs: int) -> None:
    """Let one group have used up its limit with so many jobs behind, as adding them would."""
    seed(queue, *[f"a#{n}" for n in range(3)])
    take(queue, "throttled")
    ids = [f"a#{n}" for n in range(3, jobs + 2)]
    lined = float(queue.client.zscore(queue.keys.prioritized, "a#2") or 0)
    queue.client.zadd(queue.keys.prioritized, {one: lined + 1 + n for n, one in enumerate(ids)})
    queue.client.lpush(queue.keys.base + "own:line:a", *ids)
    queue.client.set(queue.keys.base + "own:lined", jobs)


def test_a_hundred_thousand_jobs_of_one_throttled_group_cost_the_claims_of_others_nothing(
    limited: JobQueue, clock: FakeClock
) -> None:
    others = [f"b{n}#1" for n in range(20)]
    costs = []
    for jobs in (2, 100_000):
        limited.client.flushdb()
        limit_groups(limited, TWO_EACH)
        throttle(limited, jobs)
        seed(limited, *others)
        taken: list[str] = []
        costs.append(commands_of(limited, lambda into=taken: into.extend(take(limited, "t", 20))))
        assert sorted(taken) == sorted(others)
    assert costs[0] == costs[1]
    end_window(limited, clock, "a")
    assert take(limited, "later") == ["a#2"]


def test_without_a_limit_the_way_of_a_job_costs_the_commands_that_it_did(queue: JobQueue) -> None:
    seed(queue, "w#1")
    queue.complete_many([Completion(job_id, "w") for job_id in take(queue, "w")])
    ids = [f"a#{n}" for n in range(100)]
    added = commands_of(queue, lambda: seed(queue, *ids))
    claimed = commands_of(queue, lambda: take(queue, "t1", 100))
    done = [Completion(job_id, "t1") for job_id in ids]
    completed = commands_of(queue, lambda: queue.complete_many(done))
    # As it was before there were groups.
    assert added <= 805
    assert claimed <= 412
    assert completed <= 217
