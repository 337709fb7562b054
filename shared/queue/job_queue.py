"""A queue's jobs and how they move: one method for each arrow of the state machine."""

from collections.abc import Callable, Iterator, Sequence
from enum import StrEnum
from itertools import chain
from typing import Any, TypeVar

from shared.errors import QueueError
from shared.queue.connection import call, raw, run, run_at, text
from shared.queue.end_rules import NO_RULES, EndRules
from shared.queue.inspection import QueueReader
from shared.queue.job import (
    AddOutcome,
    Claim,
    Completion,
    DeadLettering,
    Failure,
    JobState,
    Lock,
    Locking,
    NewJob,
    Postponement,
    RateLimit,
    ReclaimReport,
    RemoveOutcome,
    Retry,
    SettleOutcome,
)
from shared.queue.keys import check_job_id, glob_of
from shared.queue.reading import whole_number
from shared.queue.wire import (
    decode_claim,
    decode_view,
    encode_new_job,
    opts_of,
    to_json,
)

Arguments = list[str | bytes]
Head = Sequence[str | int]
Item = TypeVar("Item")
Word = TypeVar("Word", bound=StrEnum)

CHUNK_JOBS = 500
CHUNK_BYTES = 8 * 1024 * 1024
MAX_CLAIM = 1000
DEAD_NAME = "dead"
# An error's text is for people; what is longer would only fill Redis.
MAX_REASON_LENGTH = 4_000
MAX_STACKTRACE_LENGTH = 16_000

_LIST_NAMES = {JobState.WAITING: "wait"}


def _words(outcomes: type[Word]) -> dict[bytes, Word]:
    """Return outcomes by the words of the scripts: looking one up is cheaper than making one."""
    return {outcome.value.encode(): outcome for outcome in outcomes}


_ADD_OUTCOMES = _words(AddOutcome)
_SETTLE_OUTCOMES = _words(SettleOutcome)
_REMOVE_OUTCOMES = _words(RemoveOutcome)


