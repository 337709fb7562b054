"""A limit of groups against a plain model: whatever happens to jobs, in whatever order."""

from collections import Counter, deque
from itertools import count

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.queue import (
    ClaimedJob,
    Completion,
    GroupLimit,
    JobQueue,
    JobState,
    RedisConnection,
    Retry,
)
from shared.queue.limits import limit_groups
from tests.fakes import FakeClock
from tests.queue_states import claim, make_job

GROUPS = ("a", "b", "c")
LIMIT = GroupLimit(2, 60_000, "source")

_action = st.one_of(
    st.tuples(st.just("add"), st.sampled_from(GROUPS), st.integers(1, 5)),
    st.tuples(st.just("claim"), st.integers(1, 7), st.none()),
    st.tuples(st.sampled_from(["complete", "retry", "release"]), st.integers(1, 4), st.none()),
    st.tuples(st.just("end window"), st.none(), st.none()),
    st.tuples(st.sampled_from(["lift", "limit", "lose lines"]), st.none(), st.none()),
)


class Model:
    """The queue, and what has to be true of it."""

    def __init__(self, redis: RedisConnection) -> None:
        redis.flushdb()
        self.clock = FakeClock()
        self.queue = JobQueue(redis, "items", clock=self.clock)
        self.numbers, self.tokens = count(), count()
        # Of each group, those that were never started, oldest first; of all, those to be run.
        self.fresh: dict[str, deque[str]] = {group: deque() for group in GROUPS}
        self.ready: Counter[str] = Counter()
        self.started: Counter[str] = Counter()
        self.held: list[ClaimedJob] = []
        self.is_limited = self.keeps_order = self.has_lines = True
        limit_groups(self.queue, LIMIT)

    def act(self, action: str, first: object, second: object) -> None:
        match action, first, second:
            case "add", str(group), int(jobs):
                self.add(group, jobs)
            case "claim", int(limit), _:
                self.claim(limit)
            case (("complete" | "retry" | "release"), int(jobs), _):
                self.settle(action, [self.held.pop(0) for _ in range(min(jobs, len(self.held)))])
            case "end window", _, _:
                self.end_window()
            case _:
                self.change(action)

    def add(self, group: str, jobs: int) -> None:
        ids = [f"{group}#{next(self.numbers)}" for _ in range(jobs)]
        self.queue.add_many([make_job(each, data={"source": group}) for each in ids])
        self.fresh[group].extend(ids)
        self.ready[group] += jobs

    def claim(self, limit: int) -> int:
        jobs: list[ClaimedJob] = []
        while True:
            some = claim(self.queue, f"t{next(self.tokens)}", limit - len(jobs))
            jobs += some.jobs
            # Without a reason more may be there: that claim had looked at enough.
            if some.blocked_by is not None or len(jobs) == limit:
                break
        for job in jobs:
            self.note_start(job.id)
        if self.is_limited:
            assert all(self.started[group] <= LIMIT.max_jobs for group in GROUPS)
        if len(jobs) < limit and self.has_lines:
            assert not any(self.ready[group] and self.may_start(group) for group in GROUPS)
        self.held += jobs
        return len(jobs)

    def may_start(self, group: str) -> bool:
        return not self.is_limited or self.started[group] < LIMIT.max_jobs

    def note_start(self, job_id: str) -> None:
        group = job_id[0]
        self.ready[group] -= 1
        if self.is_limited:
            self.started[group] += 1
        if job_id in self.fresh[group]:
            if self.keeps_order:
                assert self.fresh[group][0] == job_id
            self.fresh[group].remove(job_id)

    def settle(self, action: str, jobs: list[ClaimedJob]) -> None:
        if action == "complete":
            self.queue.complete_many([Completion(job.id, job.token) for job in jobs])
            return
        self.ready.update(job.id[0] for job in jobs)
        if action == "retry":
            self.queue.retry_many([Retry(job.id, job.token, "", "", 0) for job in jobs])
        else:
            self.queue.release_many([job.lock for job in jobs])

    def end_window(self) -> None:
        for group in GROUPS:
            self.queue.client.delete(f"{self.queue.keys.base}own:started:{group}")
        self.started.clear()
        self.clock.advance(seconds=61)

    def change(self, action: str) -> None:
        if action == "lose lines":
            base = self.queue.keys.base
            lines = [f"{base}own:line:{group}" for group in GROUPS]
            self.queue.client.delete(*lines, f"{base}own:groups")
            # Who stood in them comes when the lines that there are by then are empty.
            self.keeps_order = self.has_lines = False
        else:
            # What was lined up stands behind what is added while there is no limit.
            self.keeps_order = False
            self.is_limited = action == "limit"
            limit_groups(self.queue, LIMIT if self.is_limited else None)

    def run_all(self) -> None:
        """Nothing is lost: all that is ready can be run in the end."""
        self.settle("complete", self.held)
        self.held = []
        while sum(self.ready.values()):
            self.end_window()
            assert self.claim(100) > 0
            self.settle("complete", self.held)
            self.held = []
        counts = self.queue.counts()
        assert counts[JobState.WAITING] == counts[JobState.PRIORITIZED] == 0


@settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.lists(_action, max_size=40))
def test_groups_keep_their_limit_and_order_and_lose_no_job(
    redis_client: RedisConnection, actions: list[tuple[str, object, object]]
) -> None:
    model = Model(redis_client)
    for action in actions:
        model.act(*action)
    model.run_all()
