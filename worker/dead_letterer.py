"""Takes jobs to their end: on record in MongoDB first, then in the dead-letter queue."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from shared.clock import Clock
from shared.dead_jobs import dead_job, encodable, readable_data
from shared.errors import ItemError
from shared.models import (
    content_hash,
    is_source,
    make_guid,
    make_item_id,
    split_item_id,
)
from shared.queue import ClaimedJob, JobQueue, SettleOutcome
from shared.queue import Death as JobDeath
from shared.store.dead_letters import DeadLetterStore
from shared.store.ends import Death, DeathKind
from shared.store.ranks import Rank, get_reader
from worker.decisions import Outcome
from worker.job_log import log_settled

UNKNOWN_SOURCE = "unknown"


@dataclass(frozen=True, slots=True)
class DyingJob:
    """A job whose item cannot be stored, and what is known of the item."""

    queue: JobQueue
    job: ClaimedJob
    source: str
    guid: str
    revision: int
    import_id: str | None
    content_hash: str
    error: ItemError
    read_by: str | None = None

    @property
    def rank(self) -> Rank:
        """The rank of the item's content."""
        return Rank(self.read_by is None, self.revision)

    @property
    def item_id(self) -> str:
        """The id of the item, under which its dead letter is kept."""
        return make_item_id(self.source, self.guid)


def dying_unread(queue: JobQueue, job: ClaimedJob, error: ItemError) -> DyingJob:
    """Describe a job that is not to be run, from its data, or from its id if that is unreadable."""
    data = readable_data(job.raw_data)
    if not isinstance(data, dict):
        data = {}
    source, guid = data.get("source"), data.get("guid")
    if not (isinstance(source, str) and is_source(source) and isinstance(guid, str) and guid):
        source, guid = split_item_id(job.id)
        if not is_source(source) or not guid:
            source, guid = UNKNOWN_SOURCE, job.id
    return DyingJob(
        queue=queue,
        job=job,
        source=source,
        guid=make_guid(guid),
        revision=job.revision or 0,
        import_id=job.tally,
        content_hash=_hash_of(data, job.raw_data),
        error=error,
        read_by=get_reader(data),
    )


class DeadLetterer:
    """Moves jobs to the dead-letter queue. Safe for threads and safe to repeat."""

    def __init__(self, letters: DeadLetterStore, dead_letter_queue: JobQueue, clock: Clock) -> None:
        self._letters = letters
        self._dead_letter_queue = dead_letter_queue
        self._clock = clock

    def record(self, dying: Sequence[DyingJob]) -> None:
        """Put dead letters on record; their jobs may be moved after it.

        Raises:
            StoreUnavailable: nothing is known of any; call again.
        """
        # Of two jobs of one item the higher rank goes on top, whichever comes first.
        by_item = {entry.item_id: entry for entry in sorted(dying, key=lambda one: one.rank)}
        self._letters.record_many([self._death(entry) for entry in by_item.values()])

    def move(self, queue: JobQueue, dying: Sequence[DyingJob]) -> list[SettleOutcome]:
        """Move jobs whose dead letters are on record.

        Raises:
            QueueUnavailable: some may not be moved; call again.
        """
        outcomes = queue.dead_letter_many(
            [self._job_death(entry) for entry in dying], self._dead_letter_queue
        )
        ends = ((entry.job, str(entry.error)) for entry in dying)
        log_settled("job_failed", queue, ends, outcomes)
        return outcomes

    def _death(self, entry: DyingJob) -> Death:
        return Death(
            item_id=entry.item_id,
            queue=entry.queue.name,
            source=entry.source,
            guid=entry.guid,
            revision=entry.revision,
            import_id=entry.import_id,
            content_hash=entry.content_hash,
            kind=DeathKind.DEAD,
            reason=str(entry.error),
            error_type=entry.error.error_type,
            attempts=entry.job.attempts_made + 1,
            failed_at=self._clock.now(),
            data=encodable(entry.job.raw_data),
            read_by=entry.read_by,
        )

    def _job_death(self, entry: DyingJob) -> JobDeath:
        dead = dead_job(
            item_id=entry.item_id,
            queue=entry.queue.name,
            job_id=entry.job.id,
            raw_data=entry.job.raw_data,
            reason=str(entry.error),
            error_type=entry.error.error_type,
            attempts=entry.job.attempts_made + 1,
            failed_at=self._clock.now(),
            revision=entry.revision,
        )
        return JobDeath(
            job_id=entry.job.id,
            token=entry.job.token,
            reason=str(entry.error),
            stacktrace="",
            dead=dead,
            tally_field=Outcome.DEAD,
        )


def _hash_of(data: Mapping[str, Any], raw_data: str) -> str:
    """Return the content's hash, by which the next import knows it again, if it has one."""
    try:
        return content_hash(data)
    except (ItemError, TypeError, AttributeError):
        return "raw:" + hashlib.sha256(encodable(raw_data).encode()).hexdigest()
