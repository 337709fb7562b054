"""How the cost grows with what is there: waiting and active jobs, sources, workers, feeds."""

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from benchmarks.context import Context
from benchmarks.deployment import Deployment, deployed
from benchmarks.parts.idle import idle_percent
from benchmarks.processes import wait_until
from benchmarks.rows import Missing, Sample, series_key
from benchmarks.stores import running_redis, running_store
from benchmarks.trees import Tree

_DRAINED_WITHIN_S = 300.0
_AT_ONCE = 5_000
_REST_S = 3.0


def measure_growth(context: Context) -> Iterator[Sample | Missing]:
    """Measure each series of each checkout, one value a point."""
    for tree in context.trees:
        yield from _measure_queue(context, tree)
        yield from _measure_workers(context, tree)
        yield from _measure_feeds(context, tree)


def _measure_queue(context: Context, tree: Tree) -> Iterator[Sample]:
    sizes = context.sizes
    with running_redis(context.folder / f"{tree.name}-queue") as redis:
        for waiting in sizes.waiting:
            claimed = tree.probe("queue_probe", redis.url, "claim_beside_waiting", waiting)
            yield Sample(series_key("waiting", waiting), tree.name, claimed["redis_ms"])
        for throttled in sizes.waiting:
            claimed = tree.probe("queue_probe", redis.url, "claim_beside_throttled", throttled)
            # An older checkout knows no groups.
            if claimed:
                key = series_key("throttled", throttled)
                yield Sample(key, tree.name, claimed["redis_ms"])
        for active in sizes.active:
            settled = tree.probe("queue_probe", redis.url, "settle_anywhere", active)
            yield Sample(series_key("active", active), tree.name, settled["redis_ms"])


def _measure_workers(context: Context, tree: Tree) -> Iterator[Sample]:
    sizes = context.sizes
    for sources in sizes.sources:
        rate = _rate_of_workers(context, tree, sources=sources, workers=1)
        yield Sample(series_key("sources", sources), tree.name, rate)
    for workers in sizes.workers:
        rate = _rate_of_workers(context, tree, sources=10, workers=workers)
        yield Sample(series_key("workers", workers), tree.name, rate)


def _rate_of_workers(context: Context, tree: Tree, *, sources: int, workers: int) -> float:
    """Return how many items a second workers store that began together, with jobs waiting."""
    folder, jobs = context.folder / f"{tree.name}-{sources}-{workers}", context.sizes.items
    with (
        running_redis(folder / "redis") as redis,
        running_store(context.cheapest_store, folder / "store") as store,
        deployed(
            tree, folder, redis.url, store.url, has_server=False, workers=workers
        ) as deployment,
    ):
        # Paused as any client of BullMQ would do it, so that all begin at once with all there.
        deployment.redis.hset("bull:job_import_queue:meta", "paused", "1")
        tree.probe("seed_probe", redis.url, jobs, sources)
        _resume(deployment)
        started_s = time.perf_counter()
        wait_until(
            lambda: deployment.open_jobs() == 0, "all jobs are done", _DRAINED_WITHIN_S, 0.01
        )
        return jobs / (time.perf_counter() - started_s)


def _resume(deployment: Deployment) -> None:
    base = "bull:job_import_queue"
    deployment.redis.hdel(f"{base}:meta", "paused")
    if deployment.redis.exists(f"{base}:paused"):
        deployment.redis.rename(f"{base}:paused", f"{base}:wait")
    deployment.redis.zadd(f"{base}:marker", {"0": 0})


def _measure_feeds(context: Context, tree: Tree) -> Iterator[Sample]:
    folder = context.folder / f"{tree.name}-feeds"
    for feeds in context.sizes.feeds:
        percent = _idle_percent(context, tree, folder / str(feeds), feeds)
        yield Sample(series_key("feeds", feeds), tree.name, percent)


def _idle_percent(context: Context, tree: Tree, folder: Path, feeds: int) -> float:
    with (
        running_redis(folder / "redis") as redis,
        running_store(context.cheapest_store, folder / "store") as store,
        deployed(tree, folder, redis.url, store.url, workers=0) as deployment,
    ):
        _add_feeds(deployment, feeds)
        time.sleep(_REST_S)
        return idle_percent(deployment, context.sizes.growth_idle_s)[0]


def _add_feeds(deployment: Deployment, feeds: int) -> None:
    """Add copies of a feed that the server made itself; none is due while it is measured."""
    if not feeds:
        return
    later = datetime.now(UTC) + timedelta(days=1)
    wanted = {"source": "model", "url": "https://board.example/feed.xml", "enabled": False}
    deployment.api.post("/feeds", json=wanted).raise_for_status()
    collection = deployment.database["feeds"]
    model = collection.find_one({"_id": "model"})
    assert model is not None
    scheduled = {**model, "enabled": True, "next_fetch_at": later}
    # Unique among feeds, and not needed by any of them.
    scheduled.pop("urls_key", None)
    for start in range(0, feeds, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, feeds))
        copies = [{**scheduled, "_id": f"feed-{number}"} for number in numbers]
        collection.insert_many(copies, ordered=False)
