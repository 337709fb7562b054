"""Node's workers and ours empty one queue, and are killed at random."""

import random
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from feedmill import Queue
from shared.queue import RedisConnection
from tests.interop.node_driver import NodeDriver, install_packages
from tests.processes import inherited_environment, pause, wait_until
from tests.servers import ending_with_us

FOLDER = Path(__file__).parent
NAME = "mixed"
KINDS = ("node", "node", "python", "python")
LONGEST_PAUSE_S = 0.5
COUNT_WORKERS = "return (await (await queue('bull', args.name)).getWorkers()).length;"


class Workers:
    """Four processes, each replaced by one of its kind when it is killed."""

    def __init__(self, redis_url: str, seed: int) -> None:
        address = urlsplit(redis_url)
        self._commands = {
            "node": [install_packages(), "mixed_worker.mjs", address.hostname, str(address.port)],
            "python": [sys.executable, "mixed_worker.py", redis_url],
        }
        self._chance = random.Random(seed)
        self._running = [(kind, self._start(kind)) for kind in KINDS]
        self.kills = 0

    def _start(self, kind: str) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [*ending_with_us(), *self._commands[kind], NAME],
            cwd=FOLDER,
            env={**inherited_environment(), "PYTHONPATH": str(FOLDER.parents[1])},
        )

    def kill_one(self) -> None:
        """Kill one at a random moment, and start another."""
        pause(self._chance.uniform(0, LONGEST_PAUSE_S))
        kind, process = self._running.pop(self._chance.randrange(len(self._running)))
        process.kill()
        process.wait(10)
        self._running.append((kind, self._start(kind)))
        self.kills += 1

    def kill_all(self) -> None:
        """Leave none running."""
        for _, process in self._running:
            process.kill()
            process.wait(10)


@pytest.fixture
def workers(node: NodeDriver, valkey_url: str) -> Iterator[Workers]:
    workers = Workers(valkey_url, seed=17)
    yield workers
    workers.kill_all()


def add_jobs(queue: Queue, node: NodeDriver, jobs: int) -> None:
    """Add jobs of all kinds, half of them from either side."""
    retries = {"attempts": 5, "backoff": {"type": "fixed", "delay": 50}}
    kinds = ({}, {"priority": 3}, {"delay": 300}, {"lifo": True})
    opts = [{**retries, **kinds[number % 4]} for number in range(jobs)]
    ours = [
        {"name": "n", "data": number, "opts": {**opts[number], "job_id": f"ours-{number}"}}
        for number in range(0, jobs, 2)
    ]
    theirs = [
        {"name": "n", "data": number, "opts": {**opts[number], "jobId": f"theirs-{number}"}}
        for number in range(1, jobs, 2)
    ]
    queue.add_bulk(ours)
    for start in range(0, len(theirs), 500):
        node.run(
            "await (await queue('bull', args.name)).addBulk(args.jobs)",
            name=NAME,
            jobs=theirs[start : start + 500],
        )


def empty(queue: Queue, node: NodeDriver, workers: Workers, jobs: int, kills: int) -> str:
    """Let workers, some of which are killed, empty the queue; return what they did."""
    wait_until(lambda: node.run(COUNT_WORKERS, name=NAME) == len(KINDS), "all have started")
    add_jobs(queue, node, jobs)
    while workers.kills < kills and queue.get_job_counts("completed")["completed"] < jobs * 0.9:
        workers.kill_one()
    wait_until(
        lambda: queue.get_job_counts("completed")["completed"] == jobs, "all are done", within_s=90
    )
    workers.kill_all()
    results = [job.return_value for job in queue.get_completed()]
    assert sorted(result["worked"] for result in results) == list(range(jobs))
    by = Counter(result["by"] for result in results)
    assert set(by) == {"node", "python"}
    return f"{jobs} jobs, {workers.kills} workers killed, done by {dict(by)}"


def leftovers(queue: Queue) -> list[str]:
    """Return the keys that tell of work, and of locks."""
    keys = [key.decode() for key in queue.core.client.keys(f"bull:{NAME}:*")]
    told = {queue.core.keys.base + name for name in
            ("wait", "paused", "active", "prioritized", "delayed", "failed", "stalled",
             "waiting-children")}  # fmt: skip
    return sorted(key for key in keys if key in told or key.endswith(":lock"))


@pytest.mark.parametrize(
    ("jobs", "kills"),
    [
        pytest.param(2_000, 6, marks=[pytest.mark.slow, pytest.mark.timeout(240)]),
        pytest.param(20_000, 60, marks=[pytest.mark.long, pytest.mark.timeout(1_200)]),
    ],
)
def test_a_queue_that_killed_workers_of_both_kinds_empty_loses_nothing(
    jobs: int,
    kills: int,
    node: NodeDriver,
    redis_client: RedisConnection,
    workers: Workers,
    record_property: Callable[[str, object], None],
) -> None:
    queue = Queue(NAME, redis_client)
    record_property("figures", empty(queue, node, workers, jobs, kills))
    assert leftovers(queue) == []
