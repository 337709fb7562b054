"""How the jobs of a batch are to end: decided, and not done yet. A value, without any store."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from shared.errors import ItemError
from shared.queue import ClaimedJob, JobQueue, Lock
from shared.store import DeadLetter, Rank
from worker.decisions import Outcome


@dataclass(frozen=True, slots=True)
class Complete:
    """The item is stored, or needs no write.

    ``clears``: item id and rank up to which its dead letters are taken back, if it has any.
    """

    job: ClaimedJob
    outcome: Outcome
    clears: tuple[str, Rank] | None = None


@dataclass(frozen=True, slots=True)
class RetryLater:
    """The item failed by its own fault and has attempts left."""

    job: ClaimedJob
    error: ItemError


@dataclass(frozen=True, slots=True)
class RecordDeadLetter:
    """The item cannot be stored: to be recorded in MongoDB, then moved."""

    job: ClaimedJob
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class MoveDeadLetter:
    """The dead letter is on record: only the move to the dead-letter queue is left."""

    job: ClaimedJob
    letter: DeadLetter


@dataclass(frozen=True, slots=True)
class Release:
    """Handed back to the front of the line, no attempt used."""

    job: ClaimedJob


JobEnd: TypeAlias = Complete | RetryLater | RecordDeadLetter | MoveDeadLetter | Release


@dataclass(slots=True)
class FlushReport:
    """How the jobs of a batch ended: counts by outcome, and those that were not ended here."""

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    retried: int = 0
    released: int = 0
    lock_lost: int = 0


@dataclass(slots=True)
class Settlement:
    """What is left to be done for jobs of one queue; shrinks while it is carried out.

    Repeating it after a failure does only what is left. ``report`` counts what was done.
    """

    queue: JobQueue
    ends: list[JobEnd]
    report: FlushReport = field(default_factory=FlushReport)

    @property
    def locks(self) -> list[Lock]:
        """The locks of the jobs that are not settled yet."""
        return [lock_of(end.job) for end in self.ends]

    def keep(self, is_kept: Callable[[Lock], bool]) -> None:
        """Drop the jobs whose lock is not kept."""
        self.ends = [end for end in self.ends if is_kept(lock_of(end.job))]

    def replace(self, done: Sequence[JobEnd], instead: Sequence[JobEnd] = ()) -> None:
        """Take out what is done; ``instead`` is what that leaves to do."""
        gone = {id(end) for end in done}
        self.ends = [*(end for end in self.ends if id(end) not in gone), *instead]

    def halves(self) -> "list[Settlement]":
        """Return it in two parts that count into the same report; one job stays whole."""
        if len(self.ends) < 2:
            return [self]
        middle = len(self.ends) // 2
        parts = (self.ends[:middle], self.ends[middle:])
        return [Settlement(self.queue, part, self.report) for part in parts]

    def release_all(self) -> None:
        """Do nothing any more but hand the jobs back."""
        self.ends = [Release(end.job) for end in self.ends]


def lock_of(job: ClaimedJob) -> Lock:
    """Return the right to settle a job."""
    return Lock(job.id, job.token)
