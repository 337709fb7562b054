"""What a handler does about its job while it runs."""

from collections.abc import Callable
from typing import Any

from pydantic import BaseModel

from shared.errors import JobStateError
from shared.queue import JobQueue, Lock, handling
from shared.queue.flows import wait_for_children
from shared.queue.reading import whole_number

OnProgress = Callable[[Any, object], None]


class Running:
    """The part of a job for its handler; what the job was read with does not change by it.

    Progress, log and data may be written by anybody; what moves the job or holds it, by its handler
    alone.
    """

    __slots__ = ()
    queue: JobQueue
    id: str
    opts: dict[str, object]
    token: str | None
    on_progress: OnProgress | None

    def progress(self, value: object) -> None:
        """Write how far the job has come, a number or anything JSON can hold, and report it.

        Raises:
            JobNotFound: it was removed.
            UnencodableJob: JSON cannot hold it.
        """
        handling.update_progress(self.queue, self.id, value)
        if self.on_progress is not None:
            self.on_progress(self, value)

    def log(self, line: str) -> int:
        """Add a line to the job's log and return how many there are, ``keep_logs`` at most.

        Raises:
            JobNotFound: it was removed.
            TypeError: it is no text.
        """
        if not isinstance(line, str):
            raise TypeError(f"a line of a job's log is a text, not {line!r:.80}")
        return handling.append_log(self.queue, self.id, line, keep=_keep_logs(self.opts))

    def clear_logs(self, keep_logs: int = 0) -> None:
        """Forget the job's log, but for its newest lines."""
        handling.clear_logs(self.queue, self.id, keep=keep_logs)

    def update_data(self, data: object) -> None:
        """Let the job carry other data, also in its next attempt; a pydantic model may be given.

        Raises:
            JobNotFound: it was removed.
            UnencodableJob: JSON cannot hold it.
        """
        if isinstance(data, BaseModel):
            data = data.model_dump(mode="json", by_alias=True)
        handling.update_data(self.queue, self.id, data)

    def extend_lock(self, duration: int) -> bool:
        """Let the job's lock last ``duration`` ms from now; False if it was lost.

        A worker that was started does so by itself while the handler runs.

        Raises:
            JobStateError: not called in its handler.
        """
        return handling.extend_lock(self.queue, self._lock(), duration)

    def move_to_delayed(self, timestamp: int) -> None:
        """Put the job back until ``timestamp``, ms since 1970; then raise ``DelayedError``.

        No attempt is counted.

        Raises:
            JobStateError: not called in its handler, or its lock was lost.
        """
        handling.move_to_delayed(self.queue, self._lock(), timestamp)

    def move_to_wait(self) -> None:
        """Put the job back to the front of the line; then raise ``WaitingError``.

        No attempt is counted.

        Raises:
            JobStateError: not called in its handler, or its lock was lost.
        """
        handling.move_to_wait(self.queue, self._lock())

    def move_to_waiting_children(self, child: "Running | None" = None) -> bool:
        """Let the job wait for its children, those that the handler has added, if any is open.

        True: it waits; now raise ``WaitingChildrenError``. The job runs again, from the beginning
        of its handler, when the last child is done; no attempt is counted. False: no child is open,
        or not the one that the caller asks for, and the handler goes on.

        Raises:
            UnrecoverableError: a child has failed the job.
            JobNotFound: it was removed.
            JobStateError: not called in its handler, or its lock was lost.
        """
        key = None if child is None else child.queue.keys.job(child.id)
        return wait_for_children(self.queue, self.id, self._lock().token, key)

    def _lock(self) -> Lock:
        if self.token is None:
            raise JobStateError(
                self.id, "only its handler can do this, with the job that it is given"
            )
        return Lock(self.id, self.token)


def _keep_logs(opts: dict[str, object]) -> int | None:
    keep = whole_number(opts.get("kl", opts.get("keepLogs")))
    return keep if keep is not None and keep >= 0 else None
