"""The plain worker: one job a thread, retries, hooks, outages, and an end without loss."""

import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from shared.clock import SystemClock
from shared.errors import (
    DoomedJob,
    Postponed,
    QueueUnavailable,
    RunOverdue,
    UnrecoverableError,
)
from shared.queue import (
    Claim,
    ClaimedJob,
    EndedRun,
    JobQueue,
    JobState,
    Lock,
    Postponement,
    RedisConnection,
    RunRules,
    Upkeep,
    Worker,
    WorkerOptions,
    connect,
    disconnect,
)
from shared.supervision import Supervisor
from tests.fakes import FakeClock
from tests.queue_states import job_fields, line, make_job, seed_waiting
from tests.servers import start_valkey

WAIT_S = 10.0
LONG_REST_S = 30.0


class Passing(Exception):
    pass


class Lasting(UnrecoverableError):
    pass


@pytest.fixture
def queue(redis_client: RedisConnection) -> JobQueue:
    return JobQueue(redis_client, "items", clock=SystemClock())


class Workshop:
    """Starts workers and stops them, whatever the test does."""

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.log: list[str] = []
        self.attempts: list[tuple[str, object]] = []

    def _note(self, event: str, **fields: object) -> None:
        self.log.append(event)
        self.attempts.append((event, fields.get("attempt")))

    def start(
        self, queue: JobQueue, handler: Callable[[ClaimedJob], object], **more: Any
    ) -> Worker:
        options: dict[str, Any] = {"concurrency": 2, "lock_ms": 2_000} | more
        worker = Worker(
            queue, handler, WorkerOptions(**options), clock=SystemClock(), log_event=self._note
        )
        self.workers.append(worker)
        worker.start()
        return worker

    def close(self, client: RedisConnection) -> None:
        """Stop all workers; one that rests is woken, for it else rests to the end first."""
        for worker in self.workers:
            worker._stopping.set()
            client.zadd("bull:items:marker", {"0": 0})
            worker.stop(0.1)


@pytest.fixture
def workshop(redis_client: RedisConnection) -> Iterator[Workshop]:
    workshop = Workshop()
    yield workshop
    workshop.close(redis_client)


