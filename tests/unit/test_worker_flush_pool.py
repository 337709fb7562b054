"""The pool's threads run acts in order and outlive whatever an act does."""

import threading
from collections.abc import Iterator

import pytest

from shared.supervision import Supervisor
from tests.fakes import FakeClock
from worker.flush_pool import FlushPool


@pytest.fixture
def pool() -> Iterator[FlushPool]:
    pool = FlushPool(1, Supervisor(FakeClock(), lambda *_, **__: None))
    pool.start()
    yield pool
    pool.close()


def test_acts_run_first_come_first_served(pool: FlushPool) -> None:
    ran: list[int] = []
    for number in range(5):
        pool.submit(lambda number=number: ran.append(number))  # type: ignore[misc]
    assert pool.wait_until_idle(5)
    assert ran == [0, 1, 2, 3, 4]
    assert pool.finished == 5


def test_an_act_that_fails_does_not_end_its_thread(pool: FlushPool) -> None:
    ran: list[str] = []
    pool.submit(lambda: ran.append(str(1 // 0)))
    pool.submit(lambda: ran.append("next"))
    assert pool.wait_until_idle(5)
    assert ran == ["next"]


def test_a_pool_is_idle_only_when_nothing_runs_and_nothing_waits(pool: FlushPool) -> None:
    held = threading.Event()
    pool.submit(lambda: _wait(held))
    assert not pool.is_idle
    assert not pool.wait_until_idle(0.01)
    seen = pool.finished
    held.set()
    pool.wait_for_change(seen, 5)
    assert pool.finished == seen + 1
    assert pool.wait_until_idle(5)


def test_closing_forgets_what_has_not_begun(pool: FlushPool) -> None:
    held, began = threading.Event(), threading.Event()
    ran: list[str] = []

    def hold() -> None:
        began.set()
        held.wait(5)

    pool.submit(hold)
    pool.submit(lambda: ran.append("late"))
    assert began.wait(5)
    pool.close()
    held.set()
    assert pool.wait_until_idle(5)
    assert ran == []


def _wait(event: threading.Event) -> None:
    event.wait(5)
