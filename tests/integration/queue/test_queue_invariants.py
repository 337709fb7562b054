"""Whatever is done in whatever order, each job is in exactly one place."""

import random
from collections.abc import Callable
from contextlib import suppress

import pytest

from shared.errors import JobNotFound, JobStateError
from shared.queue import (
    ClaimedJob,
    Completion,
    DeadLettering,
    Failure,
    JobQueue,
    JobState,
    Lock,
    Retry,
)
from shared.queue.editing import (
    change_delay,
    change_priority,
    clean,
    drain,
    line_up,
    promote,
    remove_tree,
    retry_finished,
)
from tests.fakes import FakeClock
from tests.queue_states import claim, line, make_job

IDS = [f"a#{n}" for n in range(8)]
STEPS = 300
LISTS = ("wait", "active")
SETS = ("completed", "failed", "delayed", "prioritized")


class Life:
    """Acts on two queues at random; remembers every claim, so that zombies come back."""

    def __init__(self, queue: JobQueue, dlq: JobQueue, clock: FakeClock, seed: int) -> None:
        self.queue = queue
        self.dlq = dlq
        self.clock = clock
        self.random = random.Random(seed)
        self.claimed: list[ClaimedJob] = []
        self.settled: dict[str, int] = {"completed": 0, "failed": 0, "retried": 0}
        self.tokens = 0

    def step(self) -> None:
        often = (self.add, self.claim, self.settle)
        self.random.choice((*often, *often, self.upkeep, self.edit))()

    def add(self) -> None:
        chosen = self.random.sample(IDS, 3)
        revision = self.random.choice([None, *range(1, 9)])
        keep = self.random.choice([0, 2])
        self.queue.add_many([make_job(i, revision=revision, keep_completed=keep) for i in chosen])

    def claim(self) -> None:
        self.tokens += 1
        limit = self.random.randint(1, 4)
        first = claim(self.queue, f"t{self.tokens}", limit)
        assert claim(self.queue, f"t{self.tokens}", limit).jobs == first.jobs
        self.claimed += first.jobs

    def settle(self) -> None:
        if not self.claimed:
            return
        job = self.random.choice(self.claimed)
        job_id, token = job.id, job.token
        queue, delay_ms = self.queue, self.random.choice([0, 5_000])
        death = DeadLettering(job_id, token, "bad", "stack", make_job(job_id), "dead")
        ends: list[tuple[str | None, Callable[[], object]]] = [
            ("completed", lambda: queue.complete_many([Completion(job_id, token, 1, "new")])),
            ("retried", lambda: queue.retry_many([Retry(job_id, token, "boom", "s", delay_ms)])),
            ("failed", lambda: queue.fail_many([Failure(job_id, token, "boom", "s")])),
            ("failed", lambda: queue.dead_letter_many([death], self.dlq)),
            (None, lambda: queue.release_many([Lock(job_id, token)])),
        ]
        total, end = self.random.choice(ends)
        if end() == ["settled"] and total is not None:
            self.settled[total] += 1

    def upkeep(self) -> None:
        for job in self.random.sample(self.claimed, min(2, len(self.claimed))):
            self.queue.client.delete(f"{self.queue.keys.base}{job.id}:lock")
        self.clock.advance(seconds=self.random.randint(0, 4))
        self.queue.reclaim_stalled(max_stalled=1)
        self.queue.promote_due()
        if self.random.random() < 0.1:
            self.queue.remove_many([self.random.choice(IDS)])

    def edit(self) -> None:
        """Move or remove a job by hand, in whatever state it is; seldom a whole state."""
        queue, job_id, number = self.queue, self.random.choice(IDS), self.random.randint(0, 2)
        ended = self.random.choice([JobState.COMPLETED, JobState.FAILED])
        on_one: list[Callable[[], object]] = [
            lambda: promote(queue, job_id),
            lambda: change_delay(queue, job_id, number * 2_000),
            lambda: change_priority(queue, job_id, number, to_front=number == 1),
            lambda: retry_finished(queue, job_id, ended, resets_made=number == 1),
            lambda: remove_tree(queue, job_id),
        ]
        on_all: list[Callable[[], object]] = [
            lambda: line_up(queue, self.random.choice([ended, JobState.DELAYED])),
            lambda: drain(queue, with_delayed=number == 1),
            lambda: clean(queue, self.random.choice(list(queue.states)[:3]), grace_ms=2_000),
            lambda: clean(queue, ended, grace_ms=0, limit=number),
            lambda: clean(queue, JobState.ACTIVE, grace_ms=0),
        ]
        with suppress(JobNotFound, JobStateError):
            self.random.choice(on_one * 4 + on_all)()

    def places(self) -> list[tuple[str, str]]:
        """Return every (place, job id) of the queue."""
        client, base = self.queue.client, self.queue.keys.base
        found = [(name, one) for name in LISTS for one in client.lrange(base + name, 0, -1)]
        found += [(name, one) for name in SETS for one in client.zrange(base + name, 0, -1)]
        return [(name, one.decode()) for name, one in found]

    def check(self) -> None:
        client, base = self.queue.client, self.queue.keys.base
        places = self.places()
        existing = [job_id for job_id in IDS if client.exists(base + job_id)]
        assert sorted(job_id for _, job_id in places) == existing
        locked = {job_id for job_id in IDS if client.exists(f"{base}{job_id}:lock")}
        assert locked <= {job_id for place, job_id in places if place == "active"}
        dead = line(self.dlq)
        assert len(dead) == len(set(dead))


@pytest.mark.parametrize("seed", range(4))
def test_each_job_is_in_exactly_one_place_after_every_step(
    queue: JobQueue, dlq: JobQueue, clock: FakeClock, seed: int
) -> None:
    life = Life(queue, dlq, clock, seed)
    for _ in range(STEPS):
        life.step()
        life.check()
    assert queue.read_totals() == life.settled
    assert min(life.settled.values()) > 0
