"""Does the same to a queue and to its model: jobs are added, claimed, settled; workers vanish."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from feedmill import Flow, JobNotFound, JobStateError, Queue, UnrecoverableError
from shared.queue import (
    ClaimedJob,
    Completion,
    Failure,
    Postponement,
    RedisConnection,
    Retry,
    SettleOutcome,
)
from shared.queue.end_rules import EndRules
from shared.queue.flows import wait_for_children
from tests.fakes import FakeClock
from tests.queue_model import ModelJob, QueueModel

IDS = [f"j{number}" for number in range(8)]
ON_FAILURE = {
    "fail": "fail_parent_on_failure",
    "continue": "continue_parent_on_failure",
    "ignore": "ignore_dependency_on_failure",
    "remove": "remove_dependency_on_failure",
}
MINDS_CHILDREN = EndRules(checks_children=True)
NONE_REFUSED: Mapping[str, SettleOutcome] = {}

ids = st.sampled_from(IDS)
priorities = st.sampled_from([0, 0, 1, 2])
delays = st.sampled_from([0, 0, 2_000, 5_000])
keeps = st.sampled_from([None, 0, 1, 1])


class RunningMachine(RuleBasedStateMachine):
    """The part that producers and workers do."""

    def __init__(self, client: RedisConnection) -> None:
        super().__init__()
        client.flushdb()
        self.clock = FakeClock()
        self.queue = Queue("q", client, clock=self.clock)
        self.flow = Flow(client, clock=self.clock)
        self.core = self.queue.core
        self.model = QueueModel()
        self.model.now = self.clock.now_ms()
        self.claimed: list[ClaimedJob] = []
        self.claims = 0

    # Adding.

    @rule(id=ids, delay=delays, priority=priorities, lifo=st.booleans(), keep=keeps)
    def add(self, id: str, delay: int, priority: int, lifo: bool, keep: int | None) -> None:
        self.queue.add("work", job_id=id, delay=delay, priority=priority, lifo=lifo,
                       remove_on_complete=keep, remove_on_fail=keep)  # fmt: skip
        if id in self.model.jobs:
            return
        job = ModelJob(id, self.model.now, delay, priority, lifo, keep)
        self.model.jobs[id] = job
        if delay:
            self.model.push_delayed(id, self.model.now + delay)
        else:
            self.model.push(id, to_front=lifo)

    @rule(
        family=st.lists(ids, min_size=2, max_size=4, unique=True),
        on_failure=st.sampled_from([None, None, *ON_FAILURE]),
        delay=delays,
        priority=priorities,
        keep=keeps,
    )
    def add_flow(
        self,
        family: list[str],
        on_failure: str | None,
        delay: int,
        priority: int,
        keep: int | None,
    ) -> None:
        model, (parent, *children) = self.model, family
        if any(model.is_above(child, parent) for child in children):
            return
        opts: dict[str, object] = {"remove_on_complete": keep, "remove_on_fail": keep}
        if on_failure is not None:
            opts[ON_FAILURE[on_failure]] = True
        tree = {
            "name": "course",
            "queue_name": "q",
            "opts": {"job_id": parent, "delay": delay, "priority": priority},
            "children": [
                {"name": "part", "queue_name": "q", "opts": {"job_id": child, **opts}}
                for child in children
            ],
        }
        if any(self._is_anothers(child, family[:at]) for at, child in enumerate(family) if at):
            with pytest.raises(JobStateError):
                self.flow.add(tree)
            return
        self.flow.add(tree)
        if parent not in model.jobs:
            model.jobs[parent] = ModelJob(parent, model.now, delay, priority)
            model.waiting_children.add(parent)
        for child in children:
            self._add_child(child, model.jobs[parent], on_failure, keep)
        if not model.jobs[parent].open:
            model.release_parent(model.jobs[parent])

    def _is_anothers(self, id: str, before: list[str]) -> bool:
        """Return whether a job is there as the child of a living parent other than the first."""
        other = self.model.jobs[id].parent if id in self.model.jobs else None
        return other != before[0] and (other in self.model.jobs or other in before)

    def _add_child(
        self, id: str, parent: ModelJob, on_failure: str | None, keep: int | None
    ) -> None:
        model = self.model
        if id not in model.jobs:
            model.jobs[id] = ModelJob(id, model.now, keep=keep)
            model.push(id)
            parent.open.add(id)
        elif model.state_of(id) == "completed":
            parent.processed.add(id)
        else:
            parent.open.add(id)
        model.jobs[id].parent, model.jobs[id].on_failure = parent.id, on_failure

    # Running.

    @rule(limit=st.integers(1, 6))
    def claim(self, limit: int) -> None:
        self.claims += 1
        token = f"t{self.claims}"
        jobs = self.core.claim(limit=limit, lock_ms=3_600_000, token=token, reads_whole=True).jobs
        model = self.model
        model.promote_due()
        line = (
            [] if model.is_paused else (model.states()["waiting"] + model.states()["prioritized"])
        )
        expected = line[:limit]
        for id in expected:
            model.leave(id)
            model.active.append(id)
            model.locks[id] = token
            model.jobs[id].processed_on = model.now
        assert [job.id for job in jobs] == expected
        assert [job.deferred_failure for job in jobs] == [model.jobs[id].doom for id in expected]
        assert [job.attempts_made for job in jobs] == [model.jobs[id].made for id in expected]
        self.claimed += jobs

    def _draw(self, data: st.DataObject, most: int = 5) -> list[ClaimedJob]:
        """Return claims of different jobs, mostly such that hold them still."""
        locked = [job for job in self.claimed if self._has_lock(job)]
        # Seldom those that are lost, perhaps.
        takes_any = not locked or data.draw(st.integers(0, 9)) == 9
        some = st.sampled_from(self.claimed if takes_any else locked)
        return data.draw(st.lists(some, min_size=1, max_size=most, unique_by=lambda job: job.id))

    def _has_lock(self, claimed: ClaimedJob) -> bool:
        return self.model.locks.get(claimed.id) == claimed.token

    def _settle(
        self,
        claims: Sequence[ClaimedJob],
        outcomes: Sequence[SettleOutcome],
        refused: Mapping[str, SettleOutcome] = NONE_REFUSED,
    ) -> list[ModelJob]:
        """Check the outcomes; return the jobs that are settled: active no more, and not locked."""
        settled = []
        for claimed, outcome in zip(claims, outcomes, strict=True):
            if claimed.id in refused:
                assert outcome == refused[claimed.id]
                continue
            is_held = self._has_lock(claimed)
            assert outcome == (SettleOutcome.SETTLED if is_held else SettleOutcome.LOCK_LOST)
            if is_held:
                del self.model.locks[claimed.id]
                self.model.active.remove(claimed.id)
                settled.append(self.model.jobs[claimed.id])
        return settled

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        claims = self._draw(data)
        refused = {}
        for job in (self.model.jobs[each.id] for each in claims if each.id in self.model.jobs):
            if job.open:
                refused[job.id] = SettleOutcome.HAS_CHILDREN
            elif job.unsuccessful:
                refused[job.id] = SettleOutcome.CHILD_FAILED
        outcomes = self.core.complete_many(
            [Completion(each.id, each.token, "done") for each in claims], MINDS_CHILDREN
        )
        for job in self._settle(claims, outcomes, refused):
            self.model.tell_of_success(job)
            self.model.finish(job, "completed")

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        claims = self._draw(data)
        outcomes = self.core.fail_many(
            [Failure(each.id, each.token, "boom", "") for each in claims]
        )
        for job in self._settle(claims, outcomes):
            self.model.tell_of_failure(job)
            if job.keep != 0:
                job.doom = None
            self.model.finish(job, "failed")

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), delay=delays)
    def retry_run(self, data: st.DataObject, delay: int) -> None:
        claims = self._draw(data)
        outcomes = self.core.retry_many(
            [Retry(each.id, each.token, "boom", "", delay) for each in claims]
        )
        self.model.promote_due()
        for job in self._settle(claims, outcomes):
            job.made += 1
            if delay:
                self.model.delay(job.id, delay)
            else:
                self.model.push(job.id, to_front=job.is_lifo)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), delay=delays)
    def postpone(self, data: st.DataObject, delay: int) -> None:
        claims = self._draw(data)
        outcomes = self.core.postpone_many(
            [Postponement(each.id, each.token, delay) for each in claims]
        )
        for job in self._settle(claims, outcomes):
            self.model.delay(job.id, delay)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        claims = self._draw(data)
        outcomes = self.core.release_many([each.lock for each in claims])
        for job in reversed(self._settle(claims, outcomes)):
            self.model.push_to_front(job.id)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def wait_for_children(self, data: st.DataObject) -> None:
        [claimed] = self._draw(data, most=1)
        there = self.model.jobs.get(claimed.id)
        error: type[Exception] | None = None
        if there is None:
            error = JobNotFound
        elif there.unsuccessful:
            error = UnrecoverableError
        elif there.open and not self._has_lock(claimed):
            error = JobStateError
        if error is not None:
            with pytest.raises(error):
                wait_for_children(self.core, claimed.id, claimed.token)
            return
        is_moved = wait_for_children(self.core, claimed.id, claimed.token)
        assert is_moved == bool(there and there.open)
        if is_moved:
            self._settle([claimed], [SettleOutcome.SETTLED])
            self.model.waiting_children.add(claimed.id)

    @precondition(lambda self: self.model.locks)
    @rule(data=st.data())
    def lose_a_worker(self, data: st.DataObject) -> None:
        id = data.draw(st.sampled_from(sorted(self.model.locks)))
        del self.model.locks[id]
        self.core.client.delete(self.core.keys.job(id) + ":lock")

    @rule()
    def reclaim(self) -> None:
        self.core.reclaim_stalled(max_stalled=1, solo_first=False)
        stalled = [id for id in self.model.active if id not in self.model.locks]
        for id in reversed(stalled):
            job = self.model.jobs[id]
            job.stalled += 1
            if job.stalled > 1:
                job.doom = "job stalled more than allowable limit"
            self.model.active.remove(id)
            self.model.wait.insert(0, id)

    @rule(seconds=st.integers(1, 4))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds=seconds)
        self.model.now = self.clock.now_ms()
