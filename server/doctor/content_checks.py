"""Whether queues and record agree with themselves and one another, and somebody works on them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta

from server.doctor.facts import WORKER, QueueFacts, RecordLook
from server.doctor.findings import Finding, fine, name_some, problem, warn
from shared.queue import JobState, RateLimit, WorkerSign
from shared.store import Import, ImportState

QUEUES = "queues"
_READY = (JobState.WAITING, JobState.PRIORITIZED)

Queues = Mapping[str, QueueFacts]
RECORD = "record"
# A fetch takes 280 s at most, three times, for each of its URLs.
FETCH_PATIENCE = timedelta(minutes=30)
# An import that does not move is audited every minute; one that does, not before it is done.
AUDIT_PATIENCE = timedelta(minutes=10)
# A few show what is wrong with all.
MAX_MISFITS = 5
_HEALED = "a running server fixes it within a minute; if one is running, see its log"
_SWEPT = "a server's sweep fixes it within the hour; restart a server to have it done now"


def is_work_left(queues: Queues) -> bool:
    """Return whether an item queue holds jobs whose items are not stored yet."""
    return any(
        facts.look.counts.get(state)
        for facts in queues.values()
        if facts.worked_by == WORKER
        for state in (*_READY, JobState.DELAYED, JobState.ACTIVE)
    )


def check_queues(queues: Queues) -> Iterator[Finding]:
    """Yield the findings about the queues: one a queue, or one that all are fine."""
    looked_at = sum(sum(facts.look.counts.values()) for facts in queues.values())
    checks: list[tuple[str, Callable[[str, QueueFacts], Finding | None], str]] = [
        ("jobs", _check_hashes, f"every queued id has a job ({looked_at:,} jobs)"),
        ("states", _check_states, "every job is in a state"),
        ("locks", _check_locks, "every active job has a lock"),
        ("workers", _check_workers, "every queue with waiting jobs has a worker"),
        (
            "rate limit",
            _check_rate_limit,
            "the limits in Redis are those of the settings, or as changed since",
        ),
        ("pause", _check_pause, "no queue is paused"),
    ]
    for check, look, all_fine in checks:
        found = [finding for name, facts in queues.items() if (finding := look(name, facts))]
        yield from found or [fine(QUEUES, check, all_fine)]
    partly = [name for name, facts in queues.items() if not facts.look.is_whole]
    if partly:
        yield warn(
            QUEUES,
            "sample",
            f"{name_some(partly)}: too many jobs to look at all of them",
            "what was found is right; run the doctor again when fewer jobs wait",
        )


def check_partitions(known: int | None, wanted: int) -> Iterator[Finding]:
    """Yield a finding where Redis holds another number of partitions than the settings say."""
    if known is None or known == wanted:
        return
    yield warn(
        QUEUES,
        "partitions",
        f"Redis says {known} of the item queues, QUEUE_PARTITIONS says {wanted}",
        "start server and workers with one number; another is taken over while no item waits",
    )


def check_worker_threads(workers: Sequence[WorkerSign]) -> Iterator[Finding]:
    """Yield a finding for each worker that has a thread which fails."""
    for worker in workers:
        if worker.failing_threads:
            yield problem(
                QUEUES,
                "worker threads",
                f"worker {worker.worker_id}: {'; '.join(worker.failing_threads)}",
                "see 'thread_failed' in its log, with the stack trace; "
                "a thread that keeps failing ends the worker with exit code 1",
            )


def _check_hashes(name: str, facts: QueueFacts) -> Finding | None:
    ids = facts.look.without_hash
    if not ids:
        return None
    return warn(
        QUEUES,
        "jobs",
        f"{name}: {len(ids)} queued ids without a job: {name_some(ids)}",
        "their hashes were deleted. Workers drop such ids; a running server adds the items of an "
        "open import again within a minute",
    )


def _check_states(name: str, facts: QueueFacts) -> Finding | None:
    ids = facts.look.without_state
    if not ids:
        return None
    return problem(
        QUEUES,
        "states",
        f"{name}: {len(ids)} jobs that are in no state and never run: {name_some(ids)}",
        "see each with GET /queues/QUEUE/jobs/ID, then delete its key in Redis; a running "
        "server adds an open import's items again",
    )


def _check_locks(name: str, facts: QueueFacts) -> Finding | None:
    ids = facts.look.without_lock
    if not ids:
        return None
    return problem(
        QUEUES,
        "locks",
        f"{name}: {len(ids)} active jobs without a lock: {name_some(ids)}",
        f"start a {facts.worked_by or 'worker'}: it queues them again within WORKER_STALLED_MS",
    )


def _check_workers(name: str, facts: QueueFacts) -> Finding | None:
    look = facts.look
    waiting = sum(look.counts.get(state, 0) for state in _READY)
    if facts.worked_by is None or not waiting or look.workers != 0 or look.is_paused:
        return None
    if look.counts.get(JobState.ACTIVE):
        return None
    return problem(
        QUEUES,
        "workers",
        f"{name}: {waiting:,} jobs wait and no {facts.worked_by} is connected",
        f"start one with 'feedmill {facts.worked_by}'; WORKER_TYPE says which queues one takes",
    )


def _check_rate_limit(name: str, facts: QueueFacts) -> Finding | None:
    stored, wanted = facts.look.rate_limit, facts.wanted_limit
    if facts.worked_by != WORKER or stored == wanted:
        return None
    return warn(
        QUEUES,
        "rate limit",
        f"{name}: the limit in Redis is {_describe_limit(stored)}, "
        f"but should be {_describe_limit(wanted)}",
        "a running server writes a changed limit within seconds, and the limit of its settings "
        "when it starts: restart it with the settings you want",
    )


def _check_pause(name: str, facts: QueueFacts) -> Finding | None:
    if not facts.look.is_paused:
        return None
    # A partition's has its prefix before it.
    resumed = f"feedmill queue resume {name.rpartition(':')[2]}"
    return warn(QUEUES, "pause", f"{name}: paused by an operator", resumed)


def _describe_limit(limit: RateLimit | None) -> str:
    return f"{limit.max_jobs} in {limit.duration_ms} ms" if limit is not None else "no limit"


def check_record(
    look: RecordLook, now: datetime, *, is_work_left: bool = False
) -> Iterator[Finding]:
    """Yield the findings about the record; ``is_work_left``: item queues hold jobs."""
    yield _check_journal(look)
    yield _check_feeds(look)
    yield from _check_open_imports(look, now, is_work_left=is_work_left)
    yield from _check_dead_letters(look)
    yield from _check_documents(look)
    if not look.is_redis_matched:
        yield warn(
            RECORD,
            "Redis",
            "Redis is another one, or was emptied, since it was last compared with the record",
            "let a server run: it adds what is missing in Redis again",
        )


def is_idle(found: Import, now: datetime, *, is_work_left: bool) -> bool:
    """Return whether nobody can have done anything for an open import for too long."""
    if found.state is ImportState.IMPORTING:
        seen_at = found.audited_at or found.started_at or found.requested_at
        return not is_work_left and now - seen_at > AUDIT_PATIENCE
    return now - (found.started_at or found.requested_at) > FETCH_PATIENCE


def _check_documents(look: RecordLook) -> Iterator[Finding]:
    for text in look.misfits[:MAX_MISFITS]:
        advice = "until then it is skipped: not fetched, not audited, not shown"
        yield problem(RECORD, "documents", text, advice)
    more = len(look.misfits) - MAX_MISFITS
    if more > 0:
        yield problem(RECORD, "documents", f"{more} more documents cannot be read", "correct them")
    if not look.misfits:
        yield fine(RECORD, "documents", "feeds, imports, sources and dead letters can be read")


def _check_journal(look: RecordLook) -> Finding:
    if not look.stray_journals:
        return fine(RECORD, "journal", "the journal holds exactly what open imports need")
    count = len(look.stray_journals)
    return warn(
        RECORD,
        "journal",
        f"{count} closed or missing imports still have chunks: {name_some(look.stray_journals)}",
        _HEALED,
    )


def _check_feeds(look: RecordLook) -> Finding:
    if not look.lost_imports:
        return fine(RECORD, "feeds", "every import that a feed waits for exists")
    pairs = (f"{source} → {import_id}" for source, import_id in look.lost_imports.items())
    return warn(
        RECORD, "feeds", f"feeds wait for imports that are gone: {name_some(pairs)}", _HEALED
    )


def _check_open_imports(
    look: RecordLook, now: datetime, *, is_work_left: bool
) -> Iterator[Finding]:
    idle = [one for one in look.open_imports if is_idle(one, now, is_work_left=is_work_left)]
    unaudited = [each.import_id for each in idle if each.state is ImportState.IMPORTING]
    unfetched = [each.import_id for each in idle if each.state is not ImportState.IMPORTING]
    if unaudited:
        yield problem(
            RECORD,
            "imports",
            f"{len(unaudited)} open imports were not audited for long: {name_some(unaudited)}",
            "start or restart a server: it continues them",
        )
    if unfetched:
        yield warn(
            RECORD,
            "fetches",
            f"{len(unfetched)} imports wait too long for their fetch: {name_some(unfetched)}",
            "make sure that a server runs; many feeds of one host take turns (FETCH_PER_HOST)",
        )
    if not idle:
        yield fine(RECORD, "imports", f"{len(look.open_imports)} open imports, all audited in time")


def _check_dead_letters(look: RecordLook) -> Iterator[Finding]:
    if look.missing_letters:
        yield warn(
            RECORD,
            "dead letters",
            f"{len(look.missing_letters)} dead letters are missing in the dead-letter queue: "
            f"{name_some(look.missing_letters)}",
            _SWEPT,
        )
    if look.stray_letters:
        yield warn(
            RECORD,
            "dead letters",
            f"{len(look.stray_letters)} jobs of the dead-letter queue are not dead letters: "
            f"{name_some(look.stray_letters)}",
            _SWEPT,
        )
    if not look.missing_letters and not look.stray_letters:
        text = (
            f"the dead-letter queue shows what is on record ({look.letters_looked_at:,} compared)"
        )
        yield fine(RECORD, "dead letters", text)
