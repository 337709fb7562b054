"""What server and worker use while there is nothing to do."""

import time
from collections.abc import Iterator

from benchmarks.context import Context
from benchmarks.deployment import Deployment, deployed
from benchmarks.feed import make_feed, published
from benchmarks.rows import Missing, Sample
from benchmarks.stores import running_redis, running_store

# After the last import, until what follows it is done too.
_REST_S = 3.0


def measure_idle(context: Context) -> Iterator[Sample | Missing]:
    """Let each checkout import once, then do nothing for a while."""
    for tree in context.trees:
        folder = context.folder / tree.name
        with (
            running_redis(folder / "redis") as redis,
            running_store(context.cheapest_store, folder / "store") as store,
            deployed(tree, folder, redis.url, store.url) as deployment,
            published(make_feed(10)) as feed,
        ):
            deployment.run_import(feed.url, "board")
            time.sleep(_REST_S)
            server, worker = idle_percent(deployment, context.sizes.idle_s)
            yield Sample("idle.server", tree.name, server)
            yield Sample("idle.worker", tree.name, worker)


def idle_percent(deployment: Deployment, seconds: float) -> tuple[float, float]:
    """Return how many percent of a core server and workers use while nothing is asked of them."""
    before, started_s = deployment.usage(), time.perf_counter()
    time.sleep(seconds)
    used = deployment.usage().since(before)
    elapsed_s = time.perf_counter() - started_s
    return used.server_s / elapsed_s * 100, used.worker_s / elapsed_s * 100
