"""What a handler does about the job that it works: progress, log, data, lock, and moving it itself.

Functions beside :class:`JobQueue`, each one script or command. All raise ``QueueUnavailable`` when
Redis cannot serve; the effect is unknown then. All are safe to repeat but :func:`append_log`.
Adding lines and data needs room in a full Redis.
"""

from shared.errors import JobNotFound, JobStateError
from shared.queue.connection import raw, run
from shared.queue.job import Lock, Postponement, SettleOutcome
from shared.queue.job_queue import JobQueue
from shared.queue.wire import to_json

_MISSING = b"missing"


def update_progress(queue: JobQueue, job_id: str, progress: object) -> None:
    """Write how far a job has come, and let everybody who listens know.

    Raises:
        JobNotFound: it was removed.
        UnencodableJob: nothing that JSON can hold.
    """
    _check(queue.run_script("update_progress", [job_id, to_json(job_id, progress)]), job_id)


def update_data(queue: JobQueue, job_id: str, data: object) -> None:
    """Let a job carry other data, also in its next attempt.

    Raises:
        JobNotFound: it was removed.
        UnencodableJob: nothing that JSON can hold.
    """
    _check(queue.run_script("update_data", [job_id, to_json(job_id, data)]), job_id)


def append_log(queue: JobQueue, job_id: str, line: str, *, keep: int | None = None) -> int:
    """Add a line to a job's log, of which the newest ``keep`` stay; return how many there are.

    Raises:
        JobNotFound: it was removed.
    """
    lines = queue.run_script("append_log", [job_id, raw(line), "" if keep is None else keep])
    _check(lines, job_id)
    return int(lines)


def clear_logs(queue: JobQueue, job_id: str, *, keep: int = 0) -> None:
    """Forget what a job's handlers logged, but for the newest ``keep`` lines."""
    key = raw(queue.keys.logs(job_id))
    if keep > 0:
        run(queue.client, "LTRIM", key, -keep, -1)
    else:
        run(queue.client, "DEL", key)


def extend_lock(queue: JobQueue, lock: Lock, lock_ms: int) -> bool:
    """Let a lock last ``lock_ms`` from now; False if it was lost."""
    return not queue.extend_many([lock], lock_ms=lock_ms)


def move_to_delayed(queue: JobQueue, lock: Lock, due_ms: int) -> None:
    """Put a claimed job back until the clock says ``due_ms``; no attempt is counted.

    Raises:
        JobStateError: its lock was lost.
    """
    delay_ms = max(due_ms - queue.clock.now_ms(), 0)
    postponement = Postponement(lock.job_id, lock.token, delay_ms)
    _check_settled(queue.postpone_many([postponement])[0], lock.job_id)


def move_to_wait(queue: JobQueue, lock: Lock) -> None:
    """Put a claimed job back to the front of the line; no attempt is counted.

    Raises:
        JobStateError: its lock was lost.
    """
    _check_settled(queue.release_many([lock])[0], lock.job_id)


def _check(answer: object, job_id: str) -> None:
    if answer == _MISSING:
        raise JobNotFound(job_id)


def _check_settled(outcome: SettleOutcome, job_id: str) -> None:
    if outcome is SettleOutcome.LOCK_LOST:
        raise JobStateError(job_id, "its lock was lost, so that it cannot be moved")
