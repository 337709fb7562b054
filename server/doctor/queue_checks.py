"""Whether the queues' parts fit together, and somebody works them."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from server.doctor.facts import QueueFacts
from server.doctor.findings import Finding, blame, fine, name_some, warn
from shared.queue import JobState, RateLimit, WorkerSign

GROUP = "queues"
# Whose queues have the limit of the settings.
WORKER = "worker"
_READY = (JobState.WAITING, JobState.PRIORITIZED)

Queues = Mapping[str, QueueFacts]


def is_work_left(queues: Queues) -> bool:
    """Tell whether an item queue holds jobs that are still to be brought home."""
    return any(
        facts.look.counts.get(state)
        for facts in queues.values()
        if facts.worked_by == WORKER
        for state in (*_READY, JobState.DELAYED, JobState.ACTIVE)
    )


def check_queues(queues: Queues) -> Iterator[Finding]:
    """Yield what is to be said of the queues: a finding a queue, or one that all are fine."""
    looked_at = sum(sum(facts.look.counts.values()) for facts in queues.values())
    checks: list[tuple[str, Callable[[str, QueueFacts], Finding | None], str]] = [
        ("jobs", _check_hashes, f"every id in line is a job ({looked_at:,} jobs)"),
        ("lines", _check_states, "every job is in line or in a state"),
        ("locks", _check_locks, "every claimed job is held by somebody"),
        ("workers", _check_workers, "whatever waits has somebody who takes it"),
        ("rate limit", _check_rate_limit, "the limits in Redis are those of the settings"),
        ("pause", _check_pause, "no queue is paused"),
    ]
    for check, look, all_fine in checks:
        found = [finding for name, facts in queues.items() if (finding := look(name, facts))]
        yield from found or [fine(GROUP, check, all_fine)]
    partly = [name for name, facts in queues.items() if not facts.look.is_whole]
    if partly:
        yield warn(
            GROUP,
            "sample",
            f"{name_some(partly)}: too many jobs to look at all of them",
            "what was found is true; run the doctor again when fewer jobs wait",
        )


def check_worker_threads(workers: Sequence[WorkerSign]) -> Iterator[Finding]:
    """Yield a finding for each worker that has a thread which fails."""
    for worker in workers:
        if worker.failing_threads:
            yield blame(
                GROUP,
                "worker threads",
                f"worker {worker.worker_id}: {'; '.join(worker.failing_threads)}",
                "look for 'thread_failed' in its log, it has the stack; "
                "a thread that goes on failing ends the worker with exit code 1",
            )


def _check_hashes(name: str, facts: QueueFacts) -> Finding | None:
    ids = facts.look.without_hash
    if not ids:
        return None
    return warn(
        GROUP,
        "jobs",
        f"{name}: {len(ids)} ids in line without a job: {name_some(ids)}",
        "somebody deleted their hashes. Claims drop them; a running server adds an open import's "
        "items again within a minute",
    )


def _check_states(name: str, facts: QueueFacts) -> Finding | None:
    ids = facts.look.without_state
    if not ids:
        return None
    return blame(
        GROUP,
        "lines",
        f"{name}: {len(ids)} jobs that are in no line and will never run: {name_some(ids)}",
        "look at each with GET /queues/QUEUE/jobs/ID, then delete its key in Redis; a running "
        "server adds an open import's items again",
    )


def _check_locks(name: str, facts: QueueFacts) -> Finding | None:
    ids = facts.look.without_lock
    if not ids:
        return None
    return blame(
        GROUP,
        "locks",
        f"{name}: {len(ids)} claimed jobs that nobody holds: {name_some(ids)}",
        f"start a {facts.worked_by or 'worker'}: "
        "it puts them back in line within WORKER_STALLED_MS",
    )


def _check_workers(name: str, facts: QueueFacts) -> Finding | None:
    look = facts.look
    waiting = sum(look.counts.get(state, 0) for state in _READY)
    if facts.worked_by is None or not waiting or look.workers != 0 or look.is_paused:
        return None
    if look.counts.get(JobState.ACTIVE):
        return None
    return blame(
        GROUP,
        "workers",
        f"{name}: {waiting:,} jobs wait and no {facts.worked_by} is connected",
        f"start one with 'feedmill {facts.worked_by}'; WORKER_TYPE says which queues one takes",
    )


def _check_rate_limit(name: str, facts: QueueFacts) -> Finding | None:
    stored, wanted = facts.look.rate_limit, facts.wanted_limit
    if facts.worked_by != WORKER or stored == wanted:
        return None
    return warn(
        GROUP,
        "rate limit",
        f"{name}: Redis says {_describe(stored)}, the settings say {_describe(wanted)}",
        "start the server with the settings that are meant: it writes its limit at its start",
    )


def _check_pause(name: str, facts: QueueFacts) -> Finding | None:
    if not facts.look.is_paused:
        return None
    return warn(GROUP, "pause", f"{name}: paused by an operator", f"feedmill queue resume {name}")


def _describe(limit: RateLimit | None) -> str:
    return f"{limit.max_jobs} in {limit.duration_ms} ms" if limit is not None else "no limit"
