"""A job, as handlers and those who look at a queue see it."""

from dataclasses import dataclass
from typing import Any, Generic, Self, TypeVar

import orjson

from shared.errors import JobNotFound
from shared.queue import JobQueue, JobView, editing

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Job(Generic[T]):
    """A job as it lay in Redis when it was read; :meth:`refresh` reads it again.

    ``data`` and ``return_value`` are what their JSON holds; a text that is none is given as it is.
    Times are ms since 1970. ``token`` is that of the run's lock, None outside a handler.
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
    token: str | None = None

    @classmethod
    def of(cls, queue: JobQueue, view: JobView, token: str | None = None) -> Self:
        """Return the job that a look into Redis has shown."""
        return cls(
            queue=queue,
            id=view.id,
            name=view.name,
            data=_decoded(view.data),
            opts=dict(view.opts),
            timestamp=view.timestamp_ms,
            delay=view.delay_ms,
            priority=view.priority,
            attempts_made=view.attempts_made,
            attempts_started=view.attempts_started,
            stalled_counter=view.stalled_count,
            processed_on=view.processed_ms,
            finished_on=view.finished_ms,
            return_value=None if view.result is None else _decoded(view.result),
            failed_reason=view.failed_reason,
            stacktrace=tuple(view.stacktrace),
            token=token,
        )

    @property
    def queue_name(self) -> str:
        """The name of its queue."""
        return self.queue.name

    def refresh(self) -> "Job[T]":
        """Return the job as it lies in Redis now.

        Raises:
            JobNotFound: it was removed.
        """
        view = self.queue.get_job(self.id)
        if view is None:
            raise JobNotFound(self.id)
        return Job.of(self.queue, view, self.token)

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


def _decoded(text: str) -> Any:
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
