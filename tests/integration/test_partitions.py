"""A whole Feedmill whose item queues are in four partitions, on one Redis and on a Cluster."""

import threading
from collections.abc import Iterator, Sequence

import pytest

from server.doctor.collecting import collect_store_facts
from server.doctor.content_checks import check_partitions as warn_of_partitions
from shared.clock import SystemClock
from shared.errors import QueueError
from shared.partitions import check_partitions, divide
from shared.queue import (
    JobState,
    NewJob,
    RedisConnection,
    WorkerSigns,
    connect,
    disconnect,
    partition_of,
)
from shared.settings import Settings
from shared.store import ImportState, Stores
from tests.clusters import ClusterDeployment
from tests.fakes import FakeClock
from tests.harness import Harness
from tests.processes import wait_until
from tests.queue_states import line
from tests.roles import Worker
from worker.decoding import DecodedItem
from worker.process import WorkerProcess
from worker.storing import BatchRunner

COUNT = 4
# One at least for each partition.
SOURCES = [f"source-{number}" for number in (0, 1, 2, 4, 5)]
ITEMS = {f"item-{number}": f"Title {number}" for number in range(3)}


@pytest.fixture
def harness(redis_client: RedisConnection, stores: Stores) -> Harness:
    return Harness(redis_client, stores.database, FakeClock(), queue_partitions=COUNT)


def read_all_feeds(harness: Harness, **more: str) -> list[str]:
    for source in SOURCES:
        harness.subscribe(ITEMS | more, source)
    return [harness.poll(source=source).import_id for source in SOURCES]


def waiting(harness: Harness) -> list[int]:
    return [queue.counts()[JobState.WAITING] for queue in harness.item_queues[:COUNT]]


def dead(harness: Harness) -> int:
    return harness.dead_letter_queue.counts()[JobState.WAITING]


def count_items(harness: Harness) -> int:
    return harness.database.collection("items").count_documents({})


def lose_partition(redis: RedisConnection, number: int) -> None:
    lost = list(redis.scan_iter(match=f"{{bull:{number}}}:*", count=1000))
    assert lost
    redis.delete(*lost)


def assert_all_stored(harness: Harness, import_ids: list[str]) -> None:
    closed = harness.stores.imports.read_many(import_ids).values()
    assert {each.state for each in closed} == {ImportState.COMPLETED}
    assert {each.counts["new"] for each in closed} == {len(ITEMS)}
    assert count_items(harness) == len(SOURCES) * len(ITEMS)


def test_imports_go_through_the_partitions_of_their_sources(harness: Harness) -> None:
    import_ids = read_all_feeds(harness)
    places = [partition_of(source, COUNT) for source in SOURCES]
    expected = [places.count(number) * len(ITEMS) for number in range(COUNT)]
    assert 0 not in expected
    assert waiting(harness) == expected
    light = harness.server.services.light_queue
    assert light.counts()[JobState.WAITING] == sum(expected)
    harness.come_to_rest()
    assert_all_stored(harness, import_ids)
    assert light.read_totals()["completed"] == sum(expected)


def test_the_loss_of_one_partition_is_healed_by_the_record(harness: Harness) -> None:
    read_all_feeds(harness, bad="poison")
    harness.come_to_rest()
    assert dead(harness) == len(SOURCES)
    for source in SOURCES:
        harness.poll(ITEMS | {"late": "A late one"}, source)
    before = waiting(harness)
    lose_partition(harness.redis, 2)
    assert waiting(harness) == [*before[:2], 0, before[3]]
    assert dead(harness) < len(SOURCES)
    harness.publisher.break_down()
    harness.come_to_rest()
    assert dead(harness) == len(SOURCES)
    assert count_items(harness) == len(SOURCES) * (len(ITEMS) + 1)


# Where each of two sources has an item, in two partitions.
NEIGHBOURS = {f"{SOURCES[0]}#killer", f"{SOURCES[1]}#innocent"}


