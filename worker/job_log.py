"""What happens to single jobs, at DEBUG; at other levels a batch costs one look at the level."""

import logging
from collections.abc import Iterable, Sequence

from shared.logs import get_logger
from shared.queue import ClaimedJob, JobQueue, SettleOutcome

_NAME = "worker.jobs"
log = get_logger(_NAME)


def log_started(queue: JobQueue, jobs: Sequence[ClaimedJob]) -> None:
    """Tell of each job that was claimed."""
    if _is_on():
        for job in jobs:
            log.debug("job_started", **_about(queue, job))


def log_settled(
    event: str,
    queue: JobQueue,
    ends: Iterable[tuple[ClaimedJob, str]],
    outcomes: Sequence[SettleOutcome],
) -> None:
    """Tell how each job ended: ``job_succeeded``, ``job_failed``, or that its lock was lost.

    ``ends`` names with each job its outcome or what went wrong, in the order of ``outcomes``; it is
    read only when somebody listens.
    """
    if not _is_on():
        return
    for (job, detail), outcome in zip(ends, outcomes, strict=True):
        is_ours = outcome is SettleOutcome.SETTLED
        log.debug(event if is_ours else "job_lock_lost", **_about(queue, job), detail=detail)


def _is_on() -> bool:
    return logging.getLogger(_NAME).isEnabledFor(logging.DEBUG)


def _about(queue: JobQueue, job: ClaimedJob) -> dict[str, object]:
    return {
        "queue": queue.name,
        "job": job.id,
        "import_id": job.tally,
        "attempt": job.attempts_made + 1,
    }
