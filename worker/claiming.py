"""Claim and decode: from a queue to items that can be stored, and jobs that cannot."""

from collections import defaultdict, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from shared.errors import ItemError, QueueError, UnreadableDocument
from shared.logs import get_logger
from shared.queue import (
    BlockedBy,
    Claim,
    ClaimedJob,
    HeldLocks,
    JobQueue,
    Lock,
    RateLimit,
)
from shared.store import SourceStore
from worker.dead_letters import letter_of_job
from worker.decoding import DecodedItem, decode_data, decode_item
from worker.observing import WorkerMetrics
from worker.settling import RecordDeadLetter, log_started

log = get_logger("worker.claiming")

# One script call stays within a few milliseconds.
MAX_CLAIM_JOBS = 500
MAX_CLAIM_BYTES = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class ClaimLimits:
    """How long a claim locks, how large an item and a claim may be, how many a window.

    ``rate_limit`` holds where the queue has none of its own, as after a loss of Redis.
    """

    lock_ms: int
    max_item_bytes: int
    rate_limit: RateLimit | None
    claim_bytes: int = MAX_CLAIM_BYTES


@dataclass(frozen=True, slots=True)
class Taken:
    """What one claim brought: items to store, jobs that cannot be read, and why not more."""

    items: Sequence[DecodedItem] = ()
    failed: Sequence[RecordDeadLetter] = ()
    has_solo: bool = False
    blocked_by: BlockedBy | None = None
    retry_in_ms: int | None = None


@dataclass(frozen=True, slots=True)
class _ReadJob:
    job: ClaimedJob
    data: dict[str, Any]


