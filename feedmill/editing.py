"""What moves or removes jobs without running them."""

from collections.abc import Sequence

from feedmill.base import QueueBase
from shared.queue import JobState, dead_letters, editing
from shared.queue.events import trim_events


class Editing(QueueBase):
    """The part of a queue that moves and removes jobs."""

    def pause(self) -> None:
        """Let workers everywhere find nothing until :meth:`resume`; running jobs go on."""
        self.core.pause()

    def resume(self) -> None:
        """End a pause."""
        self.core.resume()

    def promote_jobs(self, *, count: int = 500) -> int:
        """Put all delayed jobs at the back of the line; return how many.

        ``count`` a step, 500 at most. Their priorities do not count then, as in BullMQ.
        """
        return editing.line_up(self.core, JobState.DELAYED, batch=count)

    def retry_jobs(
        self, *, state: str = "failed", count: int = 500, timestamp: int | None = None
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
        too. Done in steps of 500; jobs that are added meanwhile may go too.
        """
        return editing.drain(self.core, with_delayed=delayed)

    def obliterate(self, *, force: bool = False, count: int = 500) -> None:
        """Pause the queue and delete all that it holds, ``count`` jobs a step.

        Raises:
            QueueError: jobs are active, and ``force`` was not given; the queue stays paused.
        """
        editing.obliterate(self.core, is_forced=force, batch=count)

    def clean(self, grace: int, limit: int, state: str = "completed") -> list[str]:
        """Delete jobs of a state that are older than ``grace`` ms; return their ids, oldest first.

        ``limit`` of them at most, 0 for all. Finished jobs are as old as their end, others as their
        last start or, without one, as their making. Locked jobs stay, and a scheduler's next one.

        Raises:
            InvalidJobOptions: no such state, or ``waiting-children``.
        """
        cleanable = editing.check_cleanable(state)
        return editing.clean(self.core, cleanable, grace_ms=grace, limit=limit)

    def remove(self, job_id: str, *, remove_children: bool = True) -> bool:
        """Remove a job in any state, and its children in whatever queue, and theirs.

        False, and nothing changed, while a worker holds it or one below it. One that is not there
        is True.

        Raises:
            JobStateError: it is the next job of a scheduler.
        """
        return editing.remove_tree(self.core, job_id, with_children=remove_children)

    def trim_events(self, max_length: int) -> int:
        """Forget the oldest events but for about ``max_length``, rather more; return how many.

        Every writer keeps the stream at about 10,000 by itself.
        """
        return trim_events(self.core, max_length)

    def remove_deduplication_key(self, deduplication_id: str) -> bool:
        """Let a job with this deduplication id be added though another owns it.

        False if none does. The owner itself stays.
        """
        return editing.free_deduplication_id(self.core, deduplication_id)

    def replay(self, ids: Sequence[str] | None = None, *, reason: str | None = None) -> int:
        """Put jobs back into the queues that they came from, as if just added; return how many.

        For a queue that is the ``dead_letter`` of others. A dead letter is a job that waits there,
        its id that of the job's queue and its own, ``emails/17``. Its data is a mapping: ``queue``,
        ``job_id``, ``name``, ``data`` and ``opts`` of the job, ``reason``, ``attempts`` (runs made)
        and ``failed_at`` (RFC 3339).

        The dead letters with these ids, or all that wait, oldest first; of them those whose reason
        holds the text ``reason``. Their attempts begin anew; a delay, a parent and a schedule are
        left behind. A dead letter stays while a worker has it, and where its job's id is taken in
        its queue. What is no dead letter is left alone.

        Each job moves in one step: it is in one of the two queues at every moment, also if Redis or
        this program is lost midway. Safe to repeat.

        Raises:
            QueueFull: Redis has no room; what was not moved is still here.
        """
        return dead_letters.replay(self.core, ids, reason=reason)
