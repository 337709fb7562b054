"""A store that is killed in mid-write and comes back with its data: nothing settled is missing."""

import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.embedded import start_embedded_stores
from shared.queue import JobState
from tests.feeds.make_feed import make_feed
from tests.processes import QUEUE, Deployment, counts_of, deployment, wait_until
from tests.publisher import Publisher
from tests.servers import RunningServer, start_mongodb, start_valkey

ITEMS = 800
SETTLED_BEFORE = 200
# Items end a few at a time, so that a kill finds some settled and some not.
# A lock whose holder never knew of it, for the answer to its claim was lost, runs out soon.
SMALL_BATCHES = {
    "WORKER_BATCH_SIZE": "50",
    "WORKER_CONCURRENCY": "2",
    "WORKER_LOCK_MS": "5000",
    "WORKER_MAX_STALLED": "1000000",
}
RESUMES_WITHIN_S = 60
# As the embedded stores are started.
DURABLE_VALKEY = ("--appendonly", "yes")
DURABLE_MONGODB = ("--sync-on-commit",)


@pytest.fixture
def own_stores() -> Iterator[list[RunningServer]]:
    """Put the stores of a test here; all of them are gone afterwards."""
    started: list[RunningServer] = []
    yield started
    for store in started:
        store.stop()


def fill_queue(deployed: Deployment, publisher: Publisher) -> str:
    """Import until all items wait in the queue and none has been run."""
    deployed.queue(QUEUE).pause()
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    import_id = deployed.start_import(url=url, source="quay")
    wait_until(lambda: deployed.queue(QUEUE).counts()[JobState.WAITING] == ITEMS, "all items wait")
    return import_id


def expected_ids() -> set[str]:
    return {f"quay#item-{number}" for number in range(1, ITEMS + 1)}


def test_documents_of_all_settled_jobs_survive_a_kill_of_the_document_store(
    tmp_path: Path,
    valkey_url: str,
    redis_client: object,
    own_stores: list[RunningServer],
    publisher: Publisher,
) -> None:
    store = start_mongodb(tmp_path / "mongodb", *DURABLE_MONGODB)
    own_stores.append(store)
    with deployment(tmp_path, valkey_url, f"{store.url}/feedmill", **SMALL_BATCHES) as deployed:
        deployed.start_server()
        worker = deployed.start_worker()
        import_id = fill_queue(deployed, publisher)
        deployed.queue(QUEUE).resume()
        wait_until(lambda: deployed.settled_jobs() >= SETTLED_BEFORE, "some items are settled")
        store.kill()
        settled = expected_ids() - deployed.job_ids()
        assert SETTLED_BEFORE <= len(settled) < ITEMS

        own_stores.append(start_mongodb(tmp_path / "mongodb", *DURABLE_MONGODB, port=store.port))
        assert settled <= set(deployed.documents())
        back_s = time.monotonic()
        wait_until(lambda: deployed.settled_jobs() > len(settled), "the work goes on")
        print(f"{len(settled)} items settled at the kill, work again {since(back_s)} after it")
        finish(deployed, import_id)
        assert worker.is_running


def test_jobs_and_settlements_survive_a_kill_of_the_queue_store(
    tmp_path: Path,
    mongodb_url: str,
    own_stores: list[RunningServer],
    publisher: Publisher,
) -> None:
    store = start_valkey(tmp_path / "valkey", *DURABLE_VALKEY)
    own_stores.append(store)
    database = f"{mongodb_url}/killed_valkey_{store.port}"
    with deployment(tmp_path, store.url, database, **SMALL_BATCHES) as deployed:
        deployed.start_server()
        worker = deployed.start_worker()
        import_id = fill_queue(deployed, publisher)
        deployed.queue(QUEUE).resume()
        wait_until(lambda: deployed.settled_jobs() >= SETTLED_BEFORE, "some items are settled")
        store.kill()
        own_stores.append(start_valkey(tmp_path / "valkey", *DURABLE_VALKEY, port=store.port))
        settled = expected_ids() - deployed.job_ids()
        assert SETTLED_BEFORE <= len(settled) < ITEMS
        assert settled <= set(deployed.documents())
        back_s = time.monotonic()
        wait_until(lambda: deployed.settled_jobs() > len(settled), "the work goes on")
        print(f"{len(settled)} items settled at the kill, work again {since(back_s)} after it")
        finish(deployed, import_id)
        assert worker.is_running
        # Each settlement survived, so none was made twice.
        assert deployed.settled_jobs() == ITEMS
        deployed.mongo.drop_database(deployed.mongo.get_default_database().name)


@pytest.mark.chaos
def test_killed_embedded_stores_come_back_with_all_that_was_settled(
    tmp_path: Path, publisher: Publisher
) -> None:
    with start_embedded_stores(tmp_path / "data", redis=True, mongodb=True) as stores:
        assert stores.redis_url is not None
        assert stores.mongodb_url is not None
        with deployment(
            tmp_path, stores.redis_url, stores.mongodb_url, **SMALL_BATCHES
        ) as deployed:
            deployed.start_server()
            deployed.start_worker()
            import_id = fill_queue(deployed, publisher)
            deployed.queue(QUEUE).resume()
            wait_until(lambda: deployed.settled_jobs() >= SETTLED_BEFORE, "some are settled")
            for pid in programs_in(tmp_path / "data"):
                os.kill(pid, signal.SIGKILL)
            wait_until(stores.failed, "the watchers have noticed")

    with start_embedded_stores(tmp_path / "data", redis=True, mongodb=True) as stores:
        assert stores.redis_url is not None
        assert stores.mongodb_url is not None
        with deployment(
            tmp_path, stores.redis_url, stores.mongodb_url, **SMALL_BATCHES
        ) as deployed:
            settled = expected_ids() - deployed.job_ids()
            assert SETTLED_BEFORE <= len(settled) < ITEMS
            assert settled <= set(deployed.documents())
            deployed.start_server()
            deployed.start_worker()
            finish(deployed, import_id)


def programs_in(folder: Path) -> list[int]:
    """Return the ids of the stores that run in a folder, not of their watchers."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            is_here = (process / "cwd").resolve(strict=True).is_relative_to(folder)
            words = (process / "cmdline").read_bytes()
        except OSError:
            continue
        if is_here and b"watcher" not in words:
            found.append(int(process.name))
    return found


def since(moment_s: float) -> str:
    return f"{time.monotonic() - moment_s:.2f} s"


def finish(deployed: Deployment, import_id: str) -> None:
    """Wait until the import goes on by itself and ends; every item it calls new is there."""
    ended = deployed.wait_until_closed(import_id, within_s=RESUMES_WITHIN_S)
    assert ended["state"] == "completed"
    assert ended["counts"] == counts_of(fetched=ITEMS, new=ITEMS)
    stored = deployed.documents()
    assert (len(stored), set(stored)) == (ITEMS, expected_ids())
    wait_until(lambda: deployed.leftovers() == [], "Redis is clean", within_s=10)
