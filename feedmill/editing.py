"""What moves or removes jobs without running them."""

from feedmill.base import QueueBase
from shared.queue import RemoveOutcome


class Editing(QueueBase):
    """The part of a queue that moves and removes jobs."""

    def pause(self) -> None:
        """Let workers everywhere find nothing until :meth:`resume`; running jobs go on."""
        self.core.pause()

    def resume(self) -> None:
        """End a pause."""
        self.core.resume()

    def remove(self, job_id: str) -> bool:
        """Remove a job in any state; False while a worker holds it. One that is not there is True.

        Its own children stay where they are.
        """
        return self.core.remove_many([job_id]) != [RemoveOutcome.LOCKED]
