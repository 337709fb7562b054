"""A store goes away under a real worker, in real time: it stays up, and nobody is charged.

``FEEDMILL_OUTAGE_S`` makes the outages longer by hand: 30, 120.
"""

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from shared.queue import NewJob
from shared.queue.connection import script_digest, script_names, script_text
from tests.factories import make_data, make_job
from tests.processes import QUEUE, Deployment, deployment, wait_until
from tests.servers import start_valkey
from tests.tcp_proxy import Mode, TcpProxy

OUTAGE_S = float(os.environ.get("FEEDMILL_OUTAGE_S", "2.5"))
# Shorter than the outage: locks run out, so that jobs come back in the middle of all this.
SETTINGS = {
    "WORKER_LOCK_MS": "1500",
    "WORKER_BATCH_SIZE": "20",
    "WORKER_CONCURRENCY": "2",
    "WORKER_FLUSH_MS": "100",
    "WORKER_MAX_STALLED": "0",
}
ITEMS = 120
# Ours are 20 s and 5 s; the worker waits that long for a silent store, and tries again.
DRIVER_TIMEOUTS = "socketTimeoutMS=1500&serverSelectionTimeoutMS=500"
WORKS_AGAIN_WITHIN_S = 90.0


@dataclass
class Outage:
    """A store that goes away in one way, and the worker's deployment that is to live with it."""

    name: str
    mode: Mode
    deployed: Deployment
    redis_proxy: TcpProxy
    broken: TcpProxy
    """One of its two ways to the stores."""
    ids: set[str] = field(default_factory=set)

    def begin_in_the_middle_of_work(self) -> None:
        """Add items; the outage begins when a batch is written, and is about to be settled."""
        for name in script_names():
            self.deployed.redis.script_load(script_text(name))
        words = script_digest("complete").encode()
        self.redis_proxy.when_sent(words, lambda: self.broken.set_mode(self.mode))
        self.ids = add_jobs(self.deployed)


@pytest.fixture
def outages(tmp_path: Path, mongodb_url: str) -> Iterator[list[Outage]]:
    """Each store with each way to go away: all at once, as they do nothing but wait."""
    with ExitStack() as stack:
        yield [
            build_outage(stack, tmp_path / f"{store}-{mode}", mongodb_url, store, mode)
            for store in ("redis", "mongodb")
            for mode in (Mode.REFUSE, Mode.SILENT, Mode.CUT)
        ]


def build_outage(
    stack: ExitStack, folder: Path, mongodb_url: str, store: str, mode: Mode
) -> Outage:
    """Deploy a worker whose own way to the stores leads through proxies; its Redis is its own."""
    folder.mkdir()
    valkey = start_valkey(folder / "valkey")
    stack.callback(valkey.stop)
    database = f"outage_{uuid.uuid4().hex[:16]}"
    redis_proxy = stack.enter_context(TcpProxy(valkey.url))
    mongodb_proxy = stack.enter_context(TcpProxy(mongodb_url))
    deployed = stack.enter_context(
        deployment(folder, valkey.url, f"{mongodb_url}/{database}", **SETTINGS)
    )
    stack.callback(deployed.mongo.drop_database, database)
    deployed.environment |= {
        "REDIS_URL": redis_proxy.url,
        # Else the driver learns the store's own address, and goes there past the proxy.
        "MONGODB_URL": f"{mongodb_proxy.url}/{database}?directConnection=true&{DRIVER_TIMEOUTS}",
    }
    broken = redis_proxy if store == "redis" else mongodb_proxy
    return Outage(folder.name, mode, deployed, redis_proxy, broken)


def charges(deployed: Deployment) -> list[str]:
    """Return whatever anybody was charged with up to now."""
    letters = deployed.mongo.get_default_database()["dead_letters"].find()
    found = [f"dead letter: {letter['_id']}: {letter['reason']}" for letter in letters]
    for key in deployed.redis.scan_iter(f"bull:{QUEUE}:lwn#*", count=1000):
        if not key.endswith(":lock"):
            done, *charged = deployed.redis.hmget(key, "finishedOn", "atm", "stc", "solo", "defa")
            found += [f"{key}: {charged}"] if not done and any(charged) else []
    return found


def add_jobs(deployed: Deployment) -> set[str]:
    """Add items that may be tried once only: half of them ours, half with Node's defaults."""
    ours = [make_job(make_data(f"i{n}", import_id="i1"), attempts=1) for n in range(ITEMS // 2)]
    foreign = [
        NewJob(id=f"lwn#f{n}", name="item", data=make_data(f"f{n}")) for n in range(ITEMS // 2)
    ]
    queue = deployed.queue(QUEUE)
    queue.add_many([job for pair in zip(ours, foreign, strict=True) for job in pair])
    for job in foreign:
        deployed.redis.hset(queue.keys.job(job.id), "opts", "{}")
    return {job.id for job in (*ours, *foreign)}


def nobody_is_charged(outages: list[Outage]) -> bool:
    charged = {outage.name: charges(outage.deployed) for outage in outages}
    assert {name: found for name, found in charged.items() if found} == {}
    return True


@pytest.mark.timeout(60 + OUTAGE_S + 2 * WORKS_AGAIN_WITHIN_S)
def test_a_worker_stays_up_through_an_outage_and_charges_nobody(outages: list[Outage]) -> None:
    # One by one: a start is all work, and the others have nothing to do yet.
    workers = {outage.name: outage.deployed.start_worker() for outage in outages}
    for outage in outages:
        outage.begin_in_the_middle_of_work()
    for outage in outages:
        wait_until(lambda it=outage: it.broken.mode is it.mode, f"{outage.name} has begun")
    back_s = time.monotonic() + OUTAGE_S

    def are_over() -> bool:
        return nobody_is_charged(outages) and time.monotonic() >= back_s

    wait_until(are_over, "the outages are over", within_s=OUTAGE_S + 30, every_s=0.5)
    for outage in outages:
        outage.broken.set_mode(Mode.PASS)
    back_s = time.monotonic()
    going_on = list(outages)

    def are_all_settled() -> bool:
        nobody_is_charged(going_on)
        for outage in going_on[:]:
            if outage.deployed.settled_jobs() >= ITEMS:
                going_on.remove(outage)
                print(f"{outage.name}: all settled {time.monotonic() - back_s:.1f} s after its end")
        return not going_on

    wait_until(are_all_settled, "all are settled", within_s=WORKS_AGAIN_WITHIN_S, every_s=0.5)
    nobody_is_charged(outages)
    assert all(worker.is_running for worker in workers.values())
    for worker in workers.values():
        worker.process.terminate()
    for outage in outages:
        worker = workers[outage.name]
        assert sorted(outage.deployed.documents()) == sorted(outage.ids), outage.name
        assert outage.deployed.settled_jobs() == ITEMS, outage.name
        assert worker.process.wait(30) == 0, outage.name
        assert "Traceback" not in worker.said(), outage.name
