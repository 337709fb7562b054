"""Programs' own queues as Redis alone tells of them, where no service runs and none is wanted."""

from collections.abc import Sequence
from typing import Any

from shared.clock import SystemClock
from shared.errors import NotFoundError
from shared.queue import (
    JobQueue,
    JobState,
    QueueSample,
    WorkerSign,
    WorkerSigns,
    disconnect,
    find_workers,
    sample_queues,
)
from shared.queue.registry import DEAD_LETTERS, QueueRecord, QueueRegistry
from shared.settings import Settings
from shared.startup import connect_redis


def read_own_queues(settings: Settings, name: str | None = None) -> list[dict[str, Any]]:
    """Return the queues that workers have written down, or one, as the API shows them.

    Raises:
        NotFoundError: there is none of this name.
        QueueError: Redis cannot be asked.
    """
    prefix, clock = settings.queue_prefix, SystemClock()
    redis = connect_redis(settings.named_redis(), settings)
    try:
        records = QueueRegistry(redis, prefix=prefix, clock=clock).read()
        shown = [record for record in records if name in (None, record.name)]
        if name is not None and not shown:
            raise NotFoundError(f"no worker has registered a queue {name[:80]!r}")
        queues = [JobQueue(redis, each.name, prefix=prefix, clock=clock) for each in shown]
        signs = WorkerSigns(redis, prefix=prefix).read()
        pairs = zip(shown, sample_queues(queues), strict=True)
        return [_show(record, sample, signs) for record, sample in pairs]
    finally:
        disconnect(redis)


def _show(record: QueueRecord, sample: QueueSample, signs: Sequence[WorkerSign]) -> dict[str, Any]:
    limit = record.limit
    kind, text = _find_limit(record, sample, len(find_workers(signs, record.name)))
    return {
        "name": record.name,
        "weight": record.weight,
        "is_paused": sample.is_paused,
        "counts": {str(state): count for state, count in sample.counts.items()},
        "totals": dict(sample.totals),
        "rate_per_s": None,
        "oldest_waiting_ms": sample.oldest_waiting_ms,
        "rate_limit": limit and {"max_jobs": limit.max_jobs, "duration_ms": limit.duration_ms},
        "limited_by": kind,
        "limited_by_text": text,
    }


def _find_limit(record: QueueRecord, sample: QueueSample, workers: int) -> tuple[str | None, str]:
    active = sample.counts[JobState.ACTIVE]
    waiting = sample.counts[JobState.WAITING] + sample.counts[JobState.PRIORITIZED]
    if sample.is_paused:
        return "paused", "paused by an operator"
    if not waiting + active:
        return None, "nothing waits"
    if record.weight == DEAD_LETTERS:
        return None, "dead letters wait for a replay"
    if not workers:
        return "no_worker", "no worker takes its jobs"
    return "workers", f"{workers} worker{'' if workers == 1 else 's'}, {active} in flight"
