"""What is wrong, why, and what to press. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from server.api.queue_status import QueueAnswer
from server.api.readiness import SILENT
from server.api.routes.queues import WorkerAnswer
from server.dashboard.filters import show_count, show_duration
from shared.queue import JobState

_ADVICE = "Start it again; Feedmill goes on by itself, nothing is lost."
_ADVICE_REFUSED = "Run 'feedmill doctor': it names what its login lacks. Nothing is lost."
# Where each store's address is set.
_SETTINGS = {"Redis": "REDIS_URL", "MongoDB": "MONGODB_URL"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something an operator should know; ``action`` is a form to post, ``link`` a page to see."""

    text: str
    advice: str
    level: Literal["problem", "warning"] = "problem"
    link: str | None = None
    link_text: str = ""
    action: str | None = None
    action_text: str = ""


@dataclass(frozen=True, slots=True)
class Findings:
    """What was found out. ``queues`` and ``workers`` are empty while Redis is away."""

    absent: Mapping[str, str]
    queues: Sequence[QueueAnswer] = ()
    workers: Sequence[WorkerAnswer] = ()
    failing_feeds: int = 0
    dead_letter_queue: str = ""


def find_troubles(found: Findings) -> list[Trouble]:
    """Return all that is wrong, the worst first; an empty list when all is well."""
    stores = [
        _describe_store(name, found.absent[name]) for name in _SETTINGS if name in found.absent
    ]
    if "Redis" in found.absent:
        return stores
    return [
        *stores,
        *_find_worker_troubles(found),
        *_find_pauses(found.queues),
        *_find_failures(found),
    ]


def _describe_store(name: str, trouble: str) -> Trouble:
    advice = _ADVICE if trouble == SILENT else _ADVICE_REFUSED
    return Trouble(f"{name} {trouble}.", f"{advice} Its address is the setting {_SETTINGS[name]}.")


def _find_worker_troubles(found: Findings) -> list[Trouble]:
    if not found.workers:
        advice = "Items wait until one does: start one with 'feedmill worker'."
        return [Trouble("No worker runs.", advice)]
    stopped = [worker for worker in found.workers if worker.breaker_reason is not None]
    troubles = []
    if stopped:
        longest = max(worker.breaker_open_s for worker in stopped)
        share = (
            ""
            if len(stopped) == len(found.workers)
            else f" in {len(stopped)} of {len(found.workers)} workers"
        )
        since = f"for {show_duration(longest)}"
        text = f"The breaker is open{share}, {since}: {stopped[0].breaker_reason}."
        troubles.append(Trouble(text, "Workers go on by themselves when MongoDB stores again."))
    troubles += [
        Trouble(
            f"A thread of worker {worker.id} fails: {'; '.join(worker.failing_threads)}.",
            "Its log has the stack under 'thread_failed'; should it go on, the worker ends.",
        )
        for worker in found.workers
        if worker.failing_threads
    ]
    troubles += [
        Trouble(
            f"No worker takes the jobs of {queue.name}.",
            "Start one whose WORKER_TYPE includes it.",
            link="/admin/queues",
            link_text="See the queue",
        )
        for queue in found.queues
        if queue.limited_by == "no_worker"
    ]
    return troubles


def _find_pauses(queues: Sequence[QueueAnswer]) -> list[Trouble]:
    return [
        Trouble(
            f"The queue {queue.name} is paused.",
            "Its jobs wait until somebody resumes it.",
            "warning",
            action=f"/admin/queues/{quote(queue.name, safe='')}/resume",
            action_text="Resume",
        )
        for queue in queues
        if queue.is_paused
    ]


def _find_failures(found: Findings) -> list[Trouble]:
    troubles = []
    if found.failing_feeds:
        number = found.failing_feeds
        text = "One feed fails." if number == 1 else f"{show_count(number)} feeds fail."
        advice = "Each says why, and is tried again by itself."
        troubles.append(Trouble(text, advice, "warning", "/admin/feeds?failing=true", "See which"))
    dead = sum(
        queue.counts[JobState.WAITING]
        for queue in found.queues
        if queue.name == found.dead_letter_queue
    )
    if dead:
        text = "One item is dead." if dead == 1 else f"{show_count(dead)} items are dead."
        advice = "See why, and replay them when the cause is gone."
        troubles.append(Trouble(text, advice, "warning", "/admin/dlq", "See the dead letters"))
    return troubles
