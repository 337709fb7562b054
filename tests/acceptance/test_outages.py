"""A store goes away under a real worker, in real time: it stays up, and nobody is charged.

``FEEDMILL_OUTAGE_S`` makes the outages longer by hand: 30, 120.
"""

import os
import time
from collections.abc import Iterator

import pytest

from shared.queue import NewJob
from shared.queue.connection import script_digest, script_names, script_text
from tests.factories import make_data, make_job
from tests.processes import QUEUE, Deploy, Deployment, wait_until
from tests.tcp_proxy import Mode, TcpProxy

OUTAGE_S = float(os.environ.get("FEEDMILL_OUTAGE_S", "5"))
# Shorter than the outage: locks run out, so that jobs come back in the middle of all this.
LOCK_MS = "3000"
ITEMS = 120
# Ours are 20 s and 5 s; the worker waits that long for a silent store, and tries again.
DRIVER_TIMEOUTS = "socketTimeoutMS=3000&serverSelectionTimeoutMS=1000"
WORKS_AGAIN_WITHIN_S = 90.0


@pytest.fixture
def redis_proxy(valkey_url: str) -> Iterator[TcpProxy]:
    with TcpProxy(valkey_url) as proxy:
        yield proxy


@pytest.fixture
def mongodb_proxy(mongodb_url: str) -> Iterator[TcpProxy]:
    with TcpProxy(mongodb_url) as proxy:
        yield proxy


@pytest.fixture
def deployed(deploy: Deploy, redis_proxy: TcpProxy, mongodb_proxy: TcpProxy) -> Deployment:
    """A worker's deployment whose own way to the stores leads through the proxies."""
    deployed = deploy(
        WORKER_LOCK_MS=LOCK_MS,
        WORKER_BATCH_SIZE="20",
        WORKER_CONCURRENCY="2",
        WORKER_FLUSH_MS="100",
        WORKER_MAX_STALLED="0",
    )
    database = deployed.mongo.get_default_database().name
    deployed.environment |= {
        "REDIS_URL": redis_proxy.url,
        # Else the driver learns the store's own address, and goes there past the proxy.
        "MONGODB_URL": f"{mongodb_proxy.url}/{database}?directConnection=true&{DRIVER_TIMEOUTS}",
    }
    return deployed


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


@pytest.mark.parametrize("mode", [Mode.REFUSE, Mode.SILENT, Mode.CUT])
@pytest.mark.parametrize("store", ["redis", "mongodb"])
def test_a_worker_stays_up_through_an_outage_and_charges_nobody(
    deployed: Deployment, redis_proxy: TcpProxy, mongodb_proxy: TcpProxy, store: str, mode: Mode
) -> None:
    for name in script_names():
        deployed.redis.script_load(script_text(name))
    worker = deployed.start_worker()
    broken = redis_proxy if store == "redis" else mongodb_proxy
    # In the middle of the work: a batch is written, and its jobs are about to be settled.
    redis_proxy.when_sent(script_digest("complete").encode(), lambda: broken.set_mode(mode))
    ids = add_jobs(deployed)
    wait_until(lambda: broken.mode is mode, "the outage has begun")
    back_s = time.monotonic() + OUTAGE_S

    def is_over() -> bool:
        assert charges(deployed) == []
        return time.monotonic() >= back_s

    wait_until(is_over, "the outage is over", within_s=OUTAGE_S + 5, every_s=0.2)
    broken.set_mode(Mode.PASS)
    back_s = time.monotonic()

    def are_all_settled() -> bool:
        assert charges(deployed) == []
        return deployed.settled_jobs() >= ITEMS

    wait_until(are_all_settled, "all are settled", within_s=WORKS_AGAIN_WITHIN_S, every_s=0.2)
    print(f"all settled {time.monotonic() - back_s:.1f} s after the end of the outage")
    assert sorted(deployed.documents()) == sorted(ids)
    assert deployed.settled_jobs() == ITEMS
    assert worker.is_running
    assert "Traceback" not in worker.said()
    assert worker.terminate()[0] == 0
