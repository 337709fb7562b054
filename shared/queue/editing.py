"""What is done to jobs that nobody runs: moved, put back into the line, removed.

Functions beside :class:`JobQueue`, for queues of one's own. Each script is atomic; what takes many
of them says so, and jobs may come and go between two. All raise ``QueueUnavailable`` when Redis
cannot serve; the effect is unknown then, and everything is safe to repeat but
:func:`change_priority` with ``to_front``, which moves the job to the front once more.
"""

from enum import StrEnum

from shared.errors import InvalidJobOptions, JobNotFound, JobStateError, QueueError
from shared.queue.connection import raw, run, text
from shared.queue.job import JobState
from shared.queue.job_queue import JobQueue
from shared.queue.options import read_options

# So many jobs a script, so that it ends within a few milliseconds.
BATCH = 500
FINISHED = (JobState.COMPLETED, JobState.FAILED)
# A parent is waited for by its children: it is removed one by one, with them.
CLEANABLE = tuple(state for state in JobState if state is not JobState.WAITING_CHILDREN)
_HINDRANCES = {"not_paused": "it is no longer paused", "has_active": "it has active jobs"}


class _Answer(StrEnum):
    """What a script did to one job."""

    MOVED = "moved"
    MISSING = "missing"
    WRONG_STATE = "wrong_state"


def promote(queue: JobQueue, job_id: str) -> None:
    """Move a delayed job to the back of the line, or among those of its priority.

    Raises:
        JobNotFound: it is not there.
        JobStateError: it is not delayed.
    """
    _check(queue.run_script("promote", [job_id]), job_id, JobState.DELAYED)


def line_up(
    queue: JobQueue, state: JobState, *, newest_ms: int | None = None, batch: int = BATCH
) -> int:
    """Move all delayed, completed or failed jobs to the back of the line; return how many.

    ``batch`` jobs a script, 500 at most. As in BullMQ, priorities do not count then. Of finished
    jobs those that ended after ``newest_ms`` stay: without it those that end during this call.
    """
    batch, newest = _clamp(batch), "+inf"
    if state in FINISHED:
        newest = str(queue.clock.now_ms() if newest_ms is None else newest_ms)
    moved, looked_at = 0, batch
    while looked_at == batch:
        looked_at, moved_now = queue.run_script("line_up", [state.value, newest, batch])
        moved += moved_now
    return moved


def retry_finished(
    queue: JobQueue,
    job_id: str,
    state: JobState,
    *,
    resets_made: bool = False,
    resets_started: bool = False,
) -> None:
    """Put a completed or failed job back into the line: at its back, or by priority.

    Its attempts go on counting, so that a job whose attempts are used up runs once more; unless
    those made, or those started, are reset. A parent that waits waits for it again.

    Raises:
        JobNotFound: it is not there.
        JobStateError: it is not in that state.
    """
    resets = ["atm"] * resets_made + ["ats"] * resets_started
    answer = queue.run_script("retry_finished", [job_id, state.value, *resets])
    _check(answer, job_id, state)


def change_delay(queue: JobQueue, job_id: str, delay_ms: int) -> None:
    """Let a delayed job wait ``delay_ms`` from now.

    Raises:
        InvalidJobOptions: no job can have such a delay.
        JobNotFound: it is not there.
        JobStateError: it is not delayed.
    """
    read_options({}, {"delay": delay_ms})
    answer = queue.run_script("change_delay", [queue.clock.now_ms(), job_id, delay_ms])
    _check(answer, job_id, JobState.DELAYED)


def change_priority(queue: JobQueue, job_id: str, priority: int, *, to_front: bool = False) -> None:
    """Give a job another priority; 0 runs before all others, else the lowest number first.

    In line, it goes behind those of that priority, or before them ``to_front``. In a long line
    that costs a search. In another state it takes its place when it comes into line.

    Raises:
        InvalidJobOptions: no job can have such a priority.
        JobNotFound: it is not there.
    """
    read_options({}, {"priority": priority})
    arguments: list[str | int] = [job_id, priority, "1" if to_front else "0"]
    _check(queue.run_script("change_priority", arguments), job_id, JobState.WAITING)


