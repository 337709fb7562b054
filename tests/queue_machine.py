"""Does the same to a queue and to its model: jobs are added, claimed, settled; workers vanish."""

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule

from feedmill import Flow, JobNotFound, JobStateError, Queue, UnrecoverableError
from shared.queue import (
    ClaimedJob,
    Completion,
    Failure,
    Lock,
    Postponement,
    RedisConnection,
    Retry,
    SettleOutcome,
)
from shared.queue.end_rules import EndRules
from shared.queue.flows import wait_for_children
from tests.fakes import FakeClock
from tests.queue_model import ModelJob, QueueModel

IDS = [f"j{number}" for number in range(6)]
ON_FAILURE = {
    "fail": "fail_parent_on_failure",
    "continue": "continue_parent_on_failure",
    "ignore": "ignore_dependency_on_failure",
    "remove": "remove_dependency_on_failure",
}
MINDS_CHILDREN = EndRules(checks_children=True)

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

    @rule(limit=st.integers(1, 3))
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

    def _take(self, data: st.DataObject) -> tuple[ClaimedJob, ModelJob | None]:
        """Return a claim, old or new, and its job if that claim still holds it."""
        locked = [job for job in self.claimed if self._has_lock(job)]
        # Seldom one that is lost, perhaps.
        takes_any = not locked or data.draw(st.integers(0, 9)) == 9
        claimed = data.draw(st.sampled_from(self.claimed if takes_any else locked))
        is_held = self._has_lock(claimed) and claimed.id in self.model.active
        return claimed, self.model.jobs[claimed.id] if is_held else None

    def _has_lock(self, claimed: ClaimedJob) -> bool:
        return self.model.locks.get(claimed.id) == claimed.token

    def _settle(
        self, claimed: ClaimedJob, job: ModelJob | None, outcomes: list[SettleOutcome]
    ) -> bool:
        """Check the outcome; the lock is gone, and if it is settled, the job is active no more."""
        # Who removes a parent removes ended children too, and what was added under their ids since.
        if self._has_lock(claimed):
            del self.model.locks[claimed.id]
        if job is None:
            assert outcomes == [SettleOutcome.LOCK_LOST]
            return False
        assert outcomes == [SettleOutcome.SETTLED]
        self.model.active.remove(job.id)
        return True

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def complete(self, data: st.DataObject) -> None:
        claimed, job = self._take(data)
        outcomes = self.core.complete_many(
            [Completion(claimed.id, claimed.token, "done")], MINDS_CHILDREN
        )
        there = self.model.jobs.get(claimed.id)
        if there is not None and (there.open or there.unsuccessful):
            expected = "HAS_CHILDREN" if there.open else "CHILD_FAILED"
            assert outcomes == [SettleOutcome[expected]]
        elif self._settle(claimed, job, outcomes) and job is not None:
            self.model.tell_of_success(job)
            self.model.finish(job, "completed")

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        claimed, job = self._take(data)
        outcomes = self.core.fail_many([Failure(claimed.id, claimed.token, "boom", "")])
        if self._settle(claimed, job, outcomes) and job is not None:
            self.model.tell_of_failure(job)
            if job.keep != 0:
                job.doom = None
            self.model.finish(job, "failed")

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), delay=delays)
    def retry_run(self, data: st.DataObject, delay: int) -> None:
        claimed, job = self._take(data)
        outcomes = self.core.retry_many([Retry(claimed.id, claimed.token, "boom", "", delay)])
        self.model.promote_due()
        if self._settle(claimed, job, outcomes) and job is not None:
            job.made += 1
            if delay:
                self.model.delay(job.id, delay)
            else:
                self.model.push(job.id, to_front=job.is_lifo)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data(), delay=delays)
    def postpone(self, data: st.DataObject, delay: int) -> None:
        claimed, job = self._take(data)
        outcomes = self.core.postpone_many([Postponement(claimed.id, claimed.token, delay)])
        if self._settle(claimed, job, outcomes) and job is not None:
            self.model.delay(job.id, delay)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        claimed, job = self._take(data)
        outcomes = self.core.release_many([Lock(claimed.id, claimed.token)])
        if self._settle(claimed, job, outcomes) and job is not None:
            self.model.push_to_front(job.id)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def wait_for_children(self, data: st.DataObject) -> None:
        claimed, job = self._take(data)
        there = self.model.jobs.get(claimed.id)
        if there is None:
            error: type[Exception] | None = JobNotFound
        elif there.unsuccessful:
            error = UnrecoverableError
        else:
            error = JobStateError if there.open and job is None else None
        if error is not None:
            with pytest.raises(error):
                wait_for_children(self.core, claimed.id, claimed.token)
            if error is JobStateError:
                self._settle(claimed, None, [SettleOutcome.LOCK_LOST])
            return
        is_moved = wait_for_children(self.core, claimed.id, claimed.token)
        assert is_moved == bool(there and there.open)
        if is_moved and self._settle(claimed, job, [SettleOutcome.SETTLED]):
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
