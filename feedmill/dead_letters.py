"""A queue as the place of dead letters: jobs of other queues that have failed for good."""

from collections.abc import Sequence

from feedmill.base import QueueBase
from shared.queue import dead_letters


class DeadLetters(QueueBase):
    """The part of a queue that takes dead letters, see the ``dead_letter`` of a ``Worker``.

    A dead letter is a job that waits there, its id that of the job's queue and its own:
    ``emails/17``. Its data is a mapping: ``queue``, ``job_id``, ``name``, ``data`` and ``opts`` of
    the job, ``reason``, ``attempts`` (runs made) and ``failed_at`` (RFC 3339). The queue may have
    a worker of its own, to tell somebody.
    """

    def replay(self, ids: Sequence[str] | None = None, *, reason: str | None = None) -> int:
        """Put jobs back into the queues that they came from, as if just added; return how many.

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
