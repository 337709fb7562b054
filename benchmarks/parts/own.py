"""Queues of one's own, filled and emptied by kinds of jobs, beside BullMQ of Node and of Python."""

from collections.abc import Iterator

from benchmarks.context import Context
from benchmarks.peers import OWN_QUEUE_PEERS, PeerMissing
from benchmarks.processes import BenchmarkError
from benchmarks.rows import Missing, Sample
from benchmarks.stores import running_redis
from benchmarks.trees import Tree


def measure_own(context: Context) -> Iterator[Sample | Missing]:
    """Measure each checkout and each peer on one Redis, one after the other."""
    with running_redis(context.folder / "redis") as redis:
        for tree in context.trees:
            yield from _measure_tree(context, tree, redis.url)
        for name, measure in OWN_QUEUE_PEERS.items() if context.with_peers else ():
            try:
                figures = measure(redis.url, context.sizes.jobs)
            except PeerMissing as missing:
                yield Missing(name, str(missing))
                continue
            for key, value in figures.items():
                yield Sample(f"own.{key}", name, value)


def _measure_tree(context: Context, tree: Tree, redis_url: str) -> Iterator[Sample | Missing]:
    try:
        figures = tree.probe("own_queue_probe", redis_url, context.sizes.jobs)
    except BenchmarkError as exc:
        # A checkout from before there were such queues.
        if tree is context.trees[-1]:
            raise
        yield Missing(tree.name, str(exc))
        return
    for key, value in figures.items():
        yield Sample(key, tree.name, value)
