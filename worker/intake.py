"""From a queue into the hand: claim, decode, give foreign jobs a revision."""

from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import uuid4

from shared.errors import ItemError, QueueError, UnreadableDocument
from shared.logs import get_logger
from shared.queue import BlockedBy, Claim, ClaimedJob, JobQueue, Lock, RateLimit
from shared.store import SourceStore
from worker.dead_letters import letter_of_job
from worker.decoding import HeldItem, decode_data, hold_item, size_bytes
from worker.holdings import Holdings
from worker.job_log import log_started
from worker.observing import Observer, Unobserved
from worker.settlement import RecordDeadLetter

log = get_logger("worker.intake")

# One script call stays within a few milliseconds.
MAX_CLAIM_JOBS = 500
MAX_CLAIM_BYTES = 8 * 1024 * 1024


@dataclass(slots=True)
class Taken:
    """What one claim brought: items to buffer, jobs that cannot be read, and why not more."""

    items: list[HeldItem] = field(default_factory=list)
    failed: list[RecordDeadLetter] = field(default_factory=list)
    has_solo: bool = False
    blocked_by: BlockedBy | None = None
    retry_in_ms: int | None = None

    def add_failed(
        self, queue: JobQueue, job: ClaimedJob, error: ItemError, revision: int | None = None
    ) -> None:
        """Add a job that cannot be read."""
        self.failed.append(RecordDeadLetter(job, letter_of_job(queue, job, error, revision)))


@dataclass(frozen=True, slots=True)
class _Read:
    job: ClaimedJob
    data: dict[str, Any]


