"""A supervised loop outlives what its step raises, tells of it, and is given up at its limit."""

import ast
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.supervision import MAX_FAILURES, MAX_PAUSE_S, Supervisor, ThreadMetrics
from tests.fakes import FakeClock

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("server", "worker", "shared")
# Where a thread is made that is no loop of a server or a worker, and why it may be.
OTHER_THREADS = {
    "shared/supervision.py": "the one place that makes threads for loops",
    "shared/queue/worker.py": "one thread a job",
    "shared/queue/heartbeat.py": "one thread a run that is past its limit, to charge its jobs",
    "server/fetching/network.py": "one thread a lookup of a name",
    "server/parsing/parser_process.py": "in a process of its own, that is watched as a whole",
    "worker/process.py": "runs the consumers' supervised loops of further partitions",
    "worker/__main__.py": "runs the consumer's supervised loop, so that signals can be waited for",
    "shared/last_resort.py": "the last resort of a stop",
    "shared/stopping.py": "ends a command at the second signal",
}


class Book:
    """What a supervisor reported."""

    def __init__(self) -> None:
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.given_up: list[str] = []

    def log(self, event: str, **fields: Any) -> None:
        self.events.append((event, fields))

    def names(self) -> list[str]:
        return [event for event, _ in self.events]


@pytest.fixture
def book() -> Book:
    return Book()


@pytest.fixture
def supervisor(book: Book) -> Supervisor:
    return Supervisor(FakeClock(), book.log, give_up=book.given_up.append)


def steps(*outcomes: Exception | float, stop: threading.Event) -> Callable[[], float]:
    """Return a step with these outcomes, one a call; the last one stops the loop."""
    left: Iterator[Exception | float] = iter(outcomes)
    count = len(outcomes)

    def step() -> float:
        nonlocal count
        count -= 1
        if count == 0:
            stop.set()
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return step


def test_loop_goes_on_after_a_failure_that_is_reported_with_its_error(
    supervisor: Supervisor, book: Book
) -> None:
    stop, error = threading.Event(), ValueError("boom")
    supervisor.loop("tick", steps(0.0, error, 0.0, stop=stop), stop).run()
    [(event, fields)] = book.events
    assert (event, fields["thread"], fields["exc_info"]) == ("thread_failed", "tick", error)
    assert supervisor.failures() == {"tick": 1}
    assert supervisor.failing() == []
    assert book.given_up == []


def test_failing_loop_is_told_of_until_a_step_goes_well(supervisor: Supervisor) -> None:
    loop = supervisor.loop(
        "tick", steps(*[OSError("no")] * 2, 0.0, stop=threading.Event()), threading.Event()
    )
    loop.attempt()
    loop.attempt()
    [failing] = supervisor.failing()
    assert str(failing) == "tick failed 2 times in a row: OSError: no"
    loop.attempt()
    assert supervisor.failing() == []


def test_pauses_grow_to_their_limit(supervisor: Supervisor) -> None:
    stop = threading.Event()
    loop = supervisor.loop("tick", steps(*[OSError()] * 20, stop=stop), stop, is_essential=False)
    pauses = [loop.attempt() for _ in range(20)]
    assert pauses[:3] == [0.1, 0.2, 0.4]
    assert set(pauses[9:]) == {MAX_PAUSE_S}


def test_loop_that_always_fails_is_given_up_and_the_process_is_told_once(
    supervisor: Supervisor, book: Book
) -> None:
    stop = threading.Event()
    supervisor.loop("tick", steps(*[OSError("no")] * 99, stop=stop), stop).run()
    assert book.names() == ["thread_failed"] * (MAX_FAILURES - 1) + ["thread_given_up"]
    assert book.given_up == ["tick"]
    assert supervisor.given_up == "tick"
    assert not stop.is_set()


def test_loop_that_is_not_essential_is_never_given_up(supervisor: Supervisor, book: Book) -> None:
    stop = threading.Event()
    supervisor.loop("sign", steps(*[OSError()] * 30, stop=stop), stop, is_essential=False).run()
    assert supervisor.failures() == {"sign": 30}
    assert book.given_up == []


def test_failures_with_successes_between_are_not_in_a_row(
    supervisor: Supervisor, book: Book
) -> None:
    stop = threading.Event()
    outcomes: list[Exception | float] = [OSError(), OSError(), 0.0] * MAX_FAILURES
    supervisor.loop("tick", steps(*outcomes, stop=stop), stop).run()
    assert supervisor.failures() == {"tick": 2 * MAX_FAILURES}
    assert book.given_up == []


def test_failures_are_counted_for_prometheus_by_thread(supervisor: Supervisor) -> None:
    loop = supervisor.loop("tick", steps(OSError(), 0.0, stop=threading.Event()), threading.Event())
    supervisor.loop("audit", lambda: 0.0, threading.Event())
    loop.attempt()
    failures, failing = ThreadMetrics(supervisor).collect()
    seen = {sample.labels["thread"]: sample.value for sample in failures.samples}
    assert seen == {"tick": 1, "audit": 0}
    assert [sample.value for sample in failing.samples] == [1]


def test_no_loop_runs_on_a_thread_that_nobody_supervises() -> None:
    makers = {
        str(path.relative_to(ROOT))
        for package in PACKAGES
        for path in (ROOT / package).rglob("*.py")
        if any(_makes_thread(node) for node in ast.walk(ast.parse(path.read_text("utf-8"))))
    }
    assert makers == set(OTHER_THREADS)


def _makes_thread(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    called = node.func
    name = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
    return name in ("Thread", "Timer", "BackgroundScheduler")
