"""What one kill or one stop costs: nothing is lost, and how soon the work goes on."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from shared.queue import JobState
from tests.feeds.make_feed import make_feed
from tests.processes import HEAVY_QUEUE, QUEUE, Deploy, Deployment, Role, counts_of, wait_until
from tests.publisher import Answer, Publisher, Received

ITEMS = 800
LOCK_MS = 3000
RECOVERS_WITHIN_S = LOCK_MS / 1000 + 2
STOPS_WITHIN_S = 5
# Far longer than any of these tests: nobody may have to wait for a lock to run out.
LONG_LOCK_MS = 60_000
PROMPT_S = 15


def test_jobs_of_a_killed_worker_run_again_within_lock_time_and_two_seconds(
    deploy: Deploy, publisher: Publisher
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    deployed = deploy(WORKER_LOCK_MS=str(LOCK_MS))
    deployed.start_server()
    doomed, survivor = deployed.start_worker(), deployed.start_worker()
    survivor.freeze()
    import_id = deployed.start_import(url=url, source="quay")
    freeze_with_jobs_in_hand(deployed, doomed)
    held = deployed.lock_holders()
    survivor.thaw()
    doomed.kill()
    killed_s = time.monotonic()

    def run_again() -> bool:
        present, holders = deployed.job_ids(), deployed.lock_holders()
        return all(
            job_id not in present or holders.get(job_id, token) != token
            for job_id, token in held.items()
        )

    wait_until(run_again, "all jobs of the killed worker run again", every_s=0.02)
    recovered_s = time.monotonic() - killed_s
    print(f"{len(held)} jobs of a killed worker ran again after {recovered_s:.2f} s")
    assert recovered_s < RECOVERS_WITHIN_S
    expect_all_new_once(deployed, import_id)


def test_worker_that_wakes_after_its_locks_ran_out_changes_nothing(
    deploy: Deploy, publisher: Publisher
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    deployed = deploy(WORKER_LOCK_MS="1000", WORKER_STALLED_MS="100")
    deployed.start_server()
    sleeper, other = deployed.start_worker(), deployed.start_worker()
    other.freeze()
    import_id = deployed.start_import(url=url, source="quay")
    freeze_with_jobs_in_hand(deployed, sleeper)
    other.thaw()
    expect_all_new_once(deployed, import_id)
    publisher.serve("/feed.xml", make_feed(ITEMS, seed=1))
    newer = deployed.wait_until_closed(deployed.start_import(url=url))
    assert newer["counts"]["updated"] > ITEMS // 2
    stored, settled = deployed.versions(), deployed.settled_jobs()

    sleeper.thaw()
    wait_until(lambda: noticed_lost_locks(sleeper), "the sleeper knows that its locks are lost")
    assert sleeper.terminate()[0] == 0
    assert deployed.versions() == stored
    assert deployed.settled_jobs() == settled
    assert deployed.leftovers() == []


def test_stopped_worker_flushes_what_it_holds_and_leaves_no_lock(
    deploy: Deploy, publisher: Publisher
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    deployed = deploy(WORKER_LOCK_MS=str(LONG_LOCK_MS))
    deployed.start_server()
    leaving, staying = deployed.start_worker(), deployed.start_worker()
    staying.freeze()
    import_id = deployed.start_import(url=url, source="quay")
    freeze_with_jobs_in_hand(deployed, leaving)
    leaving.thaw()
    code, took_s = leaving.terminate()

    assert (code, took_s < STOPS_WITHIN_S) == (0, True)
    assert deployed.waiting_and_active()[JobState.ACTIVE] == 0
    staying.thaw()
    ended = deployed.wait_until_closed(import_id, within_s=PROMPT_S)
    print(f"stopped after {took_s:.2f} s, the rest {ended['counts']['new']} new")
    expect_all_new_once(deployed, import_id)


def test_worker_stopped_while_the_store_hangs_hands_over_without_losing_locks(
    deploy: Deploy, publisher: Publisher
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    deployed = deploy(WORKER_LOCK_MS=str(LONG_LOCK_MS))
    deployed.start_server()
    leaving = deployed.start_worker()
    with item_writes_hanging(deployed):
        import_id = deployed.start_import(url=url, source="quay")
        held = wait_until(
            lambda: deployed.waiting_and_active()[JobState.ACTIVE], "the worker holds jobs"
        )
        code, took_s = leaving.terminate()
    assert (code, took_s < STOPS_WITHIN_S) == (0, True)
    assert deployed.waiting_and_active()[JobState.ACTIVE] == 0
    assert "jobs_released" in leaving.said()

    started_s = time.monotonic()
    deployed.start_worker()
    deployed.wait_until_closed(import_id, within_s=PROMPT_S)
    print(
        f"{held} or more held, stopped after {took_s:.2f} s, "
        f"finished by another in {time.monotonic() - started_s:.2f} s with its start"
    )
    expect_all_new_once(deployed, import_id)


def test_server_stopped_in_mid_import_ends_cleanly_and_a_restart_completes_it(
    deploy: Deploy, publisher: Publisher
) -> None:
    hangs = threading.Event()
    body = make_feed(ITEMS).encode()

    def hang_once(_: Received) -> Answer:
        if hangs.is_set():
            return Answer(200, body, {"Content-Type": "application/rss+xml"})
        hangs.set()
        return Answer(hang=True)

    hanging_url = publisher.script("/hangs.xml", hang_once)
    deployed = deploy(WORKER_RATE_LIMIT_MAX="300", HEAVY_ITEMS=str(ITEMS))
    server = deployed.start_server()
    deployed.start_worker()
    importing = deployed.start_import(
        url=publisher.serve("/feed.xml", make_feed(ITEMS)), source="quay"
    )
    wait_until(lambda: deployed.settled(importing) > 0, "some items are settled")
    fetching = deployed.start_import(url=hanging_url, source="hangs")
    assert hangs.wait(10)

    code, took_s = server.terminate()
    assert (code, took_s < STOPS_WITHIN_S) == (0, True)
    assert "Traceback" not in server.said()
    deployed.start_server()
    # It was there so that the stop came in the middle.
    limit = {"max": 0, "duration_ms": 1000}
    assert deployed.api.put("/settings/rate-limit", json=limit).status_code == 200
    for import_id in (importing, fetching):
        ended = deployed.wait_until_closed(import_id)
        assert (ended["state"], ended["counts"]) == (
            "completed",
            counts_of(fetched=ITEMS, new=ITEMS),
        )
    print(f"the server stopped after {took_s:.2f} s")
    assert len(deployed.documents()) == 2 * ITEMS


def freeze_with_jobs_in_hand(deployed: Deployment, worker: Role) -> int:
    """Freeze a worker at a moment when it holds jobs; return how many."""

    def catch() -> int:
        if not deployed.waiting_and_active()[JobState.ACTIVE]:
            return 0
        worker.freeze()
        held = deployed.waiting_and_active()[JobState.ACTIVE]
        if not held:
            worker.thaw()
        return held

    return wait_until(catch, "the worker holds jobs", every_s=0.005)


def noticed_lost_locks(worker: Role) -> bool:
    events = [json.loads(line) for line in worker.said().splitlines()]
    return any(event["event"] == "locks_lost" or event.get("lock_lost") for event in events)


@contextmanager
def item_writes_hanging(deployed: Deployment) -> Iterator[None]:
    """Let the store be silent for 6 s at each write of the worker's."""
    fail_point = {"failCommands": ["insert", "update", "bulkWrite"], "blockConnection": True}
    deployed.mongo.admin.command(
        "configureFailPoint",
        "failCommand",
        mode="alwaysOn",
        data={**fail_point, "blockTimeMS": 6000, "appName": "feedmill-worker"},
    )
    try:
        yield
    finally:
        deployed.mongo.admin.command("configureFailPoint", "failCommand", mode="off")


def expect_all_new_once(deployed: Deployment, import_id: str) -> None:
    ended = deployed.wait_until_closed(import_id)
    assert (ended["state"], ended["counts"]) == ("completed", counts_of(fetched=ITEMS, new=ITEMS))
    assert deployed.settled_jobs() == ITEMS
    assert len(set(deployed.documents())) == ITEMS
    for name in (QUEUE, HEAVY_QUEUE):
        assert deployed.queue(name).read_totals().get("retried", 0) == 0
    assert deployed.leftovers() == []