@pytest.fixture
def long_rests(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let an idle worker rest for so long that one which nothing wakes is surely late."""
    monkeypatch.setattr("shared.queue.worker._IDLE_WAIT_S", LONG_REST_S)


def wait_for(condition: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.01)


def is_idle(queue: JobQueue) -> bool:
    counts = queue.counts()
    return counts[JobState.WAITING] + counts[JobState.ACTIVE] + counts[JobState.DELAYED] == 0


def test_step_works_one_job_on_the_calling_thread(queue: JobQueue) -> None:
    seen: list[tuple[str, threading.Thread]] = []
    worker = Worker(
        queue,
        lambda job: seen.append((job.id, threading.current_thread())),
        WorkerOptions(concurrency=2, lock_ms=2_000),
        clock=SystemClock(),
    )
    seed_waiting(queue, "a", "b")
    assert worker.step()
    assert queue.counts()[JobState.WAITING] == 1
    assert worker.step()
    assert not worker.step()
    assert seen == [("a", threading.current_thread()), ("b", threading.current_thread())]
    assert queue.counts()[JobState.ACTIVE] == 0


def test_each_job_is_run_and_its_result_kept(queue: JobQueue, workshop: Workshop) -> None:
    settled: list[str] = []
    seed_waiting(queue, "a#1", "a#2", "a#3", keep_completed=9)
    workshop.start(
        queue, lambda job: {"id": job.id}, after_settle=lambda run: settled.append(run.job.id)
    )
    wait_for(lambda: len(settled) == 3)
    views = queue.get_jobs(["a#1", "a#2", "a#3"])
    assert [view and view.result for view in views] == [f'{{"id":"a#{n}"}}' for n in (1, 2, 3)]


def test_no_more_jobs_run_at_a_time_than_allowed(queue: JobQueue, workshop: Workshop) -> None:
    running: set[str] = set()
    most: list[int] = []
    gate = threading.Event()

    def handler(job: ClaimedJob) -> None:
        running.add(job.id)
        most.append(len(running))
        gate.wait(WAIT_S)
        running.discard(job.id)

    seed_waiting(queue, *[f"a#{n}" for n in range(6)])
    workshop.start(queue, handler, concurrency=3)
    wait_for(lambda: len(running) == 3)
    gate.set()
    wait_for(lambda: is_idle(queue))
    assert max(most) == 3


def test_jobs_added_while_one_runs_are_begun_beside_it_up_to_the_limit(
    queue: JobQueue, workshop: Workshop
) -> None:
    running: set[str] = set()
    gate = threading.Event()

    def handler(job: ClaimedJob) -> None:
        running.add(job.id)
        gate.wait(WAIT_S)

    try:
        workshop.start(queue, handler, concurrency=2)
        seed_waiting(queue, "a#1")
        wait_for(lambda: running == {"a#1"})
        seed_waiting(queue, "a#2", "a#3")
        wait_for(lambda: len(running) > 1)
        assert (running, line(queue)) == ({"a#1", "a#2"}, ["a#3"])
    finally:
        gate.set()
    wait_for(lambda: is_idle(queue))


def test_a_passing_error_is_tried_again_while_attempts_remain(
    queue: JobQueue, workshop: Workshop
) -> None:
    tries: list[int] = []
    failed: list[str] = []

    def handler(job: ClaimedJob) -> None:
        tries.append(job.attempts_made)
        raise Passing("not now")

    seed_waiting(queue, "a#1", attempts=3, backoff_ms=5)
    workshop.start(queue, handler, on_final_failure=lambda job, error: failed.append(str(error)))
    wait_for(lambda: queue.counts()[JobState.FAILED] == 1)
    assert (tries, failed) == ([0, 1, 2], ["not now"])


def test_a_lasting_error_fails_the_job_at_once(queue: JobQueue, workshop: Workshop) -> None:
    def handler(job: ClaimedJob) -> None:
        raise Lasting("never")

    seed_waiting(queue, "a#1", attempts=3)
    workshop.start(queue, handler)
    wait_for(lambda: queue.counts()[JobState.FAILED] == 1)
    view = queue.get_job("a#1")
    assert view is not None
    assert view.failed_reason == "never"
    assert "Lasting: never" in view.stacktrace[0]


def test_another_library_s_unrecoverable_error_fails_the_job_at_once(
    queue: JobQueue, workshop: Workshop
) -> None:
    theirs = type("UnrecoverableError", (Exception,), {})

    def handler(job: ClaimedJob) -> None:
        raise theirs("never")

    seed_waiting(queue, "a#1", attempts=3)
    workshop.start(queue, handler)
    wait_for(lambda: queue.counts()[JobState.FAILED] == 1)
    view = queue.get_job("a#1")
    assert view is not None
    assert view.attempts_made == 1


def test_the_worker_s_own_rule_says_which_errors_are_tried_again(
    queue: JobQueue, workshop: Workshop
) -> None:
    def handler(job: ClaimedJob) -> None:
        raise Passing("refused") if job.id == "a#1" else TimeoutError("slow")

    seed_waiting(queue, "a#1", "a#2", attempts=2, backoff_ms=5)
    workshop.start(
        queue, handler, rules=RunRules(may_retry=lambda error: isinstance(error, TimeoutError))
    )
    wait_for(lambda: queue.counts()[JobState.FAILED] == 2)
    views = queue.get_jobs(["a#1", "a#2"])
    assert [view and view.attempts_made for view in views] == [1, 2]


def test_a_job_postponed_by_its_handler_runs_later_while_others_run_now(
    queue: JobQueue, workshop: Workshop
) -> None:
    runs: list[tuple[str, int]] = []
    settled: list[str] = []

    def handler(job: ClaimedJob) -> None:
        runs.append((job.id, job.attempts_made))
        if job.id == "a#1" and runs.count(("a#1", 0)) < 3:
            raise Postponed(100, "not its turn")

    seed_waiting(queue, "a#1", "a#2", attempts=1)
    workshop.start(
        queue,
        handler,
        concurrency=1,
        after_settle=lambda run: run.is_final and settled.append(run.job.id),
    )
    wait_for(lambda: settled == ["a#2", "a#1"])
    assert runs == [("a#1", 0), ("a#2", 0), ("a#1", 0), ("a#1", 0)]
    assert queue.read_totals() == {"completed": 2, "failed": 0, "retried": 0}


def test_a_delayed_job_is_run_when_it_is_due_not_when_the_upkeep_looks(
    queue: JobQueue, workshop: Workshop, long_rests: None
) -> None:
    runs: list[str] = []

    def handler(job: ClaimedJob) -> None:
        runs.append(job.id)
        if runs.count(job.id) == 1:
            raise Postponed(100 * int(job.id.removeprefix("a#")), "not its turn")

    seed_waiting(queue, *[f"a#{n}" for n in range(1, 6)])
    workshop.start(queue, handler, concurrency=5)
    # Sooner than an idle worker's rest ends by itself.
    wait_for(lambda: len(runs) == 10)
    assert sorted(runs[:5]) == sorted(runs[5:])


def test_an_idle_worker_rests_until_a_delayed_job_is_due(
    redis_client: RedisConnection, workshop: Workshop, long_rests: None
) -> None:
    claims: list[float] = []

    class CountedQueue(JobQueue):
        def claim(self, **options: Any) -> Claim:
            claims.append(time.monotonic())
            return super().claim(**options)

    runs: list[str] = []
    queue = CountedQueue(redis_client, "items", clock=SystemClock())
    seed_waiting(queue, "a#1")
    queue.claim(limit=1, lock_ms=2_000, token="t1")
    queue.postpone_many([Postponement("a#1", "t1", 500)])
    workshop.start(queue, lambda job: runs.append(job.id))
    wait_for(lambda: runs == ["a#1"])
    assert len(claims) < 10


def test_a_doomed_job_is_failed_without_running(queue: JobQueue, workshop: Workshop) -> None:
    ran: list[str] = []
    errors: list[BaseException] = []
    seed_waiting(queue, "a#1")
    queue.client.hset(queue.keys.job("a#1"), "defa", "job stalled")
    workshop.start(
        queue,
        lambda job: ran.append(job.id),
        on_final_failure=lambda job, error: errors.append(error),
    )
    wait_for(lambda: queue.counts()[JobState.FAILED] == 1)
    assert ran == []
    assert [(type(error), str(error)) for error in errors] == [(DoomedJob, "job stalled")]


def test_a_failure_that_could_not_be_told_is_not_settled(
    queue: JobQueue, workshop: Workshop
) -> None:
    def hook(job: ClaimedJob, error: BaseException) -> None:
        raise QueueUnavailable("the store is down")

    def handler(job: ClaimedJob) -> None:
        raise Lasting("never")

    seed_waiting(queue, "a#1")
    workshop.start(queue, handler, on_final_failure=hook)
    wait_for(lambda: queue.counts()[JobState.DELAYED] == 1)
    assert "failure_hook_failed" in workshop.log


def test_an_error_after_settling_does_not_stop_the_worker(
    queue: JobQueue, workshop: Workshop
) -> None:
    def hook(run: EndedRun) -> None:
        raise ValueError("hook")

    seed_waiting(queue, "a#1", "a#2")
    workshop.start(queue, lambda job: None, after_settle=hook, concurrency=1)
    wait_for(lambda: workshop.log.count("after_settle_failed") == 2)
    assert is_idle(queue)


def test_a_result_that_json_cannot_hold_does_not_stop_the_worker(
    queue: JobQueue, workshop: Workshop
) -> None:
    seed_waiting(queue, "a#1", "a#2", attempts=1)
    workshop.start(queue, lambda job: object() if job.id == "a#1" else None, concurrency=1)
    wait_for(lambda: queue.counts()[JobState.FAILED] == 1)
    wait_for(lambda: queue.read_totals()["completed"] == 1)


def test_a_long_run_keeps_its_lock(queue: JobQueue, workshop: Workshop) -> None:
    gate = threading.Event()
    seed_waiting(queue, "a#1")
    workshop.start(queue, lambda job: gate.wait(WAIT_S), lock_ms=1_500)
    wait_for(lambda: queue.counts()[JobState.ACTIVE] == 1)
    for _ in range(2):
        queue.client.pexpire(queue.keys.lock("a#1"), 1_000)
        wait_for(lambda: int(queue.client.pttl(queue.keys.lock("a#1"))) > 1_000)
    assert queue.reclaim_stalled(max_stalled=1).requeued == 0
    gate.set()
    wait_for(lambda: is_idle(queue))


def test_a_run_beyond_its_limit_gives_its_place_back_and_is_charged(
    queue: JobQueue, workshop: Workshop
) -> None:
    gate = threading.Event()
    ran: list[tuple[str, int]] = []
    failed: list[tuple[str, BaseException]] = []
    settled: list[tuple[str, bool]] = []

    def handler(job: ClaimedJob) -> None:
        ran.append((job.id, job.attempts_made))
        if job.id == "a#hangs":
            gate.wait(WAIT_S)

    seed_waiting(queue, "a#hangs", "a#1", attempts=2, backoff_ms=1)
    try:
        workshop.start(
            queue,
            handler,
            concurrency=1,
            lock_ms=600,
            run_limit_s=0.3,
            on_final_failure=lambda job, error: failed.append((job.id, error)),
            after_settle=lambda run: settled.append((run.job.id, run.is_final)),
        )
        wait_for(lambda: queue.counts()[JobState.FAILED] == 1)
        wait_for(lambda: is_idle(queue))
        wait_for(lambda: len(settled) == 3)
    finally:
        gate.set()
    assert sorted(ran) == [("a#1", 0), ("a#hangs", 0), ("a#hangs", 1)]
    assert sorted(settled) == [("a#1", True), ("a#hangs", False), ("a#hangs", True)]
    assert [(job_id, type(error)) for job_id, error in failed] == [("a#hangs", RunOverdue)]
    wait_for(lambda: workshop.log.count("lock_lost") == 2)
    abandoned = [attempt for event, attempt in workshop.attempts if event == "run_abandoned"]
    assert abandoned == [1, 2]
    assert queue.read_totals() == {"completed": 1, "failed": 1, "retried": 1}
    assert queue.reclaim_stalled(max_stalled=0).requeued == 0


def test_a_solo_job_holds_nobody_up_where_the_worker_does_not_isolate_it(
    queue: JobQueue, workshop: Workshop
) -> None:
    gate = threading.Event()
    seed_waiting(queue, *[f"a#{n}" for n in range(9)])
    queue.client.hset(queue.keys.job("a#4"), "solo", "1")
    try:
        workshop.start(
            queue,
            lambda job: gate.wait(WAIT_S) if job.is_solo or job.id == "a#0" else None,
            concurrency=3,
            isolates_solo=False,
        )
        wait_for(lambda: queue.read_totals()["completed"] == 7)
        assert queue.counts()[JobState.ACTIVE] == 2
    finally:
        gate.set()
    wait_for(lambda: is_idle(queue))


def test_a_worker_whose_lock_was_lost_settles_nothing(queue: JobQueue, workshop: Workshop) -> None:
    gate = threading.Event()
    settled: list[str] = []
    seed_waiting(queue, "a#1")
    workshop.start(
        queue, lambda job: gate.wait(WAIT_S), after_settle=lambda run: settled.append(run.job.id)
    )
    wait_for(lambda: queue.counts()[JobState.ACTIVE] == 1)
    queue.client.set("bull:items:a#1:lock", "successor")
    gate.set()
    wait_for(lambda: "lock_lost" in workshop.log)
    assert settled == []
    assert queue.counts()[JobState.ACTIVE] == 1


def test_stopping_waits_for_what_is_running(queue: JobQueue, workshop: Workshop) -> None:
    running = threading.Event()

    def handler(job: ClaimedJob) -> None:
        running.set()
        # A gate on a timer may open before the worker stops: then it rightly takes the next job.
        workshop.workers[0]._stopping.wait(WAIT_S)
        threading.Event().wait(0.2)

    seed_waiting(queue, "a#1", "a#2")
    worker = workshop.start(queue, handler, concurrency=1)
    # Not until Redis calls it active: a claim whose answer comes after the stop is handed back.
    assert running.wait(WAIT_S)
    worker.stop(WAIT_S)
    assert queue.read_totals()["completed"] == 1
    assert line(queue) == ["a#2"]


def test_what_cannot_finish_is_handed_back_without_an_attempt(
    queue: JobQueue, workshop: Workshop
) -> None:
    gate = threading.Event()
    seed_waiting(queue, "a#1", "a#2")
    worker = workshop.start(queue, lambda job: gate.wait(WAIT_S), concurrency=1)
    wait_for(lambda: queue.counts()[JobState.ACTIVE] == 1)
    worker.stop(0.2)
    gate.set()
    assert line(queue) == ["a#1", "a#2"]
    assert "atm" not in job_fields(queue, "a#1")


def test_stopping_twice_or_before_the_start_is_fine(queue: JobQueue) -> None:
    options = WorkerOptions(concurrency=1, lock_ms=1000)
    worker = Worker(queue, lambda job: None, options, clock=SystemClock())
    worker.stop(0.1)
    worker.start()
    worker.stop(0.1)
    worker.stop(0.1)


def test_a_solo_job_runs_while_nothing_else_does(queue: JobQueue, workshop: Workshop) -> None:
    running: set[str] = set()
    alone: list[bool] = []

    def handler(job: ClaimedJob) -> None:
        running.add(job.id)
        if job.is_solo:
            threading.Event().wait(0.1)
            alone.append(running == {job.id})
        running.discard(job.id)

    seed_waiting(queue, *[f"a#{n}" for n in range(9)])
    queue.client.hset(queue.keys.job("a#4"), "solo", "1")
    workshop.start(queue, handler, concurrency=4)
    wait_for(lambda: is_idle(queue))
    assert alone == [True]


def test_the_worker_outlives_a_redis_that_went_and_came_back(
    tmp_path: Path, workshop: Workshop
) -> None:
    options = ("--appendonly", "yes", "--appendfsync", "always")
    first = start_valkey(tmp_path / "store", *options)
    client = connect(first.url, socket_timeout_s=1)
    queue = JobQueue(client, "items", clock=SystemClock())
    gate = threading.Event()
    done: list[str] = []

    def handler(job: ClaimedJob) -> None:
        gate.wait(WAIT_S)
        done.append(job.id)

    try:
        seed_waiting(queue, "a#1", "a#2")
        workshop.start(queue, handler, concurrency=1, lock_ms=60_000)
        wait_for(lambda: queue.counts()[JobState.ACTIVE] == 1)
    finally:
        first.kill()
    gate.set()
    wait_for(lambda: "settle_delayed" in workshop.log)
    second = start_valkey(tmp_path / "store", *options, port=first.port)
    try:
        wait_for(lambda: done == ["a#1", "a#2"])
        wait_for(lambda: is_idle(queue))
        assert len(workshop.log) < 50
    finally:
        for worker in workshop.workers:
            worker.stop(0.1)
        disconnect(client)
        second.stop()


def test_upkeep_reclaims_promotes_and_outlives_errors(queue: JobQueue) -> None:
    log: list[str] = []
    seed_waiting(queue, "a#1", "a#2")
    queue.claim(limit=1, lock_ms=50, token="dead")
    broken = JobQueue(queue.client, "broken", clock=SystemClock())
    queue.client.set(broken.keys.active, "not a list")
    upkeep = Upkeep(
        [broken, queue],
        every_ms=20,
        max_stalled=2,
        clock=SystemClock(),
        log_event=lambda event, **_: log.append(event),
    )
    upkeep.start()
    try:
        wait_for(lambda: line(queue) == ["a#1", "a#2"])
    finally:
        upkeep.stop()
    assert set(log) == {"jobs_reclaimed", "upkeep_failed"}
    upkeep.stop()


def test_upkeep_rests_five_times_as_long_after_a_round_that_was_refused(
    redis_client: RedisConnection,
) -> None:
    clock = FakeClock()
    rounds: list[tuple[str, float]] = []
    queue = JobQueue(redis_client, "items", clock=clock)

    def note(event: str, **_: object) -> None:
        rounds.append((event, clock.monotonic_s()))
        if len(rounds) == 2:
            redis_client.delete(queue.keys.active)
            seed_waiting(queue, "a#1")
            queue.claim(limit=1, lock_ms=1, token="t1")
            redis_client.delete(queue.keys.lock("a#1"))
        elif len(rounds) == 3:
            seed_waiting(queue, "a#2")
            queue.claim(limit=2, lock_ms=1, token="t2")
            redis_client.delete(queue.keys.lock("a#1"), queue.keys.lock("a#2"))

    redis_client.set(queue.keys.active, "not a list")
    upkeep = Upkeep([queue], every_ms=20_000, max_stalled=9, clock=clock, log_event=note)
    upkeep.start()
    try:
        wait_for(lambda: len(rounds) >= 4)
    finally:
        upkeep.stop()
    assert [event for event, _ in rounds[:4]] == ["upkeep_failed"] * 2 + ["jobs_reclaimed"] * 2
    moments_s = [moment_s for _, moment_s in rounds[:4]]
    rests_s = [later - moment for moment, later in pairwise(moments_s)]
    assert rests_s == pytest.approx([100, 100, 20])


def test_upkeep_never_touches_a_job_that_is_held(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1")
    queue.claim(limit=1, lock_ms=60_000, token="alive")
    upkeep = Upkeep(
        [queue], every_ms=10, max_stalled=0, clock=SystemClock(), log_event=lambda *_, **__: None
    )
    assert upkeep.run_once()
    assert queue.extend_many([Lock("a#1", "alive")], lock_ms=1000) == []


def test_a_new_job_wakes_an_idle_worker_at_once(
    queue: JobQueue, workshop: Workshop, long_rests: None
) -> None:
    ran = threading.Event()
    workshop.start(queue, lambda job: ran.set())
    wait_for(lambda: any("b" in one["flags"] for one in queue.client.client_list()))
    queue.add_many([make_job("a#1")])
    # Sooner than its rest ends by itself.
    assert ran.wait(WAIT_S)


def test_dispatcher_outlives_a_machine_that_refuses_threads(
    queue: JobQueue, workshop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    start, refused = threading.Thread.start, 0

    def refuse_some(thread: threading.Thread) -> None:
        nonlocal refused
        if thread.name.endswith("-job") and refused < 3:
            refused += 1
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse_some)
    seed_waiting(queue, "a#1", "a#2")
    ran: list[str] = []
    # A lock that nobody waits for: the jobs were handed back.
    workshop.start(queue, lambda job: ran.append(job.id), lock_ms=600_000)
    wait_for(lambda: len(ran) == 2)
    assert sorted(ran) == ["a#1", "a#2"]
    assert refused == 3
    assert workshop.log.count("thread_failed") == 3


def test_dispatcher_that_is_always_refused_is_given_up_with_its_jobs_handed_back(
    queue: JobQueue, monkeypatch: pytest.MonkeyPatch
) -> None:
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name.endswith("-job"):
            raise RuntimeError("can't start new thread")
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", refuse)
    monkeypatch.setattr("shared.supervision.MAX_PAUSE_S", 0.01)
    seed_waiting(queue, "a#1", "a#2")
    given_up: list[str] = []
    supervisor = Supervisor(SystemClock(), lambda *_, **__: None, give_up=given_up.append)
    worker = Worker(
        queue,
        lambda job: None,
        WorkerOptions(concurrency=2, lock_ms=600_000),
        clock=SystemClock(),
        supervisor=supervisor,
    )
    worker.start()
    wait_for(lambda: given_up == ["items-dispatch"])
    worker.stop(0.1)
    assert line(queue) == ["a#1", "a#2"]
    assert job_fields(queue, "a#1").get("atm", "0") == "0"
