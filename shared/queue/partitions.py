"""A queue whose jobs are spread over partitions: queues of one name under several prefixes.

Each prefix has its own hash tag, so a Cluster may hold each partition on another node. A partition
is a plain queue to whoever works it, and to Node.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar
from zlib import crc32

from shared.errors import QueueError
from shared.queue.inspection import QueueReader, sort_page
from shared.queue.job import (
    AddOutcome,
    JobState,
    JobView,
    Lock,
    Locking,
    NewJob,
    RateLimit,
    RemoveOutcome,
    SettleOutcome,
)
from shared.queue.job_queue import JobQueue

Answer = TypeVar("Answer")

# What became of a job that is in one partition only: what the others say of it tells nothing.
_REMOVALS = (RemoveOutcome.LOCKED, RemoveOutcome.REMOVED)


def partition_of(key: str, count: int) -> int:
    """Return which of ``count`` partitions holds the jobs of a key; the same in every program."""
    return crc32(key.encode("utf-8", "surrogatepass")) % count


def partition_prefixes(prefix: str, count: int) -> list[str]:
    """Return the prefix of each partition, as ``{bull:0}``; of a single one the prefix itself.

    The number goes into the hash tag that the prefix has, or else all of it becomes one.
    """
    if count == 1:
        return [prefix]
    head, is_open, rest = prefix.partition("{")
    tag, is_closed, tail = rest.partition("}")
    if not (is_open and is_closed and tag):
        head, tag, tail = "", prefix.replace("{", "").replace("}", ""), ""
    return [f"{head}{{{tag}:{number}}}{tail}" for number in range(count)]


class PartitionedQueue(JobQueue):
    """The partitions of a queue as one: what adds to it, looks at it and clears it up.

    A new job goes to the partition of its key, so that the jobs of a key stay in order. What asks
    for jobs by their ids asks all partitions: others may have added where they liked. Each call is
    atomic in a partition, not over several; all are safe to repeat. Claiming and settling is done
    in each partition: here they are refused.
    """

    def __init__(self, parts: Sequence[JobQueue], key_of: Callable[[str], str]) -> None:
        first = parts[0]
        super().__init__(first.client, first.name, prefix=first.prefix, clock=first.clock)
        self._parts = tuple(parts)
        self._key_of = key_of

    @property
    def parts(self) -> tuple[JobQueue, ...]:
        """The partitions, in their order."""
        return self._parts

    def add_many(self, jobs: Sequence[NewJob]) -> list[AddOutcome]:
        """Add jobs, each to the partition of its key; see :meth:`JobQueue.add_many`."""
        numbers = [partition_of(self._key_of(job.id), len(self._parts)) for job in jobs]
        answers = {}
        for number in set(numbers):
            own = [job for job, its in zip(jobs, numbers, strict=True) if its == number]
            answers[number] = iter(self._parts[number].add_many(own))
        return [next(answers[number]) for number in numbers]

    def counts(self) -> dict[JobState, int]:
        """Return how many jobs are in each state, in all partitions together."""
        found: Counter[JobState] = Counter(dict.fromkeys(self.states, 0))
        for part in self._parts:
            found.update(part.counts())
        return dict(found)

    def is_paused(self) -> bool:
        """Return whether somebody paused one of the partitions."""
        return any(part.is_paused() for part in self._parts)

    def get_jobs(self, job_ids: Sequence[str]) -> list[JobView | None]:
        """Return jobs in the order asked for; see :meth:`JobQueue.get_jobs`."""
        return _first_found(part.get_jobs(job_ids) for part in self._parts)

    def list_jobs(self, state: JobState, offset: int, limit: int) -> list[JobView]:
        """Return up to ``limit`` jobs of a state, the partitions taken in turn.

        What is returned is in the order of :meth:`JobQueue.list_jobs`; from one call to the next
        that holds for each partition only. Whoever removes what is listed asks each of ``parts``:
        which jobs an offset passes over depends on how many each has.
        """
        sizes = [part.counts()[state] for part in self._parts]
        starts, ends = _take_in_turn(sizes, offset), _take_in_turn(sizes, offset + limit)
        found: list[JobView] = []
        for part, start, end in zip(self._parts, starts, ends, strict=True):
            if end > start:
                found += part.list_jobs(state, start, end - start)
        return sort_page(state, found)

    def jobs_to_clean(self, state: JobState, grace_ms: int, limit: int) -> list[JobView]:
        """Return up to ``limit`` jobs of a state that are older than ``grace_ms``."""
        found: list[JobView] = []
        for part in self._parts:
            found += part.jobs_to_clean(state, grace_ms, limit - len(found))
        return found

    def read_tallies(self, names: Sequence[str]) -> list[dict[str, int]]:
        """Return the live counters of each name, those of all partitions added up."""
        found = [Counter[str]() for _ in names]
        for part in self._parts:
            for sums, tally in zip(found, part.read_tallies(names), strict=True):
                sums.update(tally)
        return [dict(sums) for sums in found]

    def read_totals(self) -> dict[str, int]:
        """Return what has ended in all partitions together."""
        totals = [part.read_totals() for part in self._parts]
        return {name: sum(each[name] for each in totals) for name in totals[0]}

    def read_incarnation(self) -> str | None:
        """Return the marks of all partitions; None when one has none, as after its loss."""
        return join_incarnations(self._parts)

    def create_incarnation(self, value: str) -> str:
        """Mark the content of each partition that is not marked; return the marks of all."""
        return ",".join([part.create_incarnation(value) for part in self._parts])

    def remove_many(self, job_ids: Sequence[str]) -> list[RemoveOutcome]:
        """Remove jobs from any state; locked ones stay."""
        return _outcomes([part.remove_many(job_ids) for part in self._parts])

    def remove_locked(
        self, job_ids: Sequence[str], *, token: str, tally_field: str = "", tells_each: bool = True
    ) -> list[RemoveOutcome]:
        """Remove jobs that ``token`` locks; see :meth:`JobQueue.remove_locked`."""
        removals = [
            part.remove_locked(job_ids, token=token, tally_field=tally_field, tells_each=tells_each)
            for part in self._parts
        ]
        return _outcomes(removals)

    def lock_many(
        self, job_ids: Sequence[str], *, token: str, lock_ms: int, state: JobState | None = None
    ) -> Locking:
        """Lock jobs by their ids; see :meth:`JobQueue.lock_many`."""
        locking = Locking([], [])
        for part in self._parts:
            one = part.lock_many(job_ids, token=token, lock_ms=lock_ms, state=state)
            locking.jobs.extend(one.jobs)
            locking.held_ids.extend(one.held_ids)
        return locking

    def release_many(self, locks: Sequence[Lock]) -> list[SettleOutcome]:
        """Hand locked jobs back to the front of their partition's line."""
        released = [
            [None if outcome is SettleOutcome.LOCK_LOST else outcome for outcome in outcomes]
            for outcomes in (part.release_many(locks) for part in self._parts)
        ]
        return [outcome or SettleOutcome.LOCK_LOST for outcome in _first_found(released)]

    def assign_revisions(self, drawn: Sequence[tuple[Lock, int]]) -> list[int | None]:
        """Store a revision in each locked job that has none; return the stored ones."""
        return _first_found(part.assign_revisions(drawn) for part in self._parts)

    def clean_ids(self, state: JobState, job_ids: Sequence[str]) -> list[str]:
        """Remove those of the jobs that are still in ``state`` and unlocked; return their ids."""
        return [each for part in self._parts for each in part.clean_ids(state, job_ids)]

    def pause(self) -> None:
        """Let claims find nothing in any partition until :meth:`resume`."""
        for part in self._parts:
            part.pause()

    def resume(self) -> None:
        """End the pause of all partitions."""
        for part in self._parts:
            part.resume()

    def set_rate_limit(self, rate_limit: RateLimit | None) -> None:
        """Give each partition this limit, or lift it."""
        for part in self._parts:
            part.set_rate_limit(rate_limit)

    def delete_tallies(self, names: Sequence[str]) -> None:
        """Forget live counters."""
        for part in self._parts:
            part.delete_tallies(names)

    def drain_all(self) -> None:
        """Delete every key of all partitions of the queue."""
        for part in self._parts:
            part.drain_all()

    def run_script(
        self, script: str, arguments: Sequence[str | int | bytes], bases: tuple[str, ...] = ()
    ) -> object:
        """Refuse: what is not done for all partitions above is done in each of them.

        Raises:
            QueueError: always.
        """
        raise QueueError(f"queue {self.name!r} has partitions: call {script!r} on one of `parts`")


