"""The programs of examples/, run as their own documentation says, by real workers."""

import json
import re
import runpy
import shutil
import sqlite3
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from pymongo.database import Database as PymongoDatabase

import feedmill
from feedmill import Queue
from shared.intervals import IntervalIndexer, every
from shared.queue import RedisConnection
from shared.store.database import open_database
from shared.store.intervals import IntervalStore
from tests.example_services import Bank, MailServer, Quotes, Warehouse, serving
from tests.processes import inherited_environment, wait_until
from tests.servers import ending_with_us

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
FEEDMILL = str(Path(sysconfig.get_path("scripts")) / "feedmill")
MOST_LINES, MOST_LINES_OF_A_CORE = 60, 15
MOST_LINES_OF_PULL = 40

_CORE = re.compile(r"^```python\n# examples/(\w+)\.py\n(.+?)^```", re.DOTALL | re.MULTILINE)

Start = Callable[..., "subprocess.Popen[bytes]"]
Run = Callable[..., None]


@pytest.fixture
def environment(tmp_path: Path, valkey_url: str, redis_client: RedisConnection) -> dict[str, str]:
    """A folder with the examples and an empty Redis, and what names them."""
    shutil.copytree(ROOT / "examples", tmp_path, dirs_exist_ok=True)
    return {**inherited_environment(), "REDIS_URL": valkey_url}


@pytest.fixture
def start(environment: dict[str, str], tmp_path: Path) -> Iterator[Start]:
    """Start a worker of an example."""
    started: list[subprocess.Popen[bytes]] = []

    def start(name: str, **settings: str) -> "subprocess.Popen[bytes]":
        command = [*ending_with_us(), FEEDMILL, "worker", "--app", name]
        with (tmp_path / "worker.log").open("ab") as log:
            process = subprocess.Popen(
                command, cwd=tmp_path, env={**environment, **settings}, stderr=log
            )
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.wait(10)


@pytest.fixture
def run(
    environment: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Run]:
    """Run an example as a program, in this process: a start takes longer than what it does."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REDIS_URL", environment["REDIS_URL"])

    def run(name: str, *arguments: str) -> None:
        monkeypatch.setattr(sys, "argv", [f"{name}.py", *arguments])
        runpy.run_path(f"{name}.py", run_name="__main__")

    yield run
    # Closes what the programs have opened.
    feedmill.configure()


@pytest.fixture
def indexer(
    database_url: str, mongo_database: PymongoDatabase[dict[str, Any]]
) -> Iterator[IntervalIndexer]:
    """The example's indexer, seen from beside it; it has begun when this is first read."""
    database = open_database(database_url)
    store = IntervalStore(database)
    yield IntervalIndexer(store, "pull", every(60), start=this_minute() - timedelta(minutes=5))
    database.close()


def this_minute() -> datetime:
    return datetime.now(UTC).replace(second=0, microsecond=0)


def counts(queue: Queue) -> dict[str, int]:
    return {state: count for state, count in queue.get_job_counts().items() if count}