class Intake:
    """Claims jobs and makes items of them; all of them are in the holdings when it returns."""

    def __init__(
        self,
        *,
        holdings: Holdings,
        sources: SourceStore,
        lock_ms: int,
        max_item_bytes: int,
        rate_limit: RateLimit | None,
        observer: Observer | None = None,
    ) -> None:
        self._holdings = holdings
        self._sources = sources
        self._lock_ms = lock_ms
        self._max_item_bytes = max_item_bytes
        self._rate_limit = rate_limit
        self._observer = observer or Unobserved()
        # By queue: the token of a claim whose answer did not come.
        self._unanswered: dict[str, str] = {}
        # Claimed, not taken because of an error, and not handed back yet.
        self._unread: deque[tuple[JobQueue, list[Lock]]] = deque()

    def is_answered(self, queue: JobQueue) -> bool:
        """Tell whether the last claim on a queue was answered: else it is repeated by the next."""
        return queue.name not in self._unanswered

    def take(self, queue: JobQueue, limit: int, *, accept_solo: bool) -> Taken:
        """Claim up to ``limit`` jobs of a queue.

        Raises:
            QueueUnavailable: whatever was claimed, the next call on this queue brings it.
            StoreUnavailable: no revision could be drawn for foreign jobs.

        After any error what was claimed is handed back, at the latest by :meth:`release_unread`;
        until then it stays in the holdings, so that its locks do not run out.
        """
        claim = self._claim(queue, min(limit, MAX_CLAIM_JOBS), accept_solo=accept_solo)
        locks = [Lock(job.id, job.token) for job in claim.jobs]
        sizes_bytes = [size_bytes(job) for job in claim.jobs]
        self._holdings.add(queue, dict(zip(locks, sizes_bytes, strict=True)))
        taken = Taken(blocked_by=claim.blocked_by, retry_in_ms=claim.retry_in_ms)
        taken.has_solo = any(job.is_solo for job in claim.jobs)
        try:
            self._tell(queue, claim.jobs)
            self._hold(queue, claim.jobs, taken)
        except QueueError:
            self._unread.append((queue, locks))
            raise
        except Exception:
            self._unread.append((queue, locks))
            self.release_unread()
            raise
        return taken

    def release_unread(self) -> None:
        """Hand back what was claimed and then could not be taken, no attempt used.

        Raises:
            QueueUnavailable: call again.
        """
        while self._unread:
            queue, locks = self._unread[0]
            queue.release_many(locks)
            self._holdings.remove(queue, locks)
            self._unread.popleft()

    def _claim(self, queue: JobQueue, limit: int, *, accept_solo: bool) -> Claim:
        token = self._unanswered.setdefault(queue.name, uuid4().hex)
        claim = queue.claim(
            limit=limit,
            lock_ms=self._lock_ms,
            token=token,
            max_bytes=MAX_CLAIM_BYTES,
            rate_limit=self._rate_limit,
            accept_solo=accept_solo,
        )
        del self._unanswered[queue.name]
        return claim

    def _tell(self, queue: JobQueue, jobs: Sequence[ClaimedJob]) -> None:
        """Tell what began; only first claims waited for nothing but their turn."""
        log_started(queue, jobs)
        now_ms = queue.clock.now_ms()
        self._observer.note_waits(
            queue.name,
            [
                max(0, now_ms - job.timestamp_ms) / 1000
                for job in jobs
                if job.attempts_started == 1 and job.timestamp_ms
            ],
        )

    def _hold(self, queue: JobQueue, jobs: Sequence[ClaimedJob], taken: Taken) -> None:
        read = self._read(queue, jobs, taken)
        drawn = self._draw_revisions(queue, read, taken)
        for entry in read:
            revision = entry.job.revision or drawn.get(entry.job.id)
            if revision is None:
                # Nobody would settle it: no heartbeat is to keep it either.
                if not any(one.job is entry.job for one in taken.failed):
                    self._holdings.remove(queue, [Lock(entry.job.id, entry.job.token)])
                continue  # its lock was lost before it had a revision, or it failed by now
            try:
                with _charged_to(entry.job):
                    taken.items.append(hold_item(queue, entry.job, entry.data, revision))
            except ItemError as exc:
                taken.add_failed(queue, entry.job, exc, revision)

    def _read(self, queue: JobQueue, jobs: Sequence[ClaimedJob], taken: Taken) -> list[_Read]:
        read: list[_Read] = []
        for job in jobs:
            try:
                with _charged_to(job):
                    read.append(_Read(job, decode_data(job, self._max_item_bytes)))
            except ItemError as exc:
                taken.add_failed(queue, job, exc)
        return read

    def _draw_revisions(
        self, queue: JobQueue, read: Sequence[_Read], taken: Taken
    ) -> Mapping[str, int]:
        """Give each job that has none a revision, once for its life; answers them by job id."""
        foreign = [entry for entry in read if not entry.job.revision]
        if not foreign:
            return {}
        wanted = Counter(str(entry.data["source"]) for entry in foreign)
        fresh: dict[str, Iterator[int]] = {}
        for source, count in wanted.items():
            try:
                fresh[source] = iter(self._sources.draw_revisions(source, count))
            except UnreadableDocument as exc:
                # Of this source none can be stored; the others are not to wait for it.
                hopeless = [entry for entry in foreign if entry.data["source"] == source]
                foreign = [entry for entry in foreign if entry.data["source"] != source]
                for entry in hopeless:
                    taken.add_failed(queue, entry.job, ItemError("invalid", str(exc)))
        proposed = [
            (Lock(entry.job.id, entry.job.token), next(fresh[str(entry.data["source"])]))
            for entry in foreign
        ]
        stored = queue.assign_revisions(proposed)
        return {
            entry.job.id: revision
            for entry, revision in zip(foreign, stored, strict=True)
            if revision is not None
        }


@contextmanager
def _charged_to(job: ClaimedJob) -> Iterator[None]:
    """Turn an error that nobody foresaw into that of the one job whose data raised it.

    Reading is pure: the same data would raise it again, for every worker that claims the job.
    """
    try:
        yield
    except ItemError:
        raise
    except Exception as exc:
        log.exception("job_unreadable", job=job.id)
        reason = f"the job's data cannot be read: {type(exc).__name__}: {exc}"
        raise ItemError("invalid", reason) from exc
