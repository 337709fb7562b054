"""The overview: whether all is well, what happens now, and what limits the speed."""

from collections.abc import Mapping

from fastapi import Request
from starlette.concurrency import run_in_threadpool
from starlette.responses import Response

from server.api.parts import ApiParts, Parts
from server.api.queue_status import SpeedLimit, find_worst_limit
from server.api.readiness import describe_absent
from server.dashboard.charts import Chart, Samples, Series, choose_top_s, draw_chart
from server.dashboard.filters import show_count, show_duration, show_rate
from server.dashboard.overview import Overview, read_overview
from server.dashboard.rendering import redirect, render
from server.dashboard.site import DashboardParts, Site, page_router
from server.dashboard.troubles import find_troubles

router = page_router()

NOW_PATH = "/admin/overview/now"
BUSY_EVERY_S, IDLE_EVERY_S = 2, 5


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
