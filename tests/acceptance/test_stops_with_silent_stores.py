"""A stop while a store answers nothing: late, but never later than 10 s, and without a trace."""

import signal
import subprocess
import time
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from shared.queue import JobState
from shared.stopping import SAME_REQUEST_S
from tests.feeds.make_feed import make_feed
from tests.processes import Deployment, Role, deployment, wait_until
from tests.publisher import Publisher
from tests.servers import RunningServer, start_mongodb, start_valkey

# 10 s are promised, of which 8 are waited; the rest is for a machine that has other things to do.
STOPS_AT_WORST_WITHIN_S = 15
ITEMS = 1500


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[list[RunningServer]]:
    """Two Redis and a MongoDB that may be frozen."""
    with ExitStack() as stack:
        started = [start_valkey(tmp_path / "valkey-1"), start_valkey(tmp_path / "valkey-2")]
        started.append(start_mongodb(tmp_path / "mongodb"))
        for store in started:
            stack.callback(store.kill)
        yield started


@pytest.fixture
def working(
    tmp_path: Path,
    stores: list[RunningServer],
    valkey_url: str,
    mongodb_url: str,
    publisher: Publisher,
) -> Iterator[list[Deployment]]:
    """For each of the stores a server and a worker in the middle of an import."""
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    *valkeys, mongodb = stores
    ways = [(each.url, f"{mongodb_url}/silent_{uuid.uuid4().hex[:16]}") for each in valkeys]
    ways.append((valkey_url, f"{mongodb.url}/feedmill"))
    with ExitStack() as stack:
        deployments = []
        for number, (redis_url, database_url) in enumerate(ways):
            folder = tmp_path / str(number)
            folder.mkdir()
            deployed = stack.enter_context(deployment(folder, redis_url, database_url))
            deployed.start_server()
            deployed.start_worker()
            deployments.append(deployed)
        for deployed in deployments:
            deployed.start_import(url=url, source="quay")
            wait_until(
                lambda it=deployed: it.waiting_and_active()[JobState.ACTIVE],
                "the worker holds jobs",
            )
        yield deployments
        for each in deployments[:-1]:
            each.mongo.drop_database(each.mongo.get_default_database())


def terminate(roles: list[Role]) -> None:
    for role in reversed(roles):
        role.process.terminate()


def test_server_and_worker_end_although_a_store_is_silent_and_at_once_when_asked_twice(
    working: list[Deployment], stores: list[RunningServer]
) -> None:
    for store in stores:
        store.freeze()
    asked_twice, *others = working
    started_s = time.monotonic()
    for deployed in working:
        terminate(deployed.roles)
    # The first signal alone takes both of them seconds while Redis is silent.
    for role in asked_twice.roles:
        with pytest.raises(subprocess.TimeoutExpired):
            role.process.wait(SAME_REQUEST_S * 2)
    terminate(asked_twice.roles)
    assert [role.process.wait(3) for role in asked_twice.roles] == [128 + signal.SIGTERM] * 2

    for silent, deployed in zip(("Redis", "MongoDB"), others, strict=True):
        codes = [role.process.wait(60) for role in deployed.roles]
        took_s = time.monotonic() - started_s
        print(f"both ended {took_s:.2f} s after the signal, {silent} being silent")
        assert codes == [0, 0]
        assert took_s < STOPS_AT_WORST_WITHIN_S
        assert not any("Traceback" in said for said in deployed.logs())
