"""The item queues' partitions, as QUEUE_PARTITIONS names them: their queues, and a safe start."""

from collections.abc import Sequence
from math import ceil

from shared.clock import Clock, SystemClock
from shared.dead_jobs import DEAD_JOB_NAME
from shared.errors import QueueError
from shared.models import split_item_id
from shared.queue import (
    JobQueue,
    JobState,
    PartitionedQueue,
    RedisConnection,
    RemoveOutcome,
    WorkerSigns,
    partition_prefixes,
)
from shared.queue.connection import run
from shared.queue.reading import whole_number
from shared.settings import Settings

_UNFINISHED = (
    JobState.WAITING,
    JobState.PRIORITIZED,
    JobState.DELAYED,
    JobState.WAITING_CHILDREN,
    JobState.ACTIVE,
)
_PAGE = 500
MAX_PARTITIONS = 64


def open_item_queue(
    settings: Settings, redis: RedisConnection, name: str, clock: Clock
) -> JobQueue:
    """Return an item queue or the dead-letter queue, over all partitions if there are several."""
    return _open(redis, name, settings.queue_prefix, settings.queue_partitions, clock)


def divide(settings: Settings) -> list[Settings]:
    """Return the settings of a worker's part for each partition: its prefix and its share.

    At least one batch may be in flight in each. A single partition has the settings as they are.
    """
    count = settings.queue_partitions
    if count == 1:
        return [settings]
    share = ceil(settings.worker_concurrency / count)
    return [
        settings.model_copy(update={"queue_prefix": prefix, "worker_concurrency": share})
        for prefix in partition_prefixes(settings.queue_prefix, count)
    ]


def check_partitions(redis: RedisConnection, settings: Settings) -> None:
    """Make sure that no job waits where no program of this many partitions would look for it.

    The number is remembered in Redis when it is more than one. Another one is taken over once the
    item queues are empty and no worker takes from them; dead letters are shown again from the
    record. With the number that is known this is one call.

    Raises:
        QueueError: jobs wait, or workers run, in another number of partitions; the text says what
            to do.
    """
    found, count = _find_number(redis, settings), settings.queue_partitions
    known = found or 1
    if known == count:
        return
    queues = _queues_of(redis, settings, known)
    unfinished = sum(queue.counts()[state] for queue in queues[:2] for state in _UNFINISHED)
    if unfinished:
        raise QueueError(
            f"QUEUE_PARTITIONS={count}: {unfinished} jobs wait in {_in_words(known)}: start server "
            f"and workers with QUEUE_PARTITIONS={known} until both item queues are empty, stop "
            "them all, and change it then"
        )
    if found is not None:
        # Where Redis was lost, and the number with it, workers that run may be of this very one.
        _refuse_beside_workers(redis, settings, found)
    _hide_dead_letters(queues[2])
    run(redis, "SET", _key(settings), count)


def read_partitions(redis: RedisConnection, settings: Settings) -> int:
    """Return how many partitions Redis holds, as servers and workers found at their start."""
    return _find_number(redis, settings) or 1


def _find_number(redis: RedisConnection, settings: Settings) -> int | None:
    number = whole_number(run(redis, "GET", _key(settings)))
    # Anybody may write there.
    return number if number is not None and 1 <= number <= MAX_PARTITIONS else None


def _key(settings: Settings) -> str:
    return f"{settings.queue_prefix}:own:partitions"


def _refuse_beside_workers(redis: RedisConnection, settings: Settings, known: int) -> None:
    signs = WorkerSigns(redis, prefix=settings.queue_prefix).read()
    names = {settings.light_queue, settings.heavy_queue}
    living = [sign.worker_id for sign in signs if names & set(sign.queues)]
    if living:
        raise QueueError(
            f"QUEUE_PARTITIONS={settings.queue_partitions}: {', '.join(living)} takes from "
            f"{_in_words(known)}: stop all servers and workers, then start them with one number "
            "(a worker that was killed is forgotten after 10 s)"
        )


def _hide_dead_letters(queue: JobQueue) -> None:
    """Remove the dead letters of the record: it shows them in the partitions that are now."""
    for part in queue.parts:
        offset = 0
        while jobs := part.list_jobs(JobState.WAITING, offset, _PAGE):
            outcomes = part.remove_many([job.id for job in jobs if job.name == DEAD_JOB_NAME])
            offset += len(jobs) - outcomes.count(RemoveOutcome.REMOVED)


def _queues_of(redis: RedisConnection, settings: Settings, count: int) -> Sequence[JobQueue]:
    names = (settings.light_queue, settings.heavy_queue, settings.dead_letter_queue)
    prefix, clock = settings.queue_prefix, SystemClock()
    return [_open(redis, name, prefix, count, clock) for name in names]


def _open(redis: RedisConnection, name: str, prefix: str, count: int, clock: Clock) -> JobQueue:
    parts = [
        JobQueue(redis, name, prefix=each, clock=clock)
        for each in partition_prefixes(prefix, count)
    ]
    return parts[0] if count == 1 else PartitionedQueue(parts, _source_of)


def _source_of(job_id: str) -> str:
    return split_item_id(job_id)[0]


def _in_words(count: int) -> str:
    return "the queues without partitions" if count == 1 else f"{count} partitions"
