"""The overview: whether all is well, what happens now, and what limits the speed."""

from dataclasses import dataclass, field
from datetime import timedelta

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from server.api.import_answers import ImportAnswer
from server.api.parts import ApiParts, Parts
from server.api.queue_status import QueueAnswer, SpeedLimit, find_worst_limit
from server.api.readiness import describe_absent, describe_trouble
from server.api.routes.queues import WorkerAnswer, show_worker
from server.dashboard.charts import Chart, Series, choose_top_s, draw_chart
from server.dashboard.filters import show_count, show_duration, show_rate
from server.dashboard.page_route import page_router
from server.dashboard.rendering import redirect, render
from server.dashboard.samples import Samples
from server.dashboard.site import DashboardParts, Site
from server.dashboard.troubles import Findings, Trouble, find_troubles
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.queue import JobState
from shared.store import Import

router = page_router()

NOW_PATH = "/admin/overview/now"
BUSY_EVERY_S, IDLE_EVERY_S = 2, 5
MAX_RUNNING = 20
MAX_FINISHED = 8
LATEST_WINDOWS = (timedelta(hours=1), timedelta(days=1))


@dataclass(slots=True)
class Overview:
    """All that the page shows. Each half is empty while its store is away."""

    absent: dict[str, str]
    queues: list[QueueAnswer] = field(default_factory=list)
    workers: list[WorkerAnswer] = field(default_factory=list)
    running: list[ImportAnswer] = field(default_factory=list)
    running_total: int = 0
    finished: list[ImportAnswer] = field(default_factory=list)
    feeds_exist: bool = True
    failing_feeds: int = 0

    @property
    def is_busy(self) -> bool:
        """Whether something moves, so that looking often is worth it."""
        return bool(self.running) or any(queue.counts[JobState.ACTIVE] for queue in self.queues)


# Coroutines, as the health checks: they have to say that a store hangs while it does.
@router.get("/")
async def show_overview(request: Request, parts: Parts, site: Site) -> Response:
    """Show the overview."""
    absent = await parts.readiness.find_absent()
    return await run_in_threadpool(_render, request, parts, site, absent, "overview/page.html")


@router.get("/admin")
async def go_to_overview(request: Request) -> Response:
    """Lead whoever shortens an address to the overview."""
    return redirect(request, "/")


@router.get(NOW_PATH)
async def show_now(request: Request, parts: Parts, site: Site) -> Response:
    """Show the part of the overview that changes."""
    absent = await parts.readiness.find_absent()
    return await run_in_threadpool(_render, request, parts, site, absent, "overview/_now.html")


def _render(
    request: Request, parts: ApiParts, site: DashboardParts, absent: dict[str, str], template: str
) -> Response:
    overview = read_overview(parts, absent)
    names = [queue.name for queue in (parts.services.light_queue, parts.services.heavy_queue)]
    return render(
        request,
        template,
        overview=overview,
        troubles=_find_troubles(parts, overview),
        limit=_find_limit(parts, overview),
        charts=draw_charts(site.samples, names, parts.services.fetch_queue.name),
        now_path=NOW_PATH,
        every_s=BUSY_EVERY_S if overview.is_busy else IDLE_EVERY_S,
    )


def read_overview(parts: ApiParts, absent: dict[str, str]) -> Overview:
    """Ask the stores that answer; one that stops answering meanwhile counts as absent."""
    overview = Overview(dict(absent))
    for store, read in (("Redis", _read_queues), ("MongoDB", _read_imports)):
        if store in overview.absent:
            continue
        try:
            read(parts, overview)
        except (QueueUnavailable, StoreUnavailable) as exc:
            overview.absent[store] = describe_trouble(exc)
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


def _read_queues(parts: ApiParts, overview: Overview) -> None:
    overview.queues = parts.queue_status.show_all()
    overview.workers = [show_worker(sign) for sign in parts.worker_signs.read()]


def _read_imports(parts: ApiParts, overview: Overview) -> None:
    stores = parts.services.stores
    running = sorted(stores.imports.find_open(), key=lambda each: each.requested_at, reverse=True)
    finished = [each for each in _find_latest(parts) if not each.is_open]
    overview.running_total = len(running)
    overview.running = parts.imports.show_many(running[:MAX_RUNNING])
    overview.finished = parts.imports.show_many(finished[:MAX_FINISHED])
    overview.feeds_exist = bool(stores.feeds.find_page(limit=1, cursor=None).items)
    overview.failing_feeds = stores.feeds.count().failing


def _find_latest(parts: ApiParts) -> list[Import]:
    """Return the latest imports, looked for in windows that grow.

    SecantusDB reads all that matches before it takes the first few, and this is asked all the time.
    """
    wanted, now = MAX_FINISHED + MAX_RUNNING, parts.services.clock.now()
    for window in LATEST_WINDOWS:
        page = parts.services.stores.imports.find_page(since=now - window, limit=wanted)
        if len(page.items) == wanted:
            return page.items
    return parts.services.stores.imports.find_page(limit=wanted).items


def _find_troubles(parts: ApiParts, overview: Overview) -> list[Trouble]:
    found = Findings(
        absent=overview.absent,
        queues=overview.queues,
        workers=overview.workers,
        failing_feeds=overview.failing_feeds,
        dead_letter_queue=parts.services.dead_letter_queue.name,
    )
    return find_troubles(found)


def _find_limit(parts: ApiParts, overview: Overview) -> SpeedLimit:
    if overview.absent:
        return SpeedLimit("breaker", describe_absent(overview.absent))
    dead_letter_queue = parts.services.dead_letter_queue.name
    return find_worst_limit(
        {
            queue.name: SpeedLimit(queue.limited_by, queue.limited_by_text)
            for queue in overview.queues
            if queue.name != dead_letter_queue
        }
    )
