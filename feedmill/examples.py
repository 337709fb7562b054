"""A job for the tests of a handler, where no Redis is."""

from dataclasses import dataclass, field
from typing import TypeVar

from feedmill.jobs import Job

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class ExampleJob(Job[T]):
    """A job that is in no queue: what its handler reports of it is kept in lists.

    ``progresses`` are the values of ``progress``, ``logged`` the lines of ``log``, ``updates`` what
    ``update_data`` was given. All else that a job can do needs Redis, and fails.
    """

    progresses: list[object] = field(default_factory=list)
    logged: list[str] = field(default_factory=list)
    updates: list[object] = field(default_factory=list)

    def progress(self, value: object) -> None:
        """Keep how far the job has come."""
        self.progresses.append(value)

    def log(self, line: str) -> int:
        """Keep a line and return how many there are."""
        self.logged.append(line)
        return len(self.logged)

    def update_data(self, data: object) -> None:
        """Keep other data."""
        self.updates.append(data)

    def extend_lock(self, duration: int) -> bool:
        """Return that the lock holds."""
        return True