@pytest.fixture
def neighbours(harness: Harness) -> Harness:
    assert len({partition_of(source, COUNT) for source in SOURCES[:2]}) == 2
    harness.settings.worker_max_stalled = 1
    for item in sorted(NEIGHBOURS):
        source, guid = item.split("#")
        harness.subscribe({guid: "Title"}, source)
        harness.poll(source=source)
    return harness


def claim_once(worker: Worker) -> set[str]:
    """Let all partitions claim once; return the items to be stored that this brought."""
    return {item.job.id for one in worker.claim() for item in one.items}


def test_an_item_that_kills_its_worker_dooms_none_of_another_partition(
    neighbours: Harness,
) -> None:
    worker, in_hand = neighbours.worker, []
    for _ in range(20):
        taken = claim_once(worker)
        if f"{SOURCES[0]}#killer" in taken:
            in_hand.append(taken)
            neighbours.lose_locks()
            worker = neighbours.new_worker()
        worker.flush()
    assert in_hand == [NEIGHBOURS, NEIGHBOURS, {f"{SOURCES[0]}#killer"}]
    letters = neighbours.stores.dead_letters
    assert [one.guid for one in letters.read_whole(letters.find_dead())] == ["killer"]
    assert count_items(neighbours) == 1


def test_another_number_is_refused_while_jobs_wait_and_taken_over_when_none_does(
    harness: Harness,
) -> None:
    check_partitions(harness.redis, harness.settings)
    read_all_feeds(harness, bad="poison")
    eight = harness.settings.model_copy(update={"queue_partitions": 8})
    one = harness.settings.model_copy(update={"queue_partitions": 1})
    message = "QUEUE_PARTITIONS=8: 20 jobs wait in 4 partitions: start .* QUEUE_PARTITIONS=4 until"
    with pytest.raises(QueueError, match=message):
        check_partitions(harness.redis, eight)
    check_partitions(harness.redis, harness.settings)
    harness.come_to_rest()
    check_partitions(harness.redis, one)
    assert dead(harness) == 0
    harness.settings = one
    harness.replace_roles()
    harness.come_to_rest()
    assert dead(harness) == len(SOURCES)


def test_jobs_without_partitions_are_not_left_behind(harness: Harness) -> None:
    harness.open_plain(harness.settings.light_queue).add_many([NewJob("a#1", "item", {})])
    with pytest.raises(QueueError, match="1 jobs wait in the queues without partitions"):
        check_partitions(harness.redis, harness.settings)


def test_another_number_is_refused_beside_a_worker(
    harness: Harness, running: WorkerProcess
) -> None:
    wait_until(WorkerSigns(harness.redis).read, "the worker has left its sign")
    one = harness.settings.model_copy(update={"queue_partitions": 1})
    worker_id = running.parts.signaller.worker_id
    with pytest.raises(QueueError, match=f"=1: {worker_id} takes from 4 partitions: stop all"):
        check_partitions(harness.redis, one)
    harness.lose_redis()
    check_partitions(harness.redis, harness.settings)


def test_one_partition_leaves_no_key_at_start(redis_client: RedisConnection) -> None:
    check_partitions(redis_client, Settings(_env_file=None))  # type: ignore[call-arg]
    assert redis_client.keys("*") == []


def test_a_worker_divides_what_it_may_hold_among_the_partitions() -> None:
    settings = Settings(_env_file=None, queue_partitions=4, worker_concurrency=10)  # type: ignore[call-arg]
    divided = divide(settings)
    assert [each.worker_concurrency for each in divided] == [3, 3, 3, 3]
    assert [each.queue_prefix for each in divided] == [f"{{bull:{n}}}" for n in range(4)]


