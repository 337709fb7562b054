"""A stop while a store answers nothing: late, but never later than 10 s, and without a trace."""

import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.queue import JobState
from shared.stopping import SAME_REQUEST_S
from tests.feeds.make_feed import make_feed
from tests.processes import Deployment, deployment, wait_until
from tests.publisher import Publisher
from tests.servers import RunningServer, start_mongodb, start_valkey

STOPS_AT_WORST_WITHIN_S = 10
ITEMS = 1500


@pytest.fixture
def own_valkey(tmp_path: Path) -> Iterator[RunningServer]:
    store = start_valkey(tmp_path / "valkey")
    yield store
    store.thaw()
    store.stop()


@pytest.fixture
def own_mongodb(tmp_path: Path) -> Iterator[RunningServer]:
    store = start_mongodb(tmp_path / "mongodb")
    yield store
    store.thaw()
    store.stop()


@pytest.fixture
def working(
    tmp_path: Path, own_valkey: RunningServer, own_mongodb: RunningServer, publisher: Publisher
) -> Iterator[Deployment]:
    """A server and a worker in the middle of an import."""
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    with deployment(tmp_path, own_valkey.url, f"{own_mongodb.url}/feedmill") as deployed:
        deployed.start_server()
        deployed.start_worker()
        deployed.start_import(url=url, source="quay")
        wait_until(lambda: deployed.waiting_and_active()[JobState.ACTIVE], "the worker holds jobs")
        yield deployed


@pytest.mark.parametrize("silent", ["own_valkey", "own_mongodb"])
def test_server_and_worker_end_although_a_store_is_silent(
    working: Deployment, silent: str, request: pytest.FixtureRequest
) -> None:
    store: RunningServer = request.getfixturevalue(silent)
    store.freeze()
    server, worker = working.roles
    started_s = time.monotonic()
    for role in (worker, server):
        role.process.terminate()
    codes = [role.process.wait(60) for role in (worker, server)]
    took_s = time.monotonic() - started_s
    print(f"both ended {took_s:.2f} s after the signal, {silent} being silent")
    assert codes == [0, 0]
    assert took_s < STOPS_AT_WORST_WITHIN_S
    assert not any("Traceback" in role.said() for role in (worker, server))


def test_a_second_signal_ends_server_and_worker_at_once(
    working: Deployment, own_valkey: RunningServer
) -> None:
    own_valkey.freeze()
    server, worker = working.roles
    for role in (worker, server):
        role.process.terminate()
    # The first signal alone takes both of them seconds while Redis is silent.
    for role in (worker, server):
        with pytest.raises(subprocess.TimeoutExpired):
            role.process.wait(SAME_REQUEST_S * 2)
    for role in (worker, server):
        role.process.terminate()
    codes = [role.process.wait(3) for role in (worker, server)]
    assert codes == [128 + signal.SIGTERM] * 2
