"""Jobs of dead workers come back; what kills its worker is run alone, then doomed."""

import pytest

from shared.queue import JobQueue, JobState, ReclaimReport, Upkeep, connect, disconnect
from tests.fakes import FakeClock
from tests.queue_states import (
    active,
    claim,
    events,
    job_fields,
    line,
    lose_locks,
    seed_active,
    seed_stalled,
    seed_waiting,
    whole_state,
)
from tests.tcp_proxy import Mode, TcpProxy


def test_stalled_jobs_stand_first_in_line_in_their_order(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1", "a#2")
    seed_waiting(queue, "a#3")
    assert queue.reclaim_stalled(max_stalled=2) == ReclaimReport(2, 0, 0, ("a#2", "a#1"))
    assert line(queue) == ["a#1", "a#2", "a#3"]
    assert active(queue) == []
    assert job_fields(queue, "a#1")["stc"] == "1"
    assert events(queue)[-2:] == ["waiting a#1", "stalled a#1"]


def test_jobs_whose_lock_lives_are_not_touched(queue: JobQueue) -> None:
    ids = [f"a#{n}" for n in range(450)]
    seed_active(queue, *ids)
    before = whole_state(queue)
    assert queue.reclaim_stalled(max_stalled=2) == ReclaimReport(0, 0, 0)
    assert whole_state(queue) == before
    lose_locks(queue, "a#7", "a#449")
    assert queue.reclaim_stalled(max_stalled=2).requeued == 2
    assert line(queue) == ["a#7", "a#449"]
    assert len(active(queue)) == 448


def test_an_attempt_is_not_counted_for_stalling(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1")
    queue.reclaim_stalled(max_stalled=2)
    job = claim(queue, "t2").jobs[0]
    assert (job.attempts_made, job.attempts_started, job.stalled_count) == (0, 2, 1)


def test_a_scheduler_s_job_that_stalls_too_often_is_run_alone_and_never_doomed(
    queue: JobQueue,
) -> None:
    seed_stalled(queue, "a#1")
    queue.client.hset(queue.keys.job("a#1"), "rjk", "weekly")
    reports, claimed = [queue.reclaim_stalled(max_stalled=0)], []
    for token in ("t2", "t3"):
        claimed += claim(queue, token).jobs
        lose_locks(queue, "a#1")
        reports.append(queue.reclaim_stalled(max_stalled=0))
    assert [(r.made_solo, r.doomed) for r in reports] == [(1, 0), (0, 0), (0, 0)]
    assert [(job.is_solo, job.deferred_failure) for job in claimed] == [(True, None)] * 2


def test_a_job_that_stalls_too_often_is_run_alone_and_then_doomed(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1")
    reports = [queue.reclaim_stalled(max_stalled=1)]
    claimed = []
    for token in ("t2", "t3", "t4"):
        claimed.append(claim(queue, token).jobs[0])
        lose_locks(queue, "a#1")
        reports.append(queue.reclaim_stalled(max_stalled=1))
    assert [(r.made_solo, r.doomed) for r in reports] == [(0, 0), (1, 0), (0, 1), (0, 1)]
    assert [job.is_solo for job in claimed] == [False, True, False]
    assert claimed[2].deferred_failure == "job stalled more than allowable limit"


def test_a_stall_that_is_nobodys_fault_is_not_counted(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1", "a#2")
    for token in ("t2", "t3", "t4"):
        report = queue.reclaim_stalled(max_stalled=0, is_counted=False)
        assert report == ReclaimReport(2, 0, 0, ("a#2", "a#1"))
        assert line(queue) == ["a#1", "a#2"]
        jobs = claim(queue, token).jobs
        assert [(job.stalled_count, job.is_solo) for job in jobs] == [(0, False), (0, False)]
        lose_locks(queue, "a#1", "a#2")


def test_the_upkeep_excuses_stalls_for_one_lock_time_after_an_outage(
    queue: JobQueue, clock: FakeClock, valkey_url: str
) -> None:
    with TcpProxy(valkey_url) as proxy:
        client = connect(proxy.url)
        upkeep = Upkeep(
            [JobQueue(client, queue.name, clock=clock)],
            every_ms=1000,
            max_stalled=2,
            clock=clock,
            log_event=lambda *_, **__: None,
            lock_ms=30_000,
        )
        seed_stalled(queue, "a#1")
        assert upkeep.run_once()
        assert job_fields(queue, "a#1")["stc"] == "1"
        proxy.set_mode(Mode.REFUSE)
        assert not upkeep.run_once()
        proxy.set_mode(Mode.PASS)
        counted = []
        for seconds in (0, 29, 2):
            clock.advance(seconds=seconds)
            claim(queue, f"t{seconds}")
            lose_locks(queue, "a#1")
            assert upkeep.run_once()
            counted.append(job_fields(queue, "a#1")["stc"])
        assert counted == ["1", "1", "2"]
        disconnect(client)


class LateClock(FakeClock):
    """Moves on by itself each time that it is asked, as if what lies between had taken so long."""

    def __init__(self, each_s: float) -> None:
        super().__init__()
        self._each_s = each_s

    def monotonic_s(self) -> float:
        self.advance(seconds=self._each_s)
        return super().monotonic_s()


@pytest.mark.parametrize(("late_s", "stalls"), [(4.999, "1"), (5.001, None)])
def test_stalls_are_excused_when_redis_answers_later_than_a_sixth_of_a_lock_time(
    queue: JobQueue, late_s: float, stalls: str | None
) -> None:
    upkeep = Upkeep(
        [queue],
        every_ms=1000,
        max_stalled=2,
        clock=LateClock(late_s),
        log_event=lambda *_, **__: None,
        lock_ms=30_000,
    )
    seed_stalled(queue, "a#1")
    assert upkeep.run_once()
    assert job_fields(queue, "a#1").get("stc") == stalls


def test_where_nothing_runs_alone_a_job_that_stalls_too_often_is_doomed_at_once(
    queue: JobQueue,
) -> None:
    seed_stalled(queue, "a#1")
    reports = [queue.reclaim_stalled(max_stalled=1, solo_first=False)]
    claim(queue, "t2")
    lose_locks(queue, "a#1")
    reports.append(queue.reclaim_stalled(max_stalled=1, solo_first=False))
    assert [(r.made_solo, r.doomed) for r in reports] == [(0, 0), (0, 1)]
    assert claim(queue, "t3").jobs[0].deferred_failure == "job stalled more than allowable limit"
    assert "solo" not in job_fields(queue, "a#1")


def test_claimed_ids_without_a_job_are_dropped(queue: JobQueue) -> None:
    seed_active(queue, "a#1")
    queue.client.delete(queue.keys.job("a#1"), "bull:items:a#1:lock")
    assert queue.reclaim_stalled(max_stalled=2) == ReclaimReport(0, 0, 0)
    assert active(queue) == line(queue) == []
    assert queue.client.exists(queue.keys.job("a#1")) == 0


def test_a_broken_stalled_count_begins_anew(queue: JobQueue) -> None:
    seed_stalled(queue, "a#1")
    queue.client.hset(queue.keys.job("a#1"), "stc", "often")
    assert queue.reclaim_stalled(max_stalled=2).requeued == 1
    assert job_fields(queue, "a#1")["stc"] == "1"


def test_a_delayed_id_without_a_job_is_dropped_when_due(queue: JobQueue, clock: FakeClock) -> None:
    queue.client.zadd(queue.keys.delayed, {"gone": clock.now_ms() * 4096})
    assert queue.promote_due() == 0
    assert queue.counts()[JobState.DELAYED] == 0
    assert line(queue) == []


def test_promotion_takes_no_more_than_asked_for(queue: JobQueue, clock: FakeClock) -> None:
    seed_waiting(queue, "a#1", "a#2")
    queue.client.delete(queue.keys.wait)
    due = clock.now_ms() * 4096
    queue.client.zadd(queue.keys.delayed, {"a#1": due, "a#2": due + 1})
    assert queue.promote_due(1) == 1
    assert line(queue) == ["a#1"]