def holder_of(queue: JobQueue, job_id: str) -> JobQueue:
    """Return the partition that holds a job; the queue itself where it has no partitions."""
    if len(queue.parts) == 1:
        return queue
    return next((part for part in queue.parts if part.get_job(job_id) is not None), queue)


def join_incarnations(parts: Sequence[QueueReader]) -> str | None:
    """Return the marks of the parts of a queue as one; None when one of them has none."""
    marks = [part.read_incarnation() for part in parts]
    return None if None in marks else ",".join(filter(None, marks))


def _take_in_turn(sizes: Sequence[int], count: int) -> list[int]:
    """Return how many of each part are among the first ``count``, one of each after the other."""
    taken = [0] * len(sizes)
    while open_parts := [at for at, size in enumerate(sizes) if taken[at] < size]:
        rounds = min(count // len(open_parts), min(sizes[at] - taken[at] for at in open_parts))
        if rounds == 0:
            for at in open_parts[:count]:
                taken[at] += 1
            break
        for at in open_parts:
            taken[at] += rounds
        count -= rounds * len(open_parts)
    return taken


def _first_found(answers: Iterable[Sequence[Answer | None]]) -> list[Answer | None]:
    """Return for each job what the first partition says that knows it."""
    rows = zip(*answers, strict=True)
    return [next((one for one in row if one is not None), None) for row in rows]


def _outcomes(answers: Sequence[Sequence[RemoveOutcome]]) -> list[RemoveOutcome]:
    rows = zip(*answers, strict=True)
    return [
        next((known for known in _REMOVALS if known in row), RemoveOutcome.MISSING) for row in rows
    ]