@pytest.fixture
def running(harness: Harness, stores: Stores) -> Iterator[WorkerProcess]:
    check_partitions(harness.redis, harness.settings)
    process = WorkerProcess(harness.settings, harness.redis, stores, SystemClock())
    thread = threading.Thread(target=process.run)
    thread.start()
    yield process
    process.stop()
    thread.join(10)
    assert not thread.is_alive()


def test_one_worker_works_all_partitions_and_leaves_one_sign(
    harness: Harness, running: WorkerProcess
) -> None:
    import_ids = read_all_feeds(harness)
    wait_until(lambda: count_items(harness) == len(SOURCES) * len(ITEMS), "all is stored")
    wait_until(harness.is_drained, "all is settled")
    for import_id in import_ids:
        assert harness.server.audit(import_id)
    assert_all_stored(harness, import_ids)
    assert len(WorkerSigns(harness.redis).read()) == 1
    loops = {name for name in running.supervisor.failures() if "consumer" in name}
    assert loops == {f"consumer-{number}" for number in range(COUNT)}


def test_items_that_must_run_alone_do_so_in_all_partitions_and_hold_none_up(
    harness: Harness, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    read_all_feeds(harness)
    solo = {f"{source}#{guid}" for source in SOURCES for guid in ("item-0", "item-2")}
    for queue in harness.item_queues:
        for job in solo & set(line(queue)):
            queue.client.hset(queue.keys.job(job), "solo", "1")
    run, beside = BatchRunner.run, []

    def run_and_look(
        runner: BatchRunner, batch: Sequence[DecodedItem], stop: threading.Event
    ) -> None:
        if any(item.job.is_solo for item in batch):
            parts = process.partitions
            beside.append(sum(len(each.consumer_parts.held) for each in parts) - 1)
        run(runner, batch, stop)

    monkeypatch.setattr(BatchRunner, "run", run_and_look)
    process: WorkerProcess = request.getfixturevalue("running")
    wait_until(harness.is_drained, "all is settled")
    assert count_items(harness) == len(SOURCES) * len(ITEMS)
    assert beside == [0] * len(solo)


def test_the_doctor_looks_at_each_partition(harness: Harness, valkey_url: str) -> None:
    read_all_feeds(harness)
    settings = harness.settings.model_copy(update={"redis_url": valkey_url})
    facts = collect_store_facts(settings, None, SystemClock())
    light = settings.light_queue
    found = [facts.queues[f"{{bull:{number}}}:{light}"] for number in range(COUNT)]
    assert [each.look.counts[JobState.WAITING] for each in found] == waiting(harness)
    assert light not in facts.queues
    assert facts.partitions == 1
    [finding] = list(warn_of_partitions(facts.partitions, COUNT))
    assert finding.text == "Redis says 1 of the item queues, QUEUE_PARTITIONS says 4"
    assert list(warn_of_partitions(COUNT, COUNT)) == []


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterDeployment]:
    with ClusterDeployment(tmp_path_factory.mktemp("cluster")) as deployment:
        yield deployment


@pytest.fixture
def on_cluster(cluster: ClusterDeployment, stores: Stores) -> Iterator[Harness]:
    redis = connect(cluster.url)
    clock = FakeClock()
    yield Harness(redis, stores.database, clock, queue_prefix="{bull}", queue_partitions=COUNT)
    disconnect(redis)


def test_imports_go_through_partitions_on_several_nodes_of_a_cluster(
    cluster: ClusterDeployment, on_cluster: Harness
) -> None:
    check_partitions(on_cluster.redis, on_cluster.settings)
    import_ids = read_all_feeds(on_cluster)
    holders = {cluster.holder_of(queue.keys.base) for queue in on_cluster.item_queues}
    assert len(holders) > 1
    assert 0 not in waiting(on_cluster)
    sums = on_cluster.server.services.light_queue.sample().counts
    assert sums[JobState.WAITING] == sum(waiting(on_cluster)) == len(SOURCES) * len(ITEMS)
    on_cluster.come_to_rest()
    assert_all_stored(on_cluster, import_ids)
