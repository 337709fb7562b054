"""Imports over HTTP: first, with nothing new in another body, and not modified."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from benchmarks.context import Context
from benchmarks.deployment import Deployment, Usage, deployed
from benchmarks.feed import Feed, make_feed, published
from benchmarks.peers import PeerMissing, run_peer
from benchmarks.rows import Missing, Sample
from benchmarks.stores import (
    RunningStore,
    StoreKind,
    running_redis,
    running_store,
)
from benchmarks.trees import Tree

SOURCE = "board"
# What is still done when an import is closed: the last settlement, the fetch job's own.
_AFTERWORK_S = 0.5
_SCRIPTS = {"script, feedparser": "feedparser", "script, lxml": "lxml"}


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: by the clock, of server and workers, of the store."""

    wall_s: float
    usage: Usage
    store_s: float


def measure_imports(context: Context) -> Iterator[Sample | Missing]:
    """Measure each checkout on each store, then the straight scripts on the same store."""
    for kind in context.stores:
        for tree in context.trees:
            yield from _measure_tree(context, tree, kind)
        if context.with_peers:
            yield from _measure_scripts(context, kind)


def _measure_tree(context: Context, tree: Tree, kind: StoreKind) -> Iterator[Sample]:
    folder = context.folder / f"{tree.name}-{kind}"
    items = context.sizes.items
    with (
        running_redis(folder / "redis") as redis,
        running_store(kind, folder / "store") as store,
        deployed(tree, folder, redis.url, store.url) as deployment,
        published(make_feed(items)) as feed,
    ):
        # Not the cost of loading modules and of starting the parser is measured.
        deployment.run_import(feed.small_url, "small")
        for key, value in _measure(context, deployment, store, feed, items).items():
            yield Sample(f"{key}.{kind}", tree.name, value)


def _measure(
    context: Context, deployment: Deployment, store: RunningStore, feed: Feed, items: int
) -> dict[str, float]:
    def run_import() -> None:
        deployment.run_import(feed.url, SOURCE)

    first = _cost(deployment, store, run_import)
    feed.publish(make_feed(items, note="another body"))
    unchanged = _cost(deployment, store, run_import)
    not_modified = _cost_of_not_modified(deployment, store, feed, context.sizes.not_modified)
    return {
        "first.rate": items / first.wall_s,
        "first.server": first.usage.server_s,
        "first.worker": first.usage.worker_s,
        "first.cpu": _cpu_s(first),
        "first.store": first.store_s,
        "unchanged.cpu": _cpu_s(unchanged),
        "unchanged.wall": unchanged.wall_s,
        "unchanged.ratio": _cpu_s(unchanged) / _cpu_s(first),
        "not-modified.cpu": _cpu_s(not_modified) * 1000,
        "not-modified.wall": not_modified.wall_s * 1000,
        "not-modified.ratio": _cpu_s(not_modified) / _cpu_s(first),
    }


def _cpu_s(cost: Cost) -> float:
    return cost.usage.server_s + cost.usage.worker_s


def _cost_of_not_modified(
    deployment: Deployment, store: RunningStore, feed: Feed, times: int
) -> Cost:
    """Return the cost of one import of many: one alone is less than the clock of CPU shows."""

    def run_all() -> None:
        for _ in range(times):
            deployment.run_import(feed.url, SOURCE, look_every_s=0.002)

    all_s = _cost(deployment, store, run_all, afterwork_s=0.0)
    usage = Usage(all_s.usage.server_s / times, all_s.usage.worker_s / times)
    return Cost(all_s.wall_s / times, usage, all_s.store_s / times)


def _cost(
    deployment: Deployment,
    store: RunningStore,
    act: Callable[[], None],
    afterwork_s: float = _AFTERWORK_S,
) -> Cost:
    before, before_store_s, started_s = deployment.usage(), store.cpu_s(), time.perf_counter()
    act()
    wall_s = time.perf_counter() - started_s
    time.sleep(afterwork_s)
    return Cost(wall_s, deployment.usage().since(before), store.cpu_s() - before_store_s)


def _measure_scripts(context: Context, kind: StoreKind) -> Iterator[Sample | Missing]:
    folder = context.folder / f"scripts-{kind}"
    body = make_feed(context.sizes.items)
    for column, parser in _SCRIPTS.items():
        with (
            running_store(kind, folder / parser) as store,
            published(body) as feed,
        ):
            try:
                figures = run_peer("straight_script.py", parser, feed.url, store.url)
            except PeerMissing as missing:
                yield Missing(column, str(missing))
                continue
            yield Sample(f"first.rate.{kind}", column, context.sizes.items / figures["wall_s"])
            yield Sample(f"first.cpu.{kind}", column, figures["cpu_s"])
            yield Sample(f"first.store.{kind}", column, store.cpu_s())
