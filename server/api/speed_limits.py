"""What limits the speed of a queue right now, in one word and in one sentence. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Literal

from server.api.presentation import show_text
from shared.queue import JobState, RateLimit, WorkerSign

# A free worker claims what waits within a moment; what waits longer has none.
_NO_WORKER_AFTER_MS = 5_000
# Between two windows the limit is not used up, and yet it is what limits.
_NEAR_LIMIT = 0.9

LimitedBy = Literal["breaker", "no_worker", "paused", "rate_limit", "workers"]
# Of several queues the one is told of that needs somebody most.
_WORST_FIRST: tuple[LimitedBy, ...] = (
    "breaker",
    "no_worker",
    "paused",
    "rate_limit",
    "workers",
)


class QueueRole(Enum):
    """Who takes a queue's jobs: workers, the servers, or nobody by himself."""

    ITEMS = "items"
    FETCHES = "fetches"
    DEAD_LETTERS = "dead letters"


@dataclass(frozen=True, slots=True)
class QueueView:
    """A queue at one moment. ``workers`` are those that live and take its jobs."""

    role: QueueRole
    counts: Mapping[JobState, int]
    is_paused: bool = False
    oldest_waiting_ms: int | None = None
    rate_per_s: float | None = None
    rate_limit: RateLimit | None = None
    is_rate_used_up: bool = False
    workers: Sequence[WorkerSign] = ()

    @property
    def waiting(self) -> int:
        """How many jobs could be started now."""
        return self.counts[JobState.WAITING] + self.counts[JobState.PRIORITIZED]

    @property
    def active(self) -> int:
        """How many jobs are in somebody's hand."""
        return self.counts[JobState.ACTIVE]


@dataclass(frozen=True, slots=True)
class SpeedLimit:
    """What holds waiting jobs up; ``kind`` is None when nothing does."""

    kind: LimitedBy | None
    text: str


_NOTHING_WAITS = SpeedLimit(None, "nothing waits")


def find_speed_limit(queue: QueueView) -> SpeedLimit:
    """Return what limits a queue, whatever would have to change first."""
    if queue.is_paused:
        return SpeedLimit("paused", "paused by an operator")
    if not queue.waiting + queue.active:
        return _NOTHING_WAITS
    if queue.role is QueueRole.DEAD_LETTERS:
        return SpeedLimit(None, "dead letters wait for a replay")
    if queue.role is QueueRole.FETCHES:
        return SpeedLimit("workers", f"fetches under way: {queue.active}")
    return _find_item_limit(queue)


def find_worst_limit(limits: Mapping[str, SpeedLimit]) -> SpeedLimit:
    """Return the limit of several queues that needs somebody most; it names whose it is."""
    for kind in _WORST_FIRST:
        found = [limit for limit in limits.values() if limit.kind == kind]
        if found:
            names = ", ".join(name for name, limit in limits.items() if limit == found[0])
            return SpeedLimit(kind, f"{found[0].text} ({names})")
    return _NOTHING_WAITS


def describe_rate_limit(limit: RateLimit) -> str:
    """Return a limit as ``100/s``, or with its window: ``100 per 2.5 s``."""
    if limit.duration_ms == 1000:
        return f"{limit.max_jobs}/s"
    return f"{limit.max_jobs} per {limit.duration_ms / 1000:g} s"


def _find_item_limit(queue: QueueView) -> SpeedLimit:
    stopped = [worker for worker in queue.workers if worker.is_breaker_open]
    if stopped and len(stopped) == len(queue.workers):
        return SpeedLimit("breaker", f"breaker open: {show_text(stopped[0].breaker_reason or '')}")
    if not queue.workers and _has_waited(queue):
        return SpeedLimit("no_worker", "no worker takes its jobs")
    if queue.rate_limit is not None and queue.waiting and _is_at_limit(queue, queue.rate_limit):
        return SpeedLimit("rate_limit", f"rate limit {describe_rate_limit(queue.rate_limit)}")
    number = len(queue.workers)
    count = f"{number} worker{'' if number == 1 else 's'}" if number else "workers"
    jobs = f"{queue.active} job{'' if queue.active == 1 else 's'} in hand"
    return SpeedLimit("workers", f"{count} at full speed, {jobs}")


def _has_waited(queue: QueueView) -> bool:
    """Tell whether no job waits (those in hand are nobody's any more), or one has for long."""
    return not queue.waiting or (queue.oldest_waiting_ms or 0) > _NO_WORKER_AFTER_MS


def _is_at_limit(queue: QueueView, limit: RateLimit) -> bool:
    if queue.is_rate_used_up:
        return True
    allowed_per_s = limit.max_jobs * 1000 / limit.duration_ms
    return (queue.rate_per_s or 0.0) >= _NEAR_LIMIT * allowed_per_s