class JobQueue(QueueReader):
    """A BullMQ queue, many jobs a call.

    Each method sends one script per 500 jobs or 8 MiB; a script is atomic, several are not
    together. Claimed jobs are fenced: a call whose token no longer holds a job changes nothing of
    it and says so in the outcome. Everything is safe to repeat after a lost reply. Only adding
    needs room in a full Redis.

    Raises (all methods): ``QueueUnavailable`` when Redis cannot serve; the effect is unknown then.
    """

    @property
    def parts(self) -> "Sequence[JobQueue]":
        """The queues that this one is made of: itself, unless its jobs are in partitions."""
        return (self,)

    def add_many(self, jobs: Sequence[NewJob]) -> list[AddOutcome]:
        """Add jobs, in order; outcomes in the same order.

        An id that waits with a lower revision gets the new data and fresh attempts; what is
        claimed stays (``BUSY``); what is kept as completed or failed is added anew.

        Raises:
            QueueFull: Redis has no room; of the chunk that met it nothing was added.
            InvalidJobId, UnencodableJob: nothing was added.
        """
        outcomes = self.run_in_chunks("add", jobs, encode_new_job, (self.clock.now_ms(),))
        return [_ADD_OUTCOMES[outcome] for outcome in outcomes]

    def claim(
        self,
        *,
        limit: int,
        lock_ms: int,
        token: str,
        max_bytes: int = 8 * 1024 * 1024,
        rate_limit: RateLimit | None = None,
        accept_solo: bool = True,
        reads_whole: bool = False,
        worker_name: str | None = None,
    ) -> Claim:
        """Claim up to ``limit`` jobs (1000 at most), due delayed ones promoted first.

        At least one job is taken however large it is. ``token`` names this very claim: called
        again with it, as after a lost reply, it answers the same jobs, those that it still locks.
        ``rate_limit`` holds unless the queue has one of its own (``set_rate_limit``). A solo job
        comes alone, and only if accepted. ``reads_whole``: each job carries all that lies in Redis
        of it. ``worker_name`` is written into the jobs, as Node's ``processedBy``.
        """
        most = max(min(limit, MAX_CLAIM), 0)
        head: Head = [self.clock.now_ms(), token, lock_ms, most, max_bytes]
        flags = ["1" if flag else "0" for flag in (accept_solo, reads_whole)]
        arguments = [*head, *_encode_rate_limit(rate_limit), *flags, worker_name or ""]
        reply = self.run_script("claim", arguments)
        return decode_claim(reply, token, is_whole=reads_whole)

    def extend_many(self, locks: Sequence[Lock], *, lock_ms: int) -> list[str]:
        """Let locks last ``lock_ms`` from now; return the ids of those that are lost."""
        lost = self.run_in_chunks("extend", locks, _encode_lock, (lock_ms,))
        return [text(job_id) for job_id in lost]

    def assign_revisions(self, drawn: Sequence[tuple[Lock, int]]) -> list[int | None]:
        """Store a revision in each claimed job that has none; return the stored ones.

        None stands for a lock that is lost. A repeated call finds what the first one stored. A
        stored one that makes no sense counts as none.
        """
        stored = self.run_in_chunks(
            "assign_revision", drawn, lambda pair: [*_encode_lock(pair[0]), str(pair[1])]
        )
        return [None if text(value) == "lock_lost" else whole_number(value) for value in stored]

    def complete_many(
        self, completions: Sequence[Completion], rules: EndRules = NO_RULES
    ) -> list[SettleOutcome]:
        """Mark jobs done: call only after their effect is durable. Raises live counters.

        Where ``rules`` check children, ``HAS_CHILDREN`` and ``CHILD_FAILED`` leave a job claimed.
        """
        checks = "1" if rules.checks_children else ""
        head = (rules.keep_json, rules.minutes_text, checks)
        return self._settle("complete", completions, _encode_completion, head)

    def retry_many(self, retries: Sequence[Retry]) -> list[SettleOutcome]:
        """Put failed jobs back, after a delay or at the back of the line; counts an attempt."""
        return self._settle("retry", retries, _encode_retry)

    def postpone_many(self, postponements: Sequence[Postponement]) -> list[SettleOutcome]:
        """Put jobs back until a delay has passed, then at the back of the line; no attempt counted.

        For what may not run yet, as Node's ``moveToDelayed`` in a processor.
        """
        return self._settle("postpone", postponements, _encode_postponement)

    def fail_many(
        self, failures: Sequence[Failure], rules: EndRules = NO_RULES
    ) -> list[SettleOutcome]:
        """Mark jobs failed for good, kept as their ``removeOnFail`` says, or else ``rules``."""
        head = (rules.keep_json, rules.minutes_text)
        return self._settle("fail", failures, _encode_failure, head)

    def dead_letter_many(
        self, moves: Sequence[DeadLettering], dlq: "JobQueue", rules: EndRules = NO_RULES
    ) -> list[SettleOutcome]:
        """Move jobs into the dead-letter queue, in one step each. Raises live counters.

        A dead letter that lies there under the same id gets the new data. ``dlq`` has this
        queue's prefix, so that both lie in one slot of a cluster.
        """
        if dlq.prefix != self.prefix:
            raise QueueError(f"{dlq.name!r} has another prefix than {self.name!r}")
        bases, head = (self.keys.base, dlq.keys.base), (self.clock.now_ms(), rules.minutes_text)
        outcomes = self.run_in_chunks("dead_letter", moves, _encode_dead_lettering, head, bases)
        return [_SETTLE_OUTCOMES[outcome] for outcome in outcomes]

    def release_many(self, locks: Sequence[Lock]) -> list[SettleOutcome]:
        """Hand jobs back to the front of the line, in the order given, no attempt counted."""
        # Each chunk goes before the ones already there, so the last chunk has to go first.
        outcomes: list[SettleOutcome] = []
        for chunk in reversed(list(in_chunks([_encode_lock(lock) for lock in locks]))):
            answers = self.run_script("release", [value for lock in chunk for value in lock])
            outcomes = [_SETTLE_OUTCOMES[answer] for answer in answers] + outcomes
        return outcomes

    def reclaim_stalled(
        self, *, max_stalled: int, is_counted: bool = True, solo_first: bool = True
    ) -> ReclaimReport:
        """Put claimed jobs whose lock is gone back to the front of the line; one pass.

        A job that stalled more than ``max_stalled`` times is to run alone; one that stalls alone
        is doomed: whoever claims it must fail it. Without ``solo_first`` it is doomed at once.
        Jobs with a living lock are not touched.
        Without ``is_counted`` the stall is nobody's fault: the jobs come back as they were.
        """
        arguments: Head = [max_stalled, "1" if is_counted else "0", "1" if solo_first else "0"]
        requeued, solo, doomed, ids = self.run_script("reclaim_stalled", arguments)
        return ReclaimReport(requeued, solo, doomed, tuple(map(text, ids)))

    def promote_due(self, limit: int = 1000) -> int:
        """Move due delayed jobs into the line, 1000 at most; return how many."""
        return int(self.run_script("promote_due", [self.clock.now_ms(), min(limit, MAX_CLAIM)]))

    def remove_many(self, job_ids: Sequence[str]) -> list[RemoveOutcome]:
        """Remove jobs from any state; locked ones stay. One in a long line costs a search."""
        return self._remove(job_ids, ("", "1", "", ""))

    def lock_many(
        self, job_ids: Sequence[str], *, token: str, lock_ms: int, state: JobState | None = None
    ) -> Locking:
        """Lock jobs by their ids, in any state or only in ``state``, as a claim locks its jobs.

        Until :meth:`remove_locked` or :meth:`release_many` nobody else can run, replace or remove
        them; a job whose lock runs out is put back into the line. One in a long line costs a
        search. Called again with the token it answers the same.
        """
        head = (token, lock_ms, _kind_of(state))
        answers = self.run_in_chunks("lock", job_ids, lambda job_id: [job_id], head)
        locking = Locking([], [])
        for job_id, answer in zip(job_ids, answers, strict=True):
            if isinstance(answer, list):
                fields = dict(zip(answer[::2], answer[1::2], strict=True))
                locking.jobs.append(decode_view(job_id, state or JobState.ACTIVE, fields))
            elif text(answer) == RemoveOutcome.LOCKED:
                locking.held_ids.append(job_id)
        return locking

    def remove_locked(
        self, job_ids: Sequence[str], *, token: str, tally_field: str = "", tells_each: bool = True
    ) -> list[RemoveOutcome]:
        """Remove jobs that ``token`` locks; raises ``tally_field`` in each job's live counters.

        ``LOCKED`` stands for a job whose lock was lost. ``tells_each``: one event a job, else one
        for all.
        """
        return self._remove(job_ids, ("", "1" if tells_each else "0", token, tally_field))

    def clean(self, state: JobState, grace_ms: int, limit: int) -> list[str]:
        """Remove what ``jobs_to_clean`` finds; return the removed ids, oldest first."""
        found = self.jobs_to_clean(state, grace_ms, limit)
        return self.clean_ids(state, [view.id for view in found])

    def clean_ids(self, state: JobState, job_ids: Sequence[str]) -> list[str]:
        """Remove those of the jobs that are still in ``state`` and unlocked; return their ids."""
        outcomes = self._remove(job_ids, (_kind_of(state), "0", "", ""))
        pairs = zip(job_ids, outcomes, strict=True)
        return [job_id for job_id, outcome in pairs if outcome is RemoveOutcome.REMOVED]

    def pause(self) -> None:
        """Let claims find nothing until :meth:`resume`; claimed jobs are not touched."""
        self.run_script("pause", [])

    def resume(self) -> None:
        """End a pause and wake who waits for work."""
        self.run_script("resume", [])

    def set_rate_limit(self, rate_limit: RateLimit | None) -> None:
        """Set or lift the queue's own limit, which Node's workers obey too."""
        if rate_limit is None or rate_limit.max_jobs <= 0:
            run(self.client, "HDEL", self.keys.meta, "max", "duration")
            return
        fields = ("max", rate_limit.max_jobs, "duration", rate_limit.duration_ms)
        run(self.client, "HSET", self.keys.meta, *fields)

    def delete_tallies(self, names: Sequence[str]) -> None:
        """Forget live counters; they also vanish by themselves after 7 days without a raise."""
        for chunk in in_chunks([[self.keys.tally(name)] for name in names]):
            run(self.client, "UNLINK", *[raw(str(key)) for [key] in chunk])

    def create_incarnation(self, value: str) -> str:
        """Mark this Redis' content with ``value`` unless it is marked; return the mark."""
        run(self.client, "SET", self.keys.incarnation, raw(value), "NX")
        marked = self.read_incarnation()
        if marked is None:
            # A key of another type stands there, which is no mark.
            run(self.client, "SET", self.keys.incarnation, raw(value))
        return marked or value

    def drain_all(self) -> None:
        """Delete every key of the queue: jobs, settings, counters. Searches all of Redis."""
        cursor: int = 0
        while True:
            command = ("SCAN", cursor, "MATCH", glob_of(self.keys.base), "COUNT", 1000)
            cursor, keys = run_at(self.client, self.keys.base, *command)
            if keys:
                run(self.client, "UNLINK", *keys)
            if int(cursor) == 0:
                return

    def _remove(self, job_ids: Sequence[str], head: Sequence[str]) -> list[RemoveOutcome]:
        outcomes = self.run_in_chunks("remove", job_ids, lambda job_id: [job_id], head)
        return [_REMOVE_OUTCOMES[outcome] for outcome in outcomes]

    def _settle(
        self,
        script: str,
        jobs: Sequence[Item],
        encode: Callable[[Item], Arguments],
        head: tuple[str, ...] = (),
    ) -> list[SettleOutcome]:
        outcomes = self.run_in_chunks(script, jobs, encode, (self.clock.now_ms(), *head))
        return [_SETTLE_OUTCOMES[outcome] for outcome in outcomes]

    def run_in_chunks(
        self,
        script: str,
        jobs: Sequence[Item],
        encode: Callable[[Item], Arguments],
        head: Head = (),
        bases: tuple[str, ...] = (),
    ) -> list[Any]:
        """Call a script for jobs, 500 or 8 MiB a call; answers in the order of ``jobs``.

        A chunk is atomic, the whole is not. ``head`` goes before each chunk's arguments; ``bases``
        are the queues' key prefixes, this queue's alone where none is given.

        Raises:
            QueueFull: Redis has no room; of the chunk that met it nothing was done.
        """
        # All are encoded before any is sent: one that cannot be written stops the call, not half.
        encoded = [encode(job) for job in jobs]
        answers: list[Any] = []
        for chunk in in_chunks(encoded):
            answers += self.run_script(script, [*head, *chain.from_iterable(chunk)], bases)
        return answers

    def run_script(
        self, script: str, arguments: Sequence[str | int | bytes], bases: tuple[str, ...] = ()
    ) -> Any:
        """Call one of this package's scripts, atomically, and return its answer as it is."""
        return call(self.client, script, bases or (self.keys.base,), arguments)


