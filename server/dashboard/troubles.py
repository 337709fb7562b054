"""What is wrong with a service, the worst first, and what to do about it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from server.api.queue_status import QueueAnswer
from server.api.readiness import SILENT
from server.api.routes.queues import WorkerAnswer
from server.dashboard.filters import show_count, show_duration, show_sentence
from server.dashboard.overview import Overview
from server.feeds.progress import BackFillView
from shared.queue import JobState

_ADVICE = "Start it; Feedmill then continues by itself, and nothing is lost."
_ADVICE_REFUSED = "Run 'feedmill doctor': it names the missing permission. Nothing is lost."
# Where each store's URL is set.
_SETTINGS = {"Redis": "REDIS_URL", "MongoDB": "MONGODB_URL"}


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something an operator should know; ``action`` is a form to post, ``link`` a page to see.

    ``help_anchor`` is its section in docs/troubleshooting.md.
    """

    text: str
    advice: str
    help_anchor: str
    level: Literal["problem", "warning"] = "problem"
    link: str | None = None
    link_text: str = ""
    action: str | None = None
    action_text: str = ""


def find_troubles(overview: Overview) -> list[Trouble]:
    """Return all that is wrong, the worst first; an empty list when all is well."""
    absent = overview.absent
    stores = [_describe_store(name, absent[name]) for name in _SETTINGS if name in absent]
    if "Redis" in absent:
        return stores
    return [
        *stores,
        *_find_worker_troubles(overview),
        *_find_pauses(overview.queues),
        *_find_failures(overview),
        *_find_failing_backfills(overview.backfills),
    ]


def _describe_store(name: str, trouble: str) -> Trouble:
    advice = _ADVICE if trouble == SILENT else _ADVICE_REFUSED
    text = f"{advice} Its URL is set by {_SETTINGS[name]}."
    return Trouble(f"{name} {trouble}.", text, "store-unavailable")


def _find_worker_troubles(overview: Overview) -> list[Trouble]:
    if not overview.workers:
        advice = "Items wait until one is started: 'feedmill worker'."
        return [Trouble("No worker is running.", advice, "no-worker")]
    return [
        *_find_open_breakers(overview.workers),
        *_find_failing_threads(overview.workers),
        *_find_queues_without_worker(overview.queues),
    ]


def _find_open_breakers(workers: Sequence[WorkerAnswer]) -> list[Trouble]:
    stopped = [worker for worker in workers if worker.breaker_reason is not None]
    if not stopped:
        return []
    total = len(workers)
    share = "" if len(stopped) == total else f" in {len(stopped)} of {total} workers"
    since = f"for {show_duration(max(worker.breaker_open_s for worker in stopped))}"
    text = f"Circuit breaker open{share} {since}: {stopped[0].breaker_reason}."
    advice = "Workers continue by themselves as soon as MongoDB accepts writes."
    return [Trouble(text, advice, "circuit-breaker-open")]


def _find_failing_threads(workers: Sequence[WorkerAnswer]) -> list[Trouble]:
    return [
        Trouble(
            f"Worker {worker.id}: a thread is failing: {'; '.join(worker.failing_threads)}.",
            "See 'thread_failed' in its log. If it keeps failing, the worker stops.",
            "worker-thread-failing",
        )
        for worker in workers
        if worker.failing_threads
    ]


def _find_queues_without_worker(queues: Sequence[QueueAnswer]) -> list[Trouble]:
    return [
        Trouble(
            f"No worker processes the queue {queue.name}.",
            _advice_to_work(queue),
            "no-worker",
            link="/admin/queues",
            link_text="Show queues",
        )
        for queue in queues
        if queue.limited_by == "no_worker"
    ]


def _advice_to_work(queue: QueueAnswer) -> str:
    if queue.weight is None:
        return "Start a worker whose WORKER_TYPE includes it."
    return (
        f"{show_sentence(queue.weight)} jobs wait: start its app, 'feedmill worker --app MODULE'."
    )


def _find_pauses(queues: Sequence[QueueAnswer]) -> list[Trouble]:
    return [
        Trouble(
            f"Queue {queue.name} is paused.",
            "Its jobs wait until it is resumed.",
            "queue-paused",
            "warning",
            action=f"/admin/queues/{quote(queue.name, safe='')}/resume",
            action_text="Resume",
        )
        for queue in queues
        if queue.is_paused
    ]


def _find_failing_backfills(backfills: Sequence[BackFillView]) -> list[Trouble]:
    return [
        Trouble(
            f"Back-fill of {each.source} has failing intervals: {each.error or 'see its imports'}.",
            "They are retried automatically; the back-fill ends when all are imported.",
            "back-fill-failing",
            "warning",
            f"/admin/feeds/{quote(each.source, safe='')}",
            "Show feed",
        )
        for each in backfills
        if each.failing
    ]


def _find_failures(overview: Overview) -> list[Trouble]:
    dead = sum(
        queue.counts[JobState.WAITING]
        for queue in overview.queues
        if queue.name == overview.dead_letter_queue
    )
    failing = _describe_failing_feeds(overview.failing_feeds) if overview.failing_feeds else None
    letters = _describe_dead_letters(dead) if dead else None
    return [trouble for trouble in (failing, letters) if trouble is not None]


def _describe_failing_feeds(number: int) -> Trouble:
    return Trouble(
        "1 feed is failing." if number == 1 else f"{show_count(number)} feeds are failing.",
        "Failing feeds are retried automatically.",
        "feeds-failing",
        "warning",
        "/admin/feeds?state=failing",
        "Show feeds",
    )


def _describe_dead_letters(number: int) -> Trouble:
    return Trouble(
        "1 dead letter." if number == 1 else f"{show_count(number)} dead letters.",
        "Fix the cause, then replay them.",
        "dead-letters",
        "warning",
        "/admin/dlq",
        "Show dead letters",
    )
