"""What goes into a queue, what comes out of it, and the arrows between a job's states."""

import math
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from shared.queue.reading import read_object, whole_number

_SCHEDULER = b'"repeatJobKey"'
MAX_DELAY_MS = 7 * 24 * 60 * 60 * 1000
BACKOFF_TYPES = frozenset({"fixed", "exponential"})


class JobState(StrEnum):
    """Where a job stands, in BullMQ's words; each says who moves it on."""

    WAITING = "waiting"
    """Ready to run, in line; a claim takes it from the front."""
    PRIORITIZED = "prioritized"
    """Ready to run after all waiting ones, by priority; only foreign producers put jobs here."""
    DELAYED = "delayed"
    """Not due yet; a claim or the upkeep promotes it."""
    WAITING_CHILDREN = "waiting-children"
    """A flow's parent; its last child releases it."""
    ACTIVE = "active"
    """Claimed; whoever holds the lock settles it, or the upkeep reclaims it."""
    COMPLETED = "completed"
    """Done and kept."""
    FAILED = "failed"
    """Failed for good and kept."""


@dataclass(frozen=True, slots=True)
class NewJob:
    """A job to add. ``data`` is a JSON object, or one encoded already, which is taken as it is.

    ``revision``: the higher one wins while the job waits; without one a waiting job is kept.
    ``tally``: name of the live counters that its end raises. ``attempts``: runs in all.
    ``backoff_ms``: first delay of an exponential backoff, 0 for none. ``keep_completed`` and
    ``keep_failed``: how many of the newest to keep, 0 for none; ``keep_failed=None`` keeps all.
    """

    id: str
    name: str
    data: Mapping[str, object] | bytes
    revision: int | None = None
    tally: str | None = None
    attempts: int = 1
    backoff_ms: int = 0
    keep_completed: int = 0
    keep_failed: int | None = None


# Lock, ClaimedJob and Completion are tuples: of these there is one for each job that is worked, and
# a frozen dataclass takes five times as long to make, a lock also to look up.
class Lock(NamedTuple):
    """The right to a claimed job."""

    job_id: str
    token: str


class ClaimedJob(NamedTuple):
    """A claimed job, locked by ``token``.

    ``raw_data`` is the JSON text as stored, not decoded: a foreign producer may have written
    anything; so are ``raw_opts``. ``is_solo``: it must run alone, for it stalled too often among
    others. ``deferred_failure``: it must not be run, but failed with this reason. ``view`` is all
    of the job, started this time, if the claim was told to read it.
    """

    id: str
    name: str
    raw_data: str
    raw_opts: bytes | None
    revision: int | None
    tally: str | None
    attempts_made: int
    attempts_started: int
    stalled_count: int
    is_solo: bool
    deferred_failure: str | None
    token: str
    timestamp_ms: int
    view: "JobView | None" = None

    @property
    def scheduler_id(self) -> str | None:
        """The scheduler that made it, or None."""
        if self.view is not None:
            return self.view.scheduler_id
        # Its opts say so too; asking for the word is far cheaper than reading them all.
        if self.raw_opts is None or _SCHEDULER not in self.raw_opts:
            return None
        named = self.opts.get("repeatJobKey")
        return named if isinstance(named, str) else None

    @property
    def opts(self) -> Mapping[str, object]:
        """Its options in BullMQ's words, read at each call; most jobs end without them."""
        return read_object(self.raw_opts)

    @property
    def max_attempts(self) -> int:
        """How often it may run, at least 1."""
        return max(whole_number(self.opts.get("attempts")) or 1, 1)

    @property
    def backoff(self) -> object:
        """Its ``backoff`` option, for :func:`backoff_delay_ms`."""
        return self.opts.get("backoff")

    @property
    def lock(self) -> Lock:
        """The right to settle it."""
        return Lock(self.id, self.token)

    @property
    def size_bytes(self) -> int:
        """How many bytes its data has in UTF-8, as it lies in Redis."""
        # Asking is free, and most data is ASCII: the others are encoded to be counted.
        data = self.raw_data
        return len(data) if data.isascii() else len(data.encode("utf-8", "surrogatepass"))


class BlockedBy(StrEnum):
    """Why a claim took fewer jobs than asked for."""

    EMPTY = "empty"
    PAUSED = "paused"
    RATE_LIMIT = "rate_limit"
    CONCURRENCY = "concurrency"
    SOLO = "solo"
    BREAKER = "breaker"
    """What the jobs need is away, see :class:`Breaker`; the queue was not asked."""
    GROUP_LIMIT = "group_limit"
    """All that waits belongs to groups that have used up their limit."""


@dataclass(frozen=True, slots=True)
class Claim:
    """What a claim took. ``blocked_by`` is None when the caller's own limit ended it.

    ``retry_in_ms`` is when the window of a limit ends, or when the next delayed job is due.
    """

    jobs: list[ClaimedJob]
    blocked_by: BlockedBy | None
    retry_in_ms: int | None


class Completion(NamedTuple):
    """A job that is done. ``result`` is JSON-able; ``tally_field`` is raised in its tally."""

    job_id: str
    token: str
    result: object = None
    tally_field: str | None = None


