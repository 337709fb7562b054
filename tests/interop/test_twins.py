"""What we do leaves what Node leaves: one test for each operation that both sides have."""

import importlib
import pkgutil

import pytest

import tests.interop.twins
from shared.queue import RedisConnection
from tests.interop.node_driver import NodeDriver
from tests.interop.pairs import Twin, check_twin

TWINS: list[Twin] = [
    twin
    for module in pkgutil.iter_modules(tests.interop.twins.__path__)
    for twin in importlib.import_module(f"tests.interop.twins.{module.name}").TWINS
]
# Raised with each operation that is added; it never falls.
AT_LEAST = 195


def test_no_twin_is_lost() -> None:
    assert len(TWINS) >= AT_LEAST
    assert len({twin.name for twin in TWINS}) == len(TWINS)


@pytest.mark.parametrize("twin", TWINS, ids=lambda twin: twin.name)
def test_both_sides_leave_the_same(
    twin: Twin, node: NodeDriver, redis_client: RedisConnection
) -> None:
    check_twin(twin, node, redis_client)


@pytest.mark.parametrize(
    "code",
    [
        "await q.pause();",
        "await q.remove('a');",
        "await (await q.getJob('a')).updateData({ n: 2 });",
        "await w.getNextJob('t', { block: false });",
        "return await q.count();",
    ],
)
def test_a_side_that_does_nothing_is_noticed(
    code: str, node: NodeDriver, redis_client: RedisConnection
) -> None:
    twin = Twin("one-sided", [(code, lambda ours: None)], "await q.add('x', {}, { jobId: 'a' });")
    with pytest.raises(AssertionError, match="step 1"):
        check_twin(twin, node, redis_client)
