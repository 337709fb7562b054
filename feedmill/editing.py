"""What moves or removes jobs without running them."""

from feedmill.base import QueueBase
from shared.queue import JobState, RemoveOutcome, editing


class Editing(QueueBase):
    """The part of a queue that moves and removes jobs."""

    def pause(self) -> None:
        """Let workers everywhere find nothing until :meth:`resume`; running jobs go on."""
        self.core.pause()

    def resume(self) -> None:
        """End a pause."""
        self.core.resume()

    def promote_jobs(self, *, count: int = 1000) -> int:
        """Put all delayed jobs at the back of the line, ``count`` a step; return how many.

        Their priorities do not count then, as in BullMQ.
        """
        return editing.line_up(self.core, JobState.DELAYED, batch=count)

    def retry_jobs(
        self, *, state: str = "failed", count: int = 1000, timestamp: int | None = None
    ) -> int:
        """Put all failed, or all completed, jobs at the back of the line; return how many.

        Those that ended after ``timestamp`` (ms), by default after this call began, stay. ``count``
        a step. Their priorities do not count, as in BullMQ; their attempts go on counting.

        Raises:
            InvalidJobOptions: another state.
        """
        ended = editing.check_finished(state)
        return editing.line_up(self.core, ended, newest_ms=timestamp, batch=count)

    def drain(self, *, delayed: bool = False) -> int:
        """Delete all jobs that wait, and delayed ones if asked; return how many.

        The next job of a scheduler stays. A parent in this queue whose children are all gone goes
        too. Done in steps of 1000; jobs that are added meanwhile may go too.
        """
        return editing.drain(self.core, with_delayed=delayed)

    def obliterate(self, *, force: bool = False, count: int = 1000) -> None:
        """Pause the queue and delete all that it holds, ``count`` jobs a step.

        Raises:
            QueueError: jobs are active, and ``force`` was not given; the queue stays paused.
        """
        editing.obliterate(self.core, is_forced=force, batch=count)

    def remove(self, job_id: str) -> bool:
        """Remove a job in any state; False while a worker holds it. One that is not there is True.

        Its own children stay where they are.
        """
        return self.core.remove_many([job_id]) != [RemoveOutcome.LOCKED]
