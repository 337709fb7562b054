"""The overview: whether all is well, what happens now, and what limits the speed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal
from urllib.parse import quote

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from server.api.import_answers import ImportAnswer
from server.api.parts import ApiParts, Parts
from server.api.queue_status import QueueAnswer, SpeedLimit, find_worst_limit
from server.api.readiness import SILENT, describe_absent, describe_trouble
from server.api.routes.queues import WorkerAnswer, show_worker
from server.dashboard.charts import Chart, Samples, Series, choose_top_s, draw_chart
from server.dashboard.filters import show_count, show_duration, show_rate
from server.dashboard.rendering import redirect, render
from server.dashboard.site import DashboardParts, Site, page_router
from server.feeds.progress import BackFillView
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.queue import JobState

router = page_router()

NOW_PATH = "/admin/overview/now"
BUSY_EVERY_S, IDLE_EVERY_S = 2, 5
MAX_RUNNING = 20
MAX_FINISHED = 8
_ADVICE = "Start it again; Feedmill goes on by itself, nothing is lost."
_ADVICE_REFUSED = "Run 'feedmill doctor': it names what its login lacks. Nothing is lost."
# Where each store's URL is set.
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
class Overview:
    """All that the page shows. ``absent`` is what a store does instead of serving.

    What Redis knows is empty while it is away, and what MongoDB knows while that is.
    """

    absent: Mapping[str, str]
    dead_letter_queue: str = ""
    queues: Sequence[QueueAnswer] = ()
    workers: Sequence[WorkerAnswer] = ()
    running: Sequence[ImportAnswer] = ()
    running_total: int = 0
    finished: Sequence[ImportAnswer] = ()
    backfills: Sequence[BackFillView] = ()
    feeds_exist: bool = True
    failing_feeds: int = 0

    @property
    def is_busy(self) -> bool:
        """Whether something moves, so that looking often is worth it."""
        return bool(self.running) or any(queue.counts[JobState.ACTIVE] for queue in self.queues)


# Coroutines, as the health checks: they have to show that a store hangs while it does.
@router.get("/")
async def show_overview(request: Request, parts: Parts, site: Site) -> Response:
    """Show the overview."""
    absent = await parts.readiness.find_absent()
    return await run_in_threadpool(_render, request, parts, site, absent, "overview/page.html")


@router.get("/admin")
async def go_to_overview(request: Request) -> Response:
    """Lead whoever shortens a URL to the overview."""
    return redirect(request, "/")


@router.get(NOW_PATH)
async def show_now(request: Request, parts: Parts, site: Site) -> Response:
    """Show the part of the overview that changes."""
    absent = await parts.readiness.find_absent()
    return await run_in_threadpool(_render, request, parts, site, absent, "overview/_now.html")


def _render(
    request: Request,
    parts: ApiParts,
    site: DashboardParts,
    absent: Mapping[str, str],
    template: str,
) -> Response:
    overview = read_overview(parts, absent)
    names = [queue.name for queue in (parts.services.light_queue, parts.services.heavy_queue)]
    return render(
        request,
        template,
        overview=overview,
        troubles=find_troubles(overview),
        limit=_find_limit(overview),
        charts=draw_charts(site.samples, names, parts.services.fetch_queue.name),
        now_path=NOW_PATH,
        every_s=BUSY_EVERY_S if overview.is_busy else IDLE_EVERY_S,
    )


def read_overview(parts: ApiParts, absent: Mapping[str, str]) -> Overview:
    """Ask the stores that answer; one that stops answering meanwhile counts as absent."""
    overview = Overview(absent, parts.services.dead_letter_queue.name)
    for store, read in (("Redis", _read_queues), ("MongoDB", _read_imports)):
        if store in absent:
            continue
        try:
            overview = read(parts, overview)
        except (QueueUnavailable, StoreUnavailable) as exc:
            found = {**overview.absent, store: describe_trouble(exc)}
            overview = replace(overview, absent=found)
    return overview


def draw_charts(samples: Samples, item_queues: list[str], fetch_queue: str) -> list[Chart]:
    """Return the three charts: how fast, how much waits, for how long."""
    names = [*item_queues, fetch_queue]
    depths = [Series(name, samples.depths(name)) for name in names]
    ages = [Series(name, samples.ages(name)) for name in names]
    rates = [Series("items stored a second", samples.rates(item_queues))]
    return [
        draw_chart("Items per second", rates, show_rate, headline=sum),
        draw_chart("Waiting jobs", depths, lambda depth: show_count(round(depth)), headline=sum),
        draw_chart("Oldest waiting job", ages, show_duration, headline=max, find_top=choose_top_s),
    ]


def _read_queues(parts: ApiParts, overview: Overview) -> Overview:
    workers = [show_worker(sign) for sign in parts.worker_signs.read()]
    return replace(overview, queues=parts.queue_status.show_all(), workers=workers)


def _read_imports(parts: ApiParts, overview: Overview) -> Overview:
    stores = parts.services.stores
    running = sorted(stores.imports.find_open(), key=lambda each: each.requested_at, reverse=True)
    latest = stores.imports.find_page(limit=MAX_FINISHED + MAX_RUNNING).items
    finished = [each for each in latest if not each.is_open]
    return replace(
        overview,
        running_total=len(running),
        running=parts.imports.show_many(running[:MAX_RUNNING]),
        finished=parts.imports.show_many(finished[:MAX_FINISHED]),
        backfills=parts.services.backfills.list_running()[:MAX_RUNNING],
        feeds_exist=bool(running or stores.feeds.find_page(limit=1).items),
        failing_feeds=stores.feeds.count_failing(),
    )


def _find_limit(overview: Overview) -> SpeedLimit:
    if overview.absent:
        return SpeedLimit("breaker", describe_absent(overview.absent))
    return find_worst_limit(
        {
            queue.name: SpeedLimit(queue.limited_by, queue.limited_by_text)
            for queue in overview.queues
            if queue.name != overview.dead_letter_queue
        }
    )


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
    return Trouble(f"{name} {trouble}.", f"{advice} Its URL is the setting {_SETTINGS[name]}.")


def _find_worker_troubles(overview: Overview) -> list[Trouble]:
    if not overview.workers:
        advice = "Items wait until one does: start one with 'feedmill worker'."
        return [Trouble("No worker runs.", advice)]
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
    text = f"The breaker is open{share}, {since}: {stopped[0].breaker_reason}."
    return [Trouble(text, "Workers go on by themselves when MongoDB stores again.")]


def _find_failing_threads(workers: Sequence[WorkerAnswer]) -> list[Trouble]:
    return [
        Trouble(
            f"A thread of worker {worker.id} fails: {'; '.join(worker.failing_threads)}.",
            "Its log has the stack under 'thread_failed'; should it go on, the worker ends.",
        )
        for worker in workers
        if worker.failing_threads
    ]


def _find_queues_without_worker(queues: Sequence[QueueAnswer]) -> list[Trouble]:
    return [
        Trouble(
            f"No worker takes the jobs of {queue.name}.",
            _advice_to_work(queue),
            link="/admin/queues",
            link_text="See the queue",
        )
        for queue in queues
        if queue.limited_by == "no_worker"
    ]


def _advice_to_work(queue: QueueAnswer) -> str:
    if queue.weight is None:
        return "Start one whose WORKER_TYPE includes it."
    return f"Start one that has its app, 'feedmill worker --app MODULE': {queue.weight} jobs wait."


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


def _find_failing_backfills(backfills: Sequence[BackFillView]) -> list[Trouble]:
    return [
        Trouble(
            f"Intervals of the back-fill of {each.source} fail: {each.error or 'see its imports'}.",
            "They are tried again by themselves; it does not end before they are read.",
            "warning",
            f"/admin/feeds/{quote(each.source, safe='')}",
            "See the feed",
        )
        for each in backfills
        if each.failing
    ]


def _find_failures(overview: Overview) -> list[Trouble]:
    troubles = []
    if overview.failing_feeds:
        number = overview.failing_feeds
        text = "One feed fails." if number == 1 else f"{show_count(number)} feeds fail."
        advice = "Each says why, and is tried again by itself."
        troubles.append(Trouble(text, advice, "warning", "/admin/feeds?failing=true", "See which"))
    dead = sum(
        queue.counts[JobState.WAITING]
        for queue in overview.queues
        if queue.name == overview.dead_letter_queue
    )
    if dead:
        text = "One item is dead." if dead == 1 else f"{show_count(dead)} items are dead."
        advice = "See why, and replay them when the cause is gone."
        troubles.append(Trouble(text, advice, "warning", "/admin/dlq", "See the dead letters"))
    return troubles
