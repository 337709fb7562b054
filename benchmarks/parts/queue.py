"""Adding, draining and settling, through the queue's own scripts, beside other queues."""

from collections.abc import Iterator

from benchmarks.context import Context
from benchmarks.peers import PEERS, PeerMissing
from benchmarks.rows import Missing, Sample
from benchmarks.stores import running_redis
from benchmarks.trees import Tree


def measure_queue(context: Context) -> Iterator[Sample | Missing]:
    """Measure each checkout and each peer on one Redis, one after the other."""
    with running_redis(context.folder / "redis") as redis:
        for tree in context.trees:
            yield from _measure_tree(context, tree, redis.url)
        if context.with_peers:
            yield from _measure_peers(context, redis.url)


def _measure_tree(context: Context, tree: Tree, redis_url: str) -> Iterator[Sample]:
    figures = tree.probe("queue_probe", redis_url, "add_and_drain", context.sizes.jobs)
    for key, value in figures.items():
        yield Sample(key, tree.name, value)
    yield from _measure_settling(context, tree, redis_url)
    yield from _measure_claiming(context, tree, redis_url)


def _measure_settling(context: Context, tree: Tree, redis_url: str) -> Iterator[Sample]:
    def settle_ms(how: str, others: int) -> float:
        return tree.probe("queue_probe", redis_url, f"settle_{how}", others)["redis_ms"]

    none, _, most = context.sizes.active
    oldest_ms = [settle_ms("oldest", others) for others in (none, most)]
    yield Sample("settle.oldest.ratio", tree.name, oldest_ms[-1] / oldest_ms[0])
    anywhere_ms = [settle_ms("anywhere", others) for others in context.sizes.active]
    yield Sample("settle.ratio", tree.name, anywhere_ms[-1] / anywhere_ms[0])
    # The rows name the sizes of a full run.
    for row, taken_ms in zip((0, 10_000, 50_000), anywhere_ms, strict=True):
        yield Sample(f"settle.{row}", tree.name, taken_ms)


def _measure_claiming(context: Context, tree: Tree, redis_url: str) -> Iterator[Sample]:
    for key, action in (
        ("waiting.ratio", "claim_beside_waiting"),
        ("throttled.ratio", "claim_beside_throttled"),
    ):
        few, more = (
            tree.probe("queue_probe", redis_url, action, waiting)
            for waiting in context.sizes.waiting[:2]
        )
        # An older checkout knows no groups.
        if few:
            yield Sample(key, tree.name, more["redis_ms"] / few["redis_ms"])


def _measure_peers(context: Context, redis_url: str) -> Iterator[Sample | Missing]:
    for name, measure in PEERS.items():
        try:
            figures = measure(redis_url, context.sizes.jobs)
        except PeerMissing as missing:
            yield Missing(name, str(missing))
            continue
        for key, value in figures.items():
            yield Sample(key, name, value)