def _kind_of(state: JobState | None) -> str:
    """Return the name of the key that holds a state's jobs, as scripts are given it."""
    return "" if state is None else _LIST_NAMES.get(state, state.value)


def in_chunks(encoded: Sequence[Arguments]) -> Iterator[list[Arguments]]:
    """Yield jobs' arguments in order, as many at a time as one call of a script takes."""
    chunk: list[Arguments] = []
    chunk_bytes = 0
    for arguments in encoded:
        job_bytes = sum(map(len, arguments))
        if chunk and (len(chunk) == CHUNK_JOBS or chunk_bytes + job_bytes > CHUNK_BYTES):
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append(arguments)
        chunk_bytes += job_bytes
    if chunk:
        yield chunk


def _encode_rate_limit(rate_limit: RateLimit | None) -> Head:
    if rate_limit is None or rate_limit.max_jobs <= 0:
        return ["", ""]
    return [rate_limit.max_jobs, rate_limit.duration_ms]


def _encode_lock(lock: Lock) -> Arguments:
    return [lock.job_id, lock.token]


def _encode_completion(job: Completion) -> Arguments:
    return [job.job_id, job.token, to_json(job.job_id, job.result), job.tally_field or ""]


def _encode_failure(job: Failure | Retry | DeadLettering) -> Arguments:
    reason = job.reason[:MAX_REASON_LENGTH]
    # The end of a trace names the place; its beginning is the way there.
    return [job.job_id, job.token, reason, job.stacktrace[-MAX_STACKTRACE_LENGTH:]]


def _encode_retry(job: Retry) -> Arguments:
    return [*_encode_failure(job), str(max(job.delay_ms, 0))]


def _encode_postponement(job: Postponement) -> Arguments:
    return [job.job_id, job.token, str(max(job.delay_ms, 0))]


def _encode_dead_lettering(death: DeadLettering) -> Arguments:
    dead = death.dead
    return [
        *_encode_failure(death),
        death.tally_field or "",
        check_job_id(dead.id),
        DEAD_NAME,
        to_json(dead.id, dead.data),
        to_json(dead.id, opts_of(dead)),
    ]
