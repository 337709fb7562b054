"""Whatever is done to a queue in whatever order, it is as a plain model of it."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import invariant, rule, run_state_machine_as_test

from feedmill import Job, JobNotFound, JobStateError
from shared.queue import RedisConnection
from shared.queue.getters import list_range, read_dependencies
from tests.queue_machine import RunningMachine, delays, ids, priorities
from tests.queue_model import FINISHED, ModelJob

STEPS = 100
Draw = Callable[[st.SearchStrategy[Any]], Any]

ended = st.sampled_from(FINISHED)


def id_of(key: str) -> str:
    """Return a job's id, and what follows it, by a whole key."""
    return key.removeprefix("bull:q:")


class QueueMachine(RunningMachine):
    """The rest: jobs are moved and removed by hand, and everything is looked at."""

    # By hand.

    @rule(data=st.data())
    def change_many(self, data: st.DataObject) -> None:
        """One rule for all that leaves little as it was: most steps are to be smaller."""
        kinds = (self.pause_or_resume, self.drain, self.clean, self.retry_all)
        data.draw(st.sampled_from(kinds))(data.draw)

    def pause_or_resume(self, draw: Draw) -> None:
        self.model.is_paused = not self.model.is_paused
        (self.queue.pause if self.model.is_paused else self.queue.resume)()

    @rule(id=ids)
    def promote(self, id: str) -> None:
        if not self._may_move(id, "delayed", lambda: self._job(id).promote()):
            return
        self.model.leave(id)
        self.model.jobs[id].delay = 0
        self.model.push(id)

    @rule(id=ids, delay=delays)
    def change_delay(self, id: str, delay: int) -> None:
        if self._may_move(id, "delayed", lambda: self._job(id).change_delay(delay)):
            self.model.delay(id, delay)

    @rule(id=ids, priority=priorities, lifo=st.booleans())
    def change_priority(self, id: str, priority: int, lifo: bool) -> None:
        state = self.model.state_of(id)
        if not self._may_move(
            id, state, lambda: self._job(id).change_priority(priority, lifo=lifo)
        ):
            return
        self.model.jobs[id].priority = priority
        if state in ("waiting", "prioritized"):
            self.model.leave(id)
            self.model.push_to_front(id) if lifo else self.model.push(id)

    @rule(id=ids, state=ended, resets=st.booleans())
    def retry_finished(self, id: str, state: str, resets: bool) -> None:
        if not self._may_move(
            id, state, lambda: self._job(id).retry(state, reset_attempts_made=resets)
        ):
            return
        job = self.model.jobs[id]
        self.model.leave(id)
        self.model.forget_end(job, state)
        job.made = 0 if resets else job.made
        self.model.push(id, to_front=job.is_lifo)

    def _job(self, id: str) -> Job[Any]:
        job = self.queue.get_job(id)
        if job is None:
            raise JobNotFound(id)
        return job

    def _may_move(self, id: str, state: str | None, move: Callable[[], None]) -> bool:
        """Move a job that is in a state; if it is not, see that this is refused."""
        if id not in self.model.jobs:
            with pytest.raises(JobNotFound):
                move()
        elif self.model.state_of(id) != state:
            with pytest.raises(JobStateError):
                move()
        else:
            move()
            return True
        return False

    def retry_all(self, draw: Draw) -> None:
        state = draw(st.sampled_from(["delayed", *FINISHED]))
        (self.queue.promote_jobs() if state == "delayed" else self.queue.retry_jobs(state=state))
        for id in self.model.states()[state]:
            self.model.leave(id)
            if state in FINISHED:
                self.model.forget_end(self.model.jobs[id], state)
            self.model.wait.append(id)

    @rule(id=ids, with_children=st.booleans())
    def remove(self, id: str, with_children: bool) -> None:
        is_removed = self.queue.remove(id, remove_children=with_children)
        assert is_removed != self.model.is_held(id, with_children=with_children)
        if is_removed:
            self.model.remove(id, with_children=with_children)

    def drain(self, draw: Draw) -> None:
        delayed = draw(st.booleans())
        states = ("waiting", "delayed", "prioritized") if delayed else ("waiting", "prioritized")
        there = self.model.states()
        drained = [there[state] for state in states]
        self.queue.drain(delayed=delayed)
        for job_ids in drained:
            self.model.erase(job_ids)

    def clean(self, draw: Draw) -> None:
        state = draw(st.sampled_from(["waiting", "prioritized", "delayed", "active", *FINISHED]))
        grace, limit = draw(st.sampled_from([0, 2_000])), draw(st.sampled_from([0, 0, 1]))
        old = [
            id
            for id in self.model.states()[state]
            if id not in self.model.locks
            and self._age_of(self.model.jobs[id], state) <= self.model.now - grace
        ]
        expected = old[: limit or None]
        assert self.queue.clean(grace, limit, state) == expected
        self.model.erase(expected)

    def _age_of(self, job: ModelJob, state: str) -> int:
        if state == "prioritized":
            return job.timestamp
        if state == "delayed":
            return job.processed_on or job.timestamp
        return job.finished_on or job.processed_on or job.timestamp

    # Looking.

    @invariant()
    def each_state_holds_the_same_jobs_in_the_same_order(self) -> None:
        states = self.model.states()
        assert self.queue.get_job_counts() == {state: len(ids) for state, ids in states.items()}
        views = list_range(self.core, list(self.core.states), 0, -1, is_ascending=True)
        found: dict[str, list[str]] = {state: [] for state in states}
        for view in views:
            assert view.state is not None
            found[view.state].append(view.id)
        found["waiting-children"].sort()
        assert found == states
        for view in views:
            job = self.model.jobs[view.id]
            assert (view.attempts_made, view.priority, view.delay_ms, view.stalled_count) == (
                job.made,
                job.priority,
                job.delay,
                job.stalled,
            )
            assert (view.processed_ms, view.finished_ms) == (job.processed_on, job.finished_on)

    @invariant()
    def each_parent_has_the_same_children(self) -> None:
        for job in self.model.jobs.values():
            if any(job.families().values()):
                children = read_dependencies(self.core, job.id)
                found = (
                    children.processed,
                    children.unprocessed,
                    children.ignored,
                    children.failed,
                )
                assert [sorted(map(id_of, keys)) for keys in found] == [
                    sorted(ids) for ids in job.families().values()
                ]

    @invariant()
    def nothing_else_is_left_in_redis(self) -> None:
        expected = {f"{id}:lock" for id in self.model.locks} | set(self.model.jobs)
        for job in self.model.jobs.values():
            expected |= {f"{job.id}:{suffix}" for suffix, ids in job.families().items() if ids}
        keys = self.core.client.keys("bull:q:j*")
        assert {id_of(key.decode()) for key in keys} == expected


def run(client: RedisConnection, steps: int, *phases: Phase) -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        lambda: QueueMachine(client),
        settings=settings(
            max_examples=steps // STEPS,
            stateful_step_count=STEPS,
            phases=phases,
            report_multiple_bugs=False,
        ),
    )


@pytest.mark.slow
def test_a_queue_is_as_its_model_after_each_of_2000_steps(redis_client: RedisConnection) -> None:
    # What fails is looked at for longer by the long test, which finds the fewest steps to it.
    run(redis_client, 2_000, Phase.generate)


@pytest.mark.long
@pytest.mark.timeout(900)
def test_a_queue_is_as_its_model_after_each_of_20000_steps(redis_client: RedisConnection) -> None:
    run(redis_client, 20_000, Phase.reuse, Phase.generate, Phase.shrink)