class Claimer:
    """Claims jobs and decodes them; the locks of all of them are held when it returns."""

    def __init__(
        self,
        *,
        held: HeldLocks,
        sources: SourceStore,
        limits: ClaimLimits,
        metrics: WorkerMetrics,
        limit_sources: Callable[[JobQueue], None] | None = None,
    ) -> None:
        self._held = held
        self._sources = sources
        self._limits = limits
        self._metrics = metrics
        self._write_source_limit = limit_sources
        # By queue: the token of a claim whose answer did not come.
        self._unanswered: dict[str, str] = {}
        self._limited: set[str] = set()
        # Claimed, not taken because of an error, and not handed back yet.
        self._unread: deque[tuple[JobQueue, list[Lock]]] = deque()

    def is_answered(self, queue: JobQueue) -> bool:
        """Return whether the last claim on a queue was answered: else the next repeats it."""
        return queue.name not in self._unanswered

    def take(self, queue: JobQueue, limit: int, *, accept_solo: bool) -> Taken:
        """Claim up to ``limit`` jobs of a queue, and decode them.

        Raises:
            QueueUnavailable: whatever was claimed, the next call on this queue brings it.
            StoreUnavailable: no revision could be drawn for foreign jobs, or no limit read.

        After any error what was claimed is handed back, at the latest by :meth:`release_unread`;
        until then its locks are held, so that they do not run out.
        """
        claim = self._claim(queue, min(limit, MAX_CLAIM_JOBS), accept_solo=accept_solo)
        self._held.add(queue, claim.jobs)
        try:
            self._report(queue, claim.jobs)
            return self._decode(queue, claim)
        except QueueError:
            self._unread.append((queue, [job.lock for job in claim.jobs]))
            raise
        except Exception:
            self._unread.append((queue, [job.lock for job in claim.jobs]))
            self.release_unread()
            raise

    def release_unread(self) -> None:
        """Hand back what was claimed and then could not be taken, no attempt used.

        Raises:
            QueueUnavailable: call again.
        """
        while self._unread:
            queue, locks = self._unread[0]
            queue.release_many(locks)
            self._held.remove(queue, locks)
            self._unread.popleft()

    def _claim(self, queue: JobQueue, limit: int, *, accept_solo: bool) -> Claim:
        self._limit_sources(queue)
        token = self._unanswered.setdefault(queue.name, uuid4().hex)
        try:
            claim = queue.claim(
                limit=limit,
                lock_ms=self._limits.lock_ms,
                token=token,
                max_bytes=self._limits.claim_bytes,
                rate_limit=self._limits.rate_limit,
                accept_solo=accept_solo,
            )
        except QueueError:
            # What lies in Redis may be lost.
            self._limited.discard(queue.name)
            raise
        del self._unanswered[queue.name]
        return claim

    def _limit_sources(self, queue: JobQueue) -> None:
        """Write down the limit of each source, as servers do, before the first claim."""
        if self._write_source_limit is not None and queue.name not in self._limited:
            self._write_source_limit(queue)
            self._limited.add(queue.name)

    def _report(self, queue: JobQueue, jobs: Sequence[ClaimedJob]) -> None:
        log_started(queue, jobs)
        now_ms = queue.clock.now_ms()
        # Only first claims waited for nothing but their turn.
        first = [job for job in jobs if job.attempts_started == 1 and job.timestamp_ms]
        waits_s = [max(0, now_ms - job.timestamp_ms) / 1000 for job in first]
        self._metrics.note_waits(queue.name, waits_s)

    def _decode(self, queue: JobQueue, claim: Claim) -> Taken:
        """Make items of jobs; those without a revision draw one first."""
        results = [self._read(queue, job) for job in claim.jobs]
        read = [result for result in results if isinstance(result, _ReadJob)]
        failed = [result for result in results if isinstance(result, RecordDeadLetter)]
        revisions = self._revisions_of(queue, read)
        decoded = [self._decode_one(queue, one, revisions[one.job.id]) for one in read]
        return Taken(
            items=[one for one in decoded if isinstance(one, DecodedItem)],
            failed=failed + [one for one in decoded if isinstance(one, RecordDeadLetter)],
            has_solo=any(job.is_solo for job in claim.jobs),
            blocked_by=claim.blocked_by,
            retry_in_ms=claim.retry_in_ms,
        )

    def _read(self, queue: JobQueue, job: ClaimedJob) -> _ReadJob | RecordDeadLetter:
        try:
            return _ReadJob(job, decode_data(job, self._limits.max_item_bytes))
        except Exception as exc:  # noqa: BLE001 - sorted and logged in _charged; it must not be lost
            return RecordDeadLetter(job, letter_of_job(queue, job, _charged(job, exc)))

    def _decode_one(
        self, queue: JobQueue, read: _ReadJob, revision: int | ItemError | None
    ) -> DecodedItem | RecordDeadLetter | None:
        """Return an item, or why there is none; None when the job's lock is lost."""
        if revision is None:
            # Nobody would settle it: no heartbeat is to keep it either.
            self._held.remove(queue, [read.job.lock])
            return None
        if isinstance(revision, ItemError):
            return RecordDeadLetter(read.job, letter_of_job(queue, read.job, revision))
        try:
            return decode_item(queue, read.job, read.data, revision)
        except Exception as exc:  # noqa: BLE001 - as above
            letter = letter_of_job(queue, read.job, _charged(read.job, exc), revision)
            return RecordDeadLetter(read.job, letter)

    def _revisions_of(
        self, queue: JobQueue, read: Sequence[_ReadJob]
    ) -> dict[str, int | ItemError | None]:
        """Return the revision of each job by its id, drawn once for the life of a foreign one.

        None where the lock was lost before that; an error where its source has none to give.
        """
        found: dict[str, int | ItemError | None] = {one.job.id: one.job.revision for one in read}
        foreign: dict[str, list[_ReadJob]] = defaultdict(list)
        for one in read:
            if not one.job.revision:
                foreign[str(one.data["source"])].append(one)
        proposed: list[tuple[Lock, int]] = []
        for source, jobs in foreign.items():
            try:
                revisions = self._sources.draw_revisions(source, len(jobs))
            except UnreadableDocument as exc:
                # Of this source none can be stored; the others are not to wait for it.
                found |= {one.job.id: ItemError("invalid", str(exc)) for one in jobs}
            else:
                proposed += zip([one.job.lock for one in jobs], revisions, strict=True)
        stored = queue.assign_revisions(proposed) if proposed else []
        pairs = zip(proposed, stored, strict=True)
        return found | {lock.job_id: revision for (lock, _), revision in pairs}


def _charged(job: ClaimedJob, error: Exception) -> ItemError:
    """Return an error that nobody foresaw as that of the one job whose data raised it.

    Reading is pure: the same data would raise it again, for every worker that claims the job.
    """
    if isinstance(error, ItemError):
        return error
    log.error("job_unreadable", job=job.id, exc_info=error)
    reason = f"the job's data cannot be read: {type(error).__name__}: {error}"
    charged = ItemError("invalid", reason)
    charged.__cause__ = error
    return charged
