"""A job, as handlers and those who look at a queue see it."""

from dataclasses import dataclass, field, replace
from typing import Generic, Self, TypeVar

from feedmill.base import QueueBase
from feedmill.running import OnProgress, Running
from shared.errors import JobNotFound, JobStateError
from shared.queue import JobQueue, JobView, editing, flows, getters
from shared.queue.events import wait_until_finished
from shared.queue.getters import Dependencies
from shared.queue.reading import json_or_text

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job(Running, Generic[T]):
    """A job as it lay in Redis when it was read; :meth:`refresh` reads it again.

    ``data``, ``return_value`` and ``last_progress`` are what their JSON holds; a text that is none
    is given as it is. Times are ms since 1970. ``processed_by`` is the name of the worker that
    claimed it last, if it has one; ``parent_key`` its parent's whole key. ``token`` is that of the
    run's lock, None outside a handler; ``on_progress`` is called by :meth:`progress`.
    """

    queue: JobQueue
    id: str
    name: str
    data: T
    opts: dict[str, object]
    timestamp: int
    delay: int
    priority: int
    attempts_made: int
    attempts_started: int
    stalled_counter: int
    processed_on: int | None
    finished_on: int | None
    return_value: object
    failed_reason: str | None
    stacktrace: tuple[str, ...]
    last_progress: object = None
    processed_by: str | None = None
    parent_key: str | None = None
    repeat_job_key: str | None = None
    deduplication_id: str | None = None
    token: str | None = None
    on_progress: OnProgress | None = field(default=None, repr=False, compare=False)

    @classmethod
    def of(cls, queue: JobQueue, view: JobView) -> Self:
        """Return the job that a look into Redis has shown."""
        return cls(
            queue=queue,
            id=view.id,
            name=view.name,
            data=json_or_text(view.data),
            opts=dict(view.opts),
            timestamp=view.timestamp_ms,
            delay=view.delay_ms,
            priority=view.priority,
            attempts_made=view.attempts_made,
            attempts_started=view.attempts_started,
            stalled_counter=view.stalled_count,
            processed_on=view.processed_ms,
            finished_on=view.finished_ms,
            return_value=None if view.result is None else json_or_text(view.result),
            failed_reason=view.failed_reason,
            stacktrace=tuple(view.stacktrace),
            last_progress=None if view.progress is None else json_or_text(view.progress),
            processed_by=view.processed_by,
            parent_key=view.parent_key,
            repeat_job_key=view.scheduler_id,
            deduplication_id=view.deduplication_id,
        )

    @property
    def queue_name(self) -> str:
        """The name of its queue."""
        return self.queue.name

    @property
    def queue_qualified_name(self) -> str:
        """Prefix and name of its queue: ``parent={"id": …, "queue": …}`` is written so."""
        return f"{self.queue.prefix}:{self.queue.name}"

    def get_state(self) -> str:
        """Return the state that the job is in now; "unknown" if in none."""
        return getters.read_state(self.queue, self.id) or "unknown"

    def is_waiting(self) -> bool:
        """Return whether the job is ready to run now, and has no priority."""
        return self.get_state() == "waiting"

    def is_delayed(self) -> bool:
        """Return whether the job's time has not come yet."""
        return self.get_state() == "delayed"

    def is_waiting_children(self) -> bool:
        """Return whether the job waits for its children now."""
        return self.get_state() == "waiting-children"

    def is_active(self) -> bool:
        """Return whether a worker has the job now."""
        return self.get_state() == "active"

    def is_completed(self) -> bool:
        """Return whether the job is completed, and kept."""
        return self.get_state() == "completed"

    def is_failed(self) -> bool:
        """Return whether the job has failed for good, and is kept."""
        return self.get_state() == "failed"

    def wait_until_finished(
        self, events: QueueBase | None = None, timeout_s: float | None = None
    ) -> object:
        """Wait until the job is completed and return its result; without end if not told.

        ``events`` is any object on the same queue, a ``QueueEvents`` as in BullMQ, whose connection
        is to be used; it loses no event by it.

        Raises:
            JobFailed: it failed for good.
            JobNotFound: it was removed unfinished.
            TimeoutError: it is not finished yet.
            TypeError: ``events`` is none, as the seconds of a timeout without its name.
        """
        if not isinstance(events, QueueBase | None):
            raise TypeError(f"events={events!r:.80}: a QueueEvents; seconds are timeout_s=...")
        return wait_until_finished(
            self.queue if events is None else events.core, self.id, timeout_s
        )

    def get_dependencies(self) -> Dependencies:
        """Return the job's children by what became of them; results are JSON text."""
        return getters.read_dependencies(self.queue, self.id)

    def get_dependencies_count(self) -> dict[str, int]:
        """Return how many children are ``processed``, ``unprocessed``, ``ignored``, ``failed``."""
        return getters.count_dependencies(self.queue, self.id)

    def get_children_values(self) -> dict[str, object]:
        """Return the results of its children that completed, by their whole keys."""
        results = self.get_dependencies().processed
        return {child: json_or_text(result) for child, result in results.items()}

    def get_ignored_children_failures(self) -> dict[str, str]:
        """Return why children failed whose failure the job ignores, by their whole keys."""
        return dict(self.get_dependencies().ignored)

    def get_failed_children_values(self) -> dict[str, str]:
        """BullMQ's older name of :meth:`get_ignored_children_failures`."""
        return self.get_ignored_children_failures()

    def remove_child_dependency(self) -> bool:
        """Let the job's parent no longer wait for it; False if it does not, for the job has ended.

        Raises:
            JobNotFound: the job or its parent was removed.
            JobStateError: it is the child of no job, or no longer.
        """
        return flows.remove_child_dependency(self.queue, self.id)

    def remove_unprocessed_children(self) -> None:
        """Remove its children, in whatever queue, and theirs, that nobody runs or has run.

        The job runs if it waited for nothing else. What is run stays, with all below it.
        """
        flows.remove_unprocessed_children(self.queue, self.id)

    def refresh(self) -> "Job[T]":
        """Return the job as it lies in Redis now.

        Raises:
            JobNotFound: it was removed.
        """
        view = self.queue.get_job(self.id)
        if view is None:
            raise JobNotFound(self.id)
        now = Job[T].of(self.queue, view)
        return replace(now, token=self.token, on_progress=self.on_progress)

    def promote(self) -> None:
        """Move the job, which is delayed, to the back of the line.

        Raises:
            JobNotFound: it was removed.
            JobStateError: it is not delayed.
        """
        editing.promote(self.queue, self.id)

    def change_delay(self, delay: int) -> None:
        """Let the job, which is delayed, wait ``delay`` ms from now.

        Raises:
            InvalidJobOptions, JobNotFound, JobStateError: nothing was changed.
        """
        editing.change_delay(self.queue, self.id, delay)

    def change_priority(self, priority: int, *, lifo: bool = False) -> None:
        """Give the job another priority: behind those that have it, or with ``lifo`` before them.

        Raises:
            InvalidJobOptions, JobNotFound: nothing was changed.
        """
        editing.change_priority(self.queue, self.id, priority, to_front=lifo)

    def retry(
        self,
        state: str = "failed",
        *,
        reset_attempts_made: bool = False,
        reset_attempts_started: bool = False,
    ) -> None:
        """Put the job, which has failed or completed, back into the line.

        Its attempts go on counting unless they are reset: one whose attempts are used up runs once
        more.

        Raises:
            InvalidJobOptions: another state.
            JobNotFound: it was removed.
            JobStateError: it is not in that state.
        """
        editing.retry_finished(
            self.queue,
            self.id,
            editing.check_finished(state),
            resets_made=reset_attempts_made,
            resets_started=reset_attempts_started,
        )

    def remove(self, *, remove_children: bool = True) -> None:
        """Remove the job, and its children in whatever queue, and theirs. Safe to repeat.

        Raises:
            JobStateError: a worker holds it or one below it, or it is a scheduler's next job.
        """
        if not editing.remove_tree(self.queue, self.id, with_children=remove_children):
            raise JobStateError(self.id, "a worker holds it, or one of its children")