def drain(queue: JobQueue, *, with_delayed: bool = False) -> int:
    """Delete all jobs that wait, and delayed ones if asked; return how many. 500 a script.

    Without an event. The next job of a scheduler stays. A parent in this queue whose children are
    all drained goes too; one in another queue runs.
    """
    drained, drained_now = 0, BATCH
    while drained_now >= BATCH:
        drained_now = queue.run_script("drain", ["1" if with_delayed else "0", BATCH])
        drained += drained_now
    return drained


def clean(queue: JobQueue, state: JobState, *, grace_ms: int, limit: int = 0) -> list[str]:
    """Delete a state's jobs that are older than ``grace_ms``; return their ids, oldest first.

    ``limit`` of them at most, 0 for all; looks at 500 a script. Finished jobs are as old as their
    end, others as their last start or, without one, as their making. Locked jobs stay, and the
    next one of a scheduler. A parent in this queue that loses its last child goes with it.
    """
    newest_ms, name = queue.clock.now_ms() - grace_ms, queue.states[state].split(":")[-1]
    deleted: list[str] = []
    stayed, has_more = 0, True
    while has_more and (limit == 0 or len(deleted) < limit):
        most = min(limit - len(deleted), BATCH) if limit else BATCH
        ids, stayed_now, has_more = queue.run_script("clean", [name, newest_ms, most, stayed])
        deleted += map(text, ids)
        stayed += stayed_now
    return deleted


def remove_tree(queue: JobQueue, job_id: str, *, with_children: bool = True) -> bool:
    """Remove a job in any state, and all below it; False, and nothing changed, if one is locked.

    Below it are its children, in whatever queue, and theirs; of these only the unfinished ones are
    asked for a lock. One script for all. A job that is not there is as good as removed.

    Raises:
        JobStateError: it is the next job of a scheduler: remove that.
    """
    answer = queue.run_script("remove_tree", [job_id, "1" if with_children else "0"])
    if answer == b"scheduled":
        raise JobStateError(job_id, "it is the next job of a scheduler, which is to be removed")
    return bool(answer == b"removed")


def obliterate(queue: JobQueue, *, is_forced: bool = False, batch: int = BATCH) -> None:
    """Pause the queue, then delete all: jobs, schedulers, settings, events; ``batch`` a script.

    What BullMQ leaves stays: parents whose children are in other queues, and the limiter.

    Raises:
        QueueError: jobs are active, and ``is_forced`` is not set; or somebody resumed the queue
            meanwhile. It stays as it is then.
    """
    queue.pause()
    while True:
        arguments = ["1" if is_forced else "0", _clamp(batch)]
        answer = queue.run_script("obliterate", arguments).decode()
        if answer == "done":
            return
        if answer != "more":
            raise QueueError(f"queue {queue.name!r} cannot be obliterated: {_HINDRANCES[answer]}")


def free_deduplication_id(queue: JobQueue, dedup_id: str) -> bool:
    """Let a job with this deduplication id be added though another owns it; False if none does."""
    return bool(run(queue.client, "DEL", raw(queue.keys.deduplication(dedup_id))))


def check_cleanable(state: str) -> JobState:
    """Return the state, which is one that can be cleaned.

    Raises:
        InvalidJobOptions: it is another one.
    """
    if state not in CLEANABLE:
        raise InvalidJobOptions("state", state, ", ".join(CLEANABLE))
    return JobState(state)


def check_finished(state: str) -> JobState:
    """Return the state, which is one that a job ends in.

    Raises:
        InvalidJobOptions: it is another one.
    """
    if state not in FINISHED:
        raise InvalidJobOptions("state", state, ", ".join(FINISHED))
    return JobState(state)


def _clamp(batch: int) -> int:
    return max(1, min(batch, BATCH))


def _check(answer: bytes, job_id: str, state: JobState) -> None:
    match _Answer(answer.decode()):
        case _Answer.MISSING:
            raise JobNotFound(job_id)
        case _Answer.WRONG_STATE:
            raise JobStateError(job_id, f"it is not {state}")
