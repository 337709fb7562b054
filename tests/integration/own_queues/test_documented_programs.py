"""The small programs of docs/queues.md, each run as it is written there."""

import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from feedmill import Declared, configure
from shared.queue import RedisConnection
from tests.fakes import FakeClock

PAGE = Path(__file__).parents[3] / "docs" / "queues.md"
PROGRAMS = dict(
    re.findall(r"^```python\n# (\w+)\.py\n(.+?)^```", PAGE.read_text("utf-8"), re.DOTALL | re.M)
)
TRIED = ("invoices", "accounts", "reports", "courses")
Load = Callable[[str], dict[str, Any]]


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def load(redis_client: RedisConnection, clock: FakeClock) -> Iterator[Load]:
    """Return the names of a program, whose queues are on the Valkey of the tests."""

    def read(name: str) -> dict[str, Any]:
        names: dict[str, Any] = {"__name__": name}
        exec(compile(PROGRAMS[name], f"{name}.py", "exec"), names)
        return names

    configure(redis_client, clock=clock)
    yield read
    configure()


def work(*declared: Declared[Any]) -> None:
    for each in declared:
        worker = each.worker()
        while worker.step():
            pass


@pytest.mark.parametrize("name", TRIED)
def test_a_program_takes_fifteen_lines_at_most(name: str) -> None:
    assert sum(bool(line.strip()) for line in PROGRAMS[name].splitlines()) <= 15


def test_an_order_that_is_paid_twice_has_one_invoice(load: Load) -> None:
    program = load("invoices")
    for _ in range(2):
        program["order_paid"]("17", 990)
    work(program["write"])
    assert program["invoices"] == {"17": 990}
    assert program["write"].queue.get_job_counts("completed") == {"completed": 1}


def test_an_account_that_another_worker_takes_over_goes_on_behind_its_last_page(
    load: Load,
) -> None:
    program = load("accounts")
    sync = program["sync"]
    job = sync.add({"done": 1})
    work(sync)
    assert program["booked"] == ["rent", "tea", "books"]
    done = job.refresh()
    assert (done.data, done.last_progress, done.return_value) == ({"done": 3}, 100, 3)


def test_a_report_is_written_each_monday_at_eight(load: Load, clock: FakeClock) -> None:
    program = load("reports")
    program["report"].make_schedules()
    monday = datetime(2026, 11, 2, 7, tzinfo=UTC)
    for weeks in (1, 2):
        work(program["report"])
        assert len(program["written"]) == weeks - 1
        clock.advance_to(monday + timedelta(days=7 * (weeks - 1)))
        work(program["report"])
        assert program["written"] == ["report on sales"] * weeks


def test_a_course_is_published_when_all_of_it_is_made(load: Load) -> None:
    program = load("courses")
    program["add_course"](["knots", "ropes"])
    work(program["publish"], program["pdf"], program["publish"])
    assert program["published"] == []
    work(program["video"], program["publish"])
    assert program["published"] == [["knots.pdf", "knots.webm", "ropes.pdf", "ropes.webm"]]