@dataclass(frozen=True, slots=True)
class Retry:
    """A failed run with attempts left; ``delay_ms`` 0 is the back of the line, now."""

    job_id: str
    token: str
    reason: str
    stacktrace: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Postponement:
    """A job whose time has not come: nothing was tried, it comes again after ``delay_ms``."""

    job_id: str
    token: str
    delay_ms: int


@dataclass(frozen=True, slots=True)
class Failure:
    """A job that failed for good."""

    job_id: str
    token: str
    reason: str
    stacktrace: str


@dataclass(frozen=True, slots=True)
class DeadLettering:
    """A job to move to the dead-letter queue, as ``dead`` (its name is written as ``dead``)."""

    job_id: str
    token: str
    reason: str
    stacktrace: str
    dead: NewJob
    tally_field: str | None = None


class AddOutcome(StrEnum):
    """What adding a job did."""

    ADDED = "added"
    REPLACED = "replaced"
    """It waited with an older revision: content replaced, attempts reset, ready."""
    KEPT = "kept"
    """It waits with this revision or a higher one; nothing changed."""
    BUSY = "busy"
    """It is claimed (or waits for children); nothing changed. Add again when it is settled."""


class SettleOutcome(StrEnum):
    """What settling a job did."""

    SETTLED = "settled"
    LOCK_LOST = "lock_lost"
    """The token no longer holds the job: it was reclaimed, or an earlier call settled it."""
    HAS_CHILDREN = "has_children"
    """It may not complete: a child of it is not done yet. It stays claimed."""
    CHILD_FAILED = "child_failed"
    """It may not complete: a child has failed it. It stays claimed."""


class RemoveOutcome(StrEnum):
    """What removing a job did."""

    REMOVED = "removed"
    LOCKED = "locked"
    MISSING = "missing"


@dataclass(frozen=True, slots=True)
class JobView:
    """A job as it lies in Redis, for people.

    ``data``, ``result`` and ``progress`` are JSON text as stored. ``processed_by`` is the name of
    the worker that claimed it last, if it has one; ``parent_key`` is its parent's whole key.
    """

    id: str
    name: str
    state: JobState
    data: str
    opts: Mapping[str, object]
    revision: int | None
    tally: str | None
    timestamp_ms: int
    processed_ms: int | None
    finished_ms: int | None
    attempts_made: int
    attempts_started: int
    stalled_count: int
    is_solo: bool
    deferred_failure: str | None
    failed_reason: str | None
    stacktrace: list[str]
    result: str | None
    delay_ms: int
    priority: int
    progress: str | None
    processed_by: str | None
    parent_key: str | None
    scheduler_id: str | None
    deduplication_id: str | None


@dataclass(frozen=True, slots=True)
class Locking:
    """What locking jobs by their ids did; an id that has no such job is in neither list.

    ``jobs`` are locked now, each as it lay there; ``held_ids`` are being worked on by others.
    """

    jobs: list[JobView]
    held_ids: list[str]


@dataclass(frozen=True, slots=True)
class ReclaimReport:
    """What one pass over the claimed jobs did; solo and doomed ones are among the requeued.

    ``job_ids`` are those of the requeued, the newest claim first.
    """

    requeued: int
    made_solo: int
    doomed: int
    job_ids: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RateLimit:
    """BullMQ's limiter: at most ``max_jobs`` started per fixed window, over all workers.

    0 jobs is no limit.
    """

    max_jobs: int
    duration_ms: int


@dataclass(frozen=True, slots=True)
class GroupLimit:
    """At most ``max_jobs`` of one group started per fixed window, over all workers but Node's.

    A job's group is what stands in its data under ``key``, a text or a number; a job without one is
    in none, and not limited. 0 jobs is no limit.
    """

    max_jobs: int
    duration_ms: int
    key: str


def backoff_delay_ms(
    backoff: object,
    attempts_made: int,
    *,
    draw: Callable[[], float] = random.random,
) -> int:
    """Return the delay in ms before run ``attempts_made + 1``; 0 means at once.

    ``backoff`` is a job's ``backoff`` option: a number (fixed), or a mapping of ``type`` (``fixed``
    or ``exponential``), ``delay`` in ms and ``jitter`` (0 to 1). ``attempts_made`` counts the run
    that just failed, so it is at least 1. What cannot be read as such means no delay; a type that
    only its producer knows is taken as fixed. Never more than a week.
    """
    if not isinstance(backoff, Mapping):
        return _whole_ms(_number(backoff))
    delay_ms = _number(backoff.get("delay"))
    if backoff.get("type") == "exponential":
        doubled = delay_ms * 2.0 ** min(max(attempts_made - 1, 0), 64)
        # Rounded as Node does, before the jitter.
        delay_ms = math.floor(min(doubled, 2.0**53) + 0.5)
    jitter = min(_number(backoff.get("jitter")), 1.0)
    return _whole_ms(draw() * delay_ms * jitter + delay_ms * (1 - jitter))


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not `max`: a comparison with NaN is false, so NaN ends as 0 too.
    return float(value) if is_number and 0 < value < float("inf") else 0.0  # type: ignore[operator, arg-type]


def _whole_ms(delay_ms: float) -> int:
    return int(min(delay_ms, MAX_DELAY_MS))
