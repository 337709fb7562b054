"""When, how and for how long a store goes away under a worker: the cases of the outage tests."""

from collections.abc import Iterable
from typing import Any

import pytest

from shared.queue.connection import script_digest
from tests.tcp_proxy import Mode

OUTAGES_S = (1, 5, 30, 120)
# By `make chaos` also the rarer ones: the call was executed, and then its answer does not come.
WAYS = [
    pytest.param(Mode.REFUSE, False, id="refuse-before"),
    pytest.param(Mode.REFUSE, True, id="refuse-after"),
    pytest.param(Mode.SILENT, False, id="silent-before"),
    pytest.param(Mode.SILENT, True, id="silent-after", marks=pytest.mark.chaos),
    pytest.param(Mode.CUT, False, id="cut-before", marks=pytest.mark.chaos),
    pytest.param(Mode.CUT, True, id="cut-after", marks=pytest.mark.chaos),
]


def redis_call(script: str) -> tuple[str, bytes]:
    return "redis", script_digest(script).encode()


def mongodb_call(command: str, collection: str) -> tuple[str, bytes]:
    """Return what a command on a collection begins with on MongoDB's wire."""
    name = collection.encode() + b"\0"
    length = len(name).to_bytes(4, "little")
    return "mongodb", b"\x02" + command.encode() + b"\0" + length + name


STEPS = {
    "claim": redis_call("claim"),
    "assign a revision": redis_call("assign_revision"),
    "draw a revision": mongodb_call("update", "sources"),
    "read dead letters": mongodb_call("find", "dead_letters"),
    "read documents": mongodb_call("find", "items"),
    "write": mongodb_call("insert", "items"),
    "settle": redis_call("complete"),
}
STEPS_OF_FAILURES = {
    "retry": redis_call("retry"),
    "record a dead letter": mongodb_call("update", "dead_letters"),
    "move a dead letter": redis_call("dead_letter"),
    "take a dead letter out of the queue": redis_call("remove"),
    "take a dead letter off the record": mongodb_call("delete", "dead_letters"),
}


def cases_of(steps: Iterable[str]) -> list[Any]:
    """Return a store that goes away at a step, in a way.

    `make test` has both stores at each step, Redis refusing and silent; by `make test-long` each
    store at each step goes away in each way.
    """
    cases = []
    for number, step in enumerate(steps):
        # Refusing before and after a call take turns; MongoDB's ways all three.
        kept = {"redis": {number % 2, 2}, "mongodb": {number % 3}}
        for store, shown in kept.items():
            for place, way in enumerate(WAYS):
                is_long = place not in shown and not way.marks
                marks = [pytest.mark.long] if is_long else way.marks
                name = f"{store}-{step}-{way.id}"
                cases.append(pytest.param(store, step, *way.values, id=name, marks=marks))
    return cases


def lengths() -> list[Any]:
    """Return outages of each length, the short ones and MongoDB's longest by `make test-long`.

    Short ones are shown at each step, and MongoDB's wait for much real time.
    """
    shown = {"redis": (30, 120), "mongodb": (30,)}
    return [
        pytest.param(
            step,
            store,
            lasts_s,
            id=f"{step}-{store}-{lasts_s}",
            marks=[] if lasts_s in shown[store] else [pytest.mark.long],
        )
        for step in ("claim", "write", "settle")
        for store in ("redis", "mongodb")
        for lasts_s in OUTAGES_S
    ]
