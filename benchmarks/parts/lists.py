"""The first page of /items where there are many."""

import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from benchmarks.context import Context
from benchmarks.deployment import Deployment, deployed
from benchmarks.feed import make_feed, published
from benchmarks.processes import BenchmarkError
from benchmarks.rows import Missing, Sample
from benchmarks.stores import StoreKind, running_redis, running_store

_AT_ONCE = 5_000
_LOOKS = 3
_LISTS = {"list.all": "/items", "list.source": "/items?source=board"}


def measure_lists(context: Context) -> Iterator[Sample | Missing]:
    """Fill each checkout's collection with copies of an item it stored itself, then list them."""
    for tree in context.trees:
        folder = context.folder / tree.name
        with (
            running_redis(folder / "redis") as redis,
            running_store(StoreKind.EMBEDDED, folder / "store") as store,
            deployed(tree, folder, redis.url, store.url) as deployment,
            published(make_feed(1)) as feed,
        ):
            deployment.run_import(feed.url, "board")
            _copy_item(deployment, context.sizes.listed)
            for key, path in _LISTS.items():
                yield Sample(key, tree.name, _seconds(deployment, path))


def _copy_item(deployment: Deployment, copies: int) -> None:
    items = deployment.database["items"]
    model = items.find_one()
    assert model is not None
    for start in range(0, copies, _AT_ONCE):
        numbers = range(start, min(start + _AT_ONCE, copies))
        items.insert_many([_copy_of(model, number) for number in numbers], ordered=False)


def _copy_of(model: dict[str, Any], number: int) -> dict[str, Any]:
    guid, later = f"copy-{number:07}", timedelta(milliseconds=number)
    times = {name: model[name] + later for name in ("created_at", "modified_at")}
    return {**model, **times, "_id": f"board#{guid}", "guid": guid}


def _seconds(deployment: Deployment, path: str) -> float:
    """Return the least of a few looks: the first one finds nothing in the store's memory."""
    return min(_look_s(deployment, path) for _ in range(_LOOKS))


def _look_s(deployment: Deployment, path: str) -> float:
    started_s = time.perf_counter()
    answer = deployment.api.get(path)
    if answer.status_code != 200 or not answer.json()["items"]:
        raise BenchmarkError(f"{path} answered {answer.status_code}: {answer.text[:300]}")
    return time.perf_counter() - started_s