def lines_of(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def test_emails_are_tried_again_and_refused_addresses_are_not(
    start: Start, run: Run, redis_client: RedisConnection
) -> None:
    emails = Queue("emails", redis_client)
    with (
        MailServer(unknown={"nobody@example.org"}, busy={"bob@example.org"}) as server,
        serving(server) as port,
    ):
        for _ in range(2):
            run("emails", "ann@example.org", "bob@example.org", "nobody@example.org")
        start("emails", SMTP_PORT=str(port))
        expected = {"completed": 1, "delayed": 1, "failed": 1}
        wait_until(lambda: counts(emails) == expected, "each is tried once")
        # Half a minute has passed.
        emails.promote_jobs()
        wait_until(lambda: counts(emails) == {"completed": 2, "failed": 1}, "both are sent")
        assert sorted(server.accepted) == ["ann@example.org", "bob@example.org"]
        assert server.asked.count("nobody@example.org") == 1
    [failed] = emails.get_failed()
    assert failed.failed_reason == "nobody@example.org is refused: no such mailbox"


def test_an_order_has_one_invoice_however_often_it_is_asked_for(
    start: Start, run: Run, redis_client: RedisConnection, tmp_path: Path
) -> None:
    invoices = Queue("invoices", redis_client)
    for _ in range(2):
        run("invoices", "4711", "19900")
    run("invoices", "4712", "500")
    start("invoices")
    wait_until(lambda: counts(invoices) == {"completed": 2}, "both are issued")
    # Asked for once more, and run once more, it is the same one.
    run("invoices", "4711", "19900")
    invoices.retry_jobs(state="completed")
    wait_until(lambda: counts(invoices) == {"completed": 2}, "both are issued again")
    with closing(sqlite3.connect(tmp_path / "books.db")) as books:
        rows = books.execute("SELECT order_id, number FROM invoices ORDER BY number").fetchall()
    assert sorted(order for order, _ in rows) == ["4711", "4712"]
    assert {job.id: job.return_value for job in invoices.get_completed()} == {
        f"invoice-{order}": number for order, number in rows
    }


def test_a_bank_sync_that_is_stopped_goes_on_behind_its_last_page(
    start: Start, run: Run, redis_client: RedisConnection, tmp_path: Path
) -> None:
    syncs = Queue("bank-sync", redis_client)
    with Bank(4, held=3) as bank, serving(bank) as port:
        settings = {"BANK_URL": f"http://127.0.0.1:{port}", "APP_STOP_S": "0"}
        run("bank_sync", "IT60")
        leaving = start("bank_sync", **settings)
        wait_until(lambda: bank.asked == [1, 2, 3], "the third page is asked for")
        leaving.terminate()
        leaving.wait(20)
        [job] = syncs.get_waiting()
        assert (job.data["done"], job.last_progress, job.attempts_made) == (
            2,
            {"page": 2, "of": 4},
            0,
        )
        bank.let_go.set()
        start("bank_sync", **settings)
        wait_until(job.is_completed, "it is done")
        assert bank.asked == [1, 2, 3, 3, 4, 5]
    with closing(sqlite3.connect(tmp_path / "books.db")) as books:
        assert books.execute("SELECT count(*) FROM bookings").fetchone() == (8,)


def test_a_report_comes_every_monday_at_8_in_rome(
    start: Start, redis_client: RedisConnection, tmp_path: Path
) -> None:
    reports = Queue("reports", redis_client)
    start("weekly_report")
    wait_until(lambda: counts(reports) == {"delayed": 1}, "the next one waits")
    [first] = reports.get_delayed()
    reports.promote_jobs()
    wait_until(lambda: counts(reports) == {"delayed": 1, "completed": 1}, "it is written")
    assert isinstance(path := first.refresh().return_value, str)
    assert (tmp_path / path).read_text().startswith("For the board: 0.00 booked by ")
    due = datetime.fromtimestamp((first.timestamp + first.delay) / 1000, ZoneInfo("Europe/Rome"))
    assert (due.strftime("%A %H:%M"), due > datetime.now(due.tzinfo)) == ("Monday 08:00", True)


def test_a_course_is_published_by_light_workers_when_a_heavy_one_has_converted_its_videos(
    start: Start, run: Run, redis_client: RedisConnection, tmp_path: Path
) -> None:
    for name in ("bowline.mov", "anchor.mov", "knots.ps"):
        (tmp_path / name).write_text(name)
    run("course", "knots", "bowline.mov", "anchor.mov", "knots.ps")
    videos, papers = Queue("videos", redis_client), Queue("papers", redis_client)
    courses = Queue("courses", redis_client)
    programs = {"CONVERT_VIDEO": "cp", "CONVERT_PAPER": "cp"}
    start("course", WORKER_TYPE="light", **programs)
    wait_until(lambda: counts(papers) == {"completed": 1}, "the paper is converted")
    assert (counts(videos), counts(courses)) == ({"waiting": 2}, {"waiting-children": 1})
    start("course", WORKER_TYPE="heavy", **programs)
    wait_until(lambda: counts(courses) == {"completed": 1}, "the course is published")
    index = json.loads((tmp_path / "knots.json").read_text())
    assert index == ["anchor.webm", "bowline.webm", "knots.pdf"]


def test_orders_outlive_a_warehouse_that_is_down(
    start: Start, run: Run, redis_client: RedisConnection
) -> None:
    orders, dead = Queue("orders", redis_client), Queue("orders_dead", redis_client)
    packing = Queue("packing", redis_client)
    with Warehouse() as warehouse, serving(warehouse) as port:
        url = f"http://127.0.0.1:{port}"
        run("orders", "order", "4711")
        start("orders", WAREHOUSE=url, ALERTS=url, WAREHOUSE_PAUSE_S="0.2")
        for attempt in (1, 2):
            wait_until(lambda: counts(orders) == {"delayed": 1}, f"attempt {attempt} has failed")
            orders.promote_jobs()
        wait_until(lambda: counts(dead) == {"waiting": 1}, "it is among the dead letters")
        wait_until(lambda: warehouse.alerts, "somebody is told")
        assert warehouse.alerts == ["order 4711: HTTP Error 503: Service Unavailable"]
        run("orders", "order", "4712")
        for calls in (4, 5):
            wait_until(
                lambda calls=calls: (warehouse.calls, counts(orders)) == (calls, {"delayed": 1}),
                f"call {calls} has failed",
            )
            orders.promote_jobs()
        # That was the fifth failure in a row: now and then the order is tried, and put back.
        wait_until(lambda: warehouse.calls > 6, "it is tried more often than it has attempts")
        assert dead.count() == 1
        warehouse.is_down = False
        wait_until(lambda: warehouse.reserved == ["4712"], "orders go on by themselves")
        run("orders", "replay")
        wait_until(lambda: counts(packing) == {"completed": 2}, "both are packed")
        assert (warehouse.reserved, counts(dead)) == (["4712", "4711"], {})


def test_minutes_are_pulled_each_once_and_again_when_they_are_rolled_back(
    start: Start,
    redis_client: RedisConnection,
    tmp_path: Path,
    indexer: IntervalIndexer,
    database_url: str,
) -> None:
    pulls, dispatches = Queue("pull", redis_client), Queue("minutes", redis_client)
    first = indexer.read().cursor
    minutes = [first + timedelta(minutes=each) for each in range(5)]

    def read_quotes() -> list[str]:
        paths = [tmp_path / f"{minute:%Y-%m-%dT%H%M}.quotes" for minute in minutes]
        return [path.read_text().strip('"') if path.exists() else "" for path in paths]

    def is_all_but_held_done() -> bool:
        seen = indexer.read()
        return seen.cursor > minutes[4] and [each.start for each in seen.open] == minutes[3:4]

    with Quotes(held=f"{minutes[3]:%Y-%m-%dT%H:%MZ}") as quotes, serving(quotes) as port:
        start(
            "pull",
            MONGODB_URL=database_url,
            QUOTES_URL=f"http://127.0.0.1:{port}",
            QUOTES_FROM=first.isoformat(),
        )
        wait_until(is_all_but_held_done, "all but one are done")
        assert read_quotes() == ["wrong", "wrong", "wrong", "", "wrong"]
        assert indexer.rollback(minutes[2]) == (2, minutes[2])
        quotes.quote = "right"
        quotes.let_go.set()
        wait_until(lambda: "failed" in counts(pulls), "the stale one has failed")
        [stale] = pulls.get_failed()
        assert (stale.attempts_made, "was rolled back" in stale.failed_reason) == (1, True)
        # A quarter of a minute has passed.
        dispatches.promote_jobs()
        expected = ["wrong", "wrong", "right", "right", "right"]
        wait_until(lambda: read_quotes() == expected, "what is behind the target is read again")
    assert all(quotes.asked.count(f"{each:%Y-%m-%dT%H:%MZ}") == 1 for each in minutes[:2])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_each_example_is_short_and_the_manual_shows_its_core(path: Path) -> None:
    text = path.read_text("utf-8")
    assert lines_of(text) <= MOST_LINES
    cores = dict(_CORE.findall((ROOT / "docs" / "queues.md").read_text("utf-8")))
    assert cores[path.stem] in text
    assert lines_of(cores[path.stem]) <= MOST_LINES_OF_A_CORE


def test_the_example_of_intervals_is_no_longer_than_its_page_says() -> None:
    assert (
        len((ROOT / "examples" / "pull.py").read_text("utf-8").splitlines()) <= MOST_LINES_OF_PULL
    )


def test_the_manual_shows_no_example_that_is_not_there() -> None:
    shown = _CORE.findall((ROOT / "docs" / "queues.md").read_text("utf-8"))
    assert [name for name, _ in shown if not (ROOT / "examples" / f"{name}.py").exists()] == []
