"""Queues on a Redis Cluster, whose nodes give their slots away and die while jobs are run."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedmill import Flow, Job, Queue, QueueError, QueueEvents, WaitingChildrenError, Worker
from server.api.guards import StartLimit
from shared.clock import SystemClock
from shared.errors import QueueRefused, QueueUnavailable
from shared.queue import (
    Completion,
    JobQueue,
    JobState,
    QueueExaminer,
    RedisConnection,
    WorkerSign,
    WorkerSigns,
    check_client,
    check_permissions,
    connect,
    disconnect,
    examine_redis,
)
from shared.queue.clients import is_same_database
from shared.queue.health import allows_client_names, list_workers, probe_queue
from shared.queue.wakeup import wait_for_work
from tests.clusters import SPARE, ClusterDeployment
from tests.load import Load
from tests.processes import wait_until
from tests.queue_states import make_job
from tests.servers import find_free_port, start_valkey

PREFIX = "{bull}"


@pytest.fixture(scope="module")
def shared_cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterDeployment]:
    with ClusterDeployment(tmp_path_factory.mktemp("cluster")) as deployment:
        yield deployment


@pytest.fixture
def cluster(shared_cluster: ClusterDeployment) -> ClusterDeployment:
    """A Cluster without keys; its slots may be anywhere."""
    shared_cluster.forget_all()
    return shared_cluster


@pytest.fixture
def client(cluster: ClusterDeployment) -> Iterator[RedisConnection]:
    client = connect(cluster.url, client_name="tests")
    yield client
    disconnect(client)


@pytest.fixture
def queue(client: RedisConnection) -> JobQueue:
    return open_queue(client, "items")


def open_queue(client: RedisConnection, name: str) -> JobQueue:
    return JobQueue(client, name, prefix=PREFIX, clock=SystemClock())


def test_jobs_go_through_all_states(queue: JobQueue) -> None:
    queue.add_many([make_job(f"a#{number}") for number in range(30)])
    claim = queue.claim(limit=10, lock_ms=30_000, token="t")
    assert len(claim.jobs) == 10
    assert queue.needs_upkeep() == (True, False)
    queue.complete_many([Completion(job.id, "t") for job in claim.jobs[:6]])
    queue.reclaim_stalled(max_stalled=1)
    assert (queue.counts()[JobState.WAITING], queue.counts()[JobState.ACTIVE]) == (20, 4)
    assert queue.get_job("a#29") is not None
    queue.drain_all()
    assert sum(queue.counts().values()) == 0
    assert queue.sample().totals["completed"] == 0


def test_a_whole_deployments_probes_signs_and_reports_are_served(
    cluster: ClusterDeployment, client: RedisConnection, queue: JobQueue
) -> None:
    check_client(client)
    assert is_same_database(client, connect(cluster.url))
    check_permissions(client, PREFIX, ["items", "items_dlq"])
    probe_queue(client, queue.keys.base)
    assert allows_client_names(client, prefix=PREFIX)
    assert not wait_for_work(client, [queue, open_queue(client, "others")], 0.01)
    assert [worker.name for worker in list_workers(queue) or ()] == [None]
    signs = WorkerSigns(client, prefix=PREFIX)
    signs.leave(WorkerSign("w1", ("items",), 0, 1.0))
    assert [sign.worker_id for sign in signs.read()] == ["w1"]
    report = examine_redis(client, SystemClock(), prefix=PREFIX)
    assert (report.is_cluster, report.role, report.eviction_policy) == (
        True,
        "master",
        "noeviction",
    )
    queue.add_many([make_job("a#1")])
    look = QueueExaminer(client, "items", prefix=PREFIX, clock=SystemClock()).look(10)
    assert (look.is_whole, look.workers, look.is_suspicious) == (True, 1, False)


def test_starts_are_counted_by_all_servers(client: RedisConnection) -> None:
    first, second = (
        StartLimit("1/minute", client=client, key_prefix="{bull}:own:limits") for _ in range(2)
    )
    assert first.count("10.0.0.1") is None
    assert second.count("10.0.0.1") is not None


def test_a_prefix_without_a_hash_tag_is_refused_with_what_to_do(
    cluster: ClusterDeployment, client: RedisConnection
) -> None:
    with pytest.raises(QueueError, match=r"no hash tag.*prefix='\{bull\}'"):
        Queue("emails", cluster.url)
    with pytest.raises(QueueRefused) as caught:
        check_permissions(client, "bull", ["items"])
    assert caught.value.is_cluster
    Queue("{emails}", cluster.url).close()


def test_a_flow_runs_and_waits_for_children_over_several_queues(client: RedisConnection) -> None:
    sums, parts = (Queue(name, client, prefix=PREFIX) for name in ("sums", "parts"))

    def add_up(job: Job[Any]) -> object:
        parent = {"id": job.id, "queue": job.queue_qualified_name}
        parts.add("part", 30, job_id="late", parent=parent)
        if job.move_to_waiting_children():
            raise WaitingChildrenError
        return sum(job.get_children_values().values())

    flows = Flow(client, prefix=PREFIX)
    children = [{"name": "part", "queue_name": "parts", "data": n} for n in (1, 2)]
    added = flows.add({"name": "sum", "queue_name": "sums", "children": children})
    adder, worker = Worker(sums, add_up), Worker(parts, lambda job: job.data)
    while worker.step() or adder.step():
        pass
    found = flows.get_flow("sums", added.job.id)
    assert found is not None
    assert (found.job.return_value, len(found.children)) == (33, 3)
    assert sums.remove(added.job.id)
    assert parts.get_completed() == []


def test_flows_under_a_prefix_without_a_hash_tag_are_refused(cluster: ClusterDeployment) -> None:
    with pytest.raises(QueueError, match=r"no hash tag.*prefix='\{bull\}'"):
        Flow(cluster.url)


def test_nodes_that_do_not_answer_are_an_outage() -> None:
    with pytest.raises(QueueUnavailable, match="does not answer"):
        connect(f"redis+cluster://127.0.0.1:{find_free_port()}")


def test_a_server_that_is_no_cluster_is_refused_with_what_to_do(valkey_url: str) -> None:
    with pytest.raises(QueueError, match="name it by redis://") as caught:
        connect(valkey_url.replace("redis:", "redis+cluster:"))
    assert not caught.value.retryable


@pytest.mark.parametrize("is_new", [True, False])
def test_a_slot_that_is_being_moved_refuses_scripts_and_loses_nothing(
    cluster: ClusterDeployment, queue: JobQueue, is_new: bool
) -> None:
    cluster.empty(SPARE)
    queue.add_many([make_job(f"a#{number}") for number in range(30)])
    jobs = queue.claim(limit=2, lock_ms=60_000, token="t").jobs
    old = cluster.holder_of(PREFIX)
    to = SPARE if is_new else next(number for number in range(SPARE) if number != old)
    cluster.begin_move(PREFIX, to)
    for count in (0, 10, 10, 100):
        cluster.move_keys(PREFIX, to, count)
        with pytest.raises(QueueUnavailable, match="moves the keys"):
            queue.add_many([make_job("b#1")])
        with pytest.raises(QueueUnavailable, match="moves the keys"):
            queue.complete_many([Completion(jobs[0].id, "t")])
        if not is_new:
            assert (queue.counts()[JobState.WAITING], queue.needs_upkeep()[0]) == (28, True)
    cluster.end_move(PREFIX, to)
    queue.add_many([make_job("b#1")])
    queue.complete_many([Completion(job.id, "t") for job in jobs])
    counts = queue.counts()
    assert (counts[JobState.WAITING], counts[JobState.ACTIVE]) == (29, 0)


def test_no_job_is_lost_when_slots_are_moved_under_load(cluster: ClusterDeployment) -> None:
    with Load(cluster.url, 600, prefix=PREFIX) as load:
        for number in range(4):
            load.wait_for(50 * (number + 1))
            to = (cluster.holder_of(PREFIX) + 1) % (SPARE + 1)
            if number % 2:
                cluster.move_at_once(PREFIX, to)
            else:
                cluster.begin_move(PREFIX, to)
                cluster.move_keys(PREFIX, to, 20)
                load.wait_for_outage()
                cluster.end_move(PREFIX, to)
        load.wait_for_all()


def test_events_go_on_when_their_slot_is_moved(cluster: ClusterDeployment) -> None:
    queue = Queue("emails", cluster.url, prefix=PREFIX)
    events = QueueEvents("emails", cluster.url, prefix=PREFIX)
    try:
        for number in range(3):
            queue.add("welcome", {}, job_id=f"job-{number}")
            seen = (event.job_id for event in events.listen(10.0) if event.name == "added")
            assert next(seen) == f"job-{number}"
            cluster.move_at_once(PREFIX, (cluster.holder_of(PREFIX) + 1) % SPARE)
    finally:
        events.close()
        queue.close()


def test_no_job_is_lost_when_a_node_dies_and_its_replica_takes_over(tmp_path: Path) -> None:
    with ClusterDeployment(tmp_path) as cluster:
        holder = cluster.holder_of(PREFIX)
        cluster.give_replica(holder)
        with Load(cluster.url, 500, prefix=PREFIX) as load:
            load.wait_for(100)
            cluster.nodes[holder].kill()
            wait_until(lambda: cluster.is_primary(SPARE), "the replica takes over")
            load.wait_for_all()
            assert load.outages


def test_a_frozen_node_is_noticed_by_one_timeout_however_much_is_asked(
    cluster: ClusterDeployment,
) -> None:
    client = connect(cluster.url, socket_timeout_s=0.5)
    queue = open_queue(client, "items")
    queue.add_many([make_job(f"a#{number}") for number in range(50)])
    node = cluster.nodes[cluster.holder_of(PREFIX)]
    node.freeze()
    try:
        asked_s = time.monotonic()
        with pytest.raises(QueueUnavailable):
            queue.get_jobs([f"a#{number}" for number in range(50)])
        # Another one for each node that may be asked where the keys are now.
        assert time.monotonic() - asked_s < 5.0
    finally:
        node.thaw()
    wait_until(lambda: cluster.serves(PREFIX), "the Cluster serves again")
    assert len([job for job in queue.get_jobs(["a#1", "a#49"]) if job]) == 2
    disconnect(client)


def test_a_cluster_that_holds_no_slot_yet_is_an_outage(tmp_path: Path) -> None:
    bus = ("--cluster-enabled", "yes", "--cluster-port", str(find_free_port()))
    node = start_valkey(tmp_path, *bus)
    try:
        with pytest.raises(QueueUnavailable, match="no node of the Cluster holds a slot"):
            connect(f"redis+cluster://127.0.0.1:{node.port}")
    finally:
        node.stop()


def test_flows_and_schedulers_run_in_one_slot(cluster: ClusterDeployment) -> None:
    seen: list[str] = []
    course, videos = (Queue(name, cluster.url, prefix=PREFIX) for name in ("course", "videos"))
    workers = [Worker(queue, lambda job: seen.append(job.name)) for queue in (course, videos)]
    flow = Flow(cluster.url, prefix=PREFIX)
    try:
        child = {"name": "video", "queue_name": "videos"}
        flow.add({"name": "publish", "queue_name": "course", "children": [child]})
        course.upsert_job_scheduler("tick", {"every": 60_000}, {"name": "report"})
        for worker in workers:
            worker.start()
        wait_until(lambda: len(seen) == 3, "parent, child and the scheduler's job ran")
        assert seen.index("video") < seen.index("publish")
        assert course.get_job_counts("delayed") == {"delayed": 1}
    finally:
        for each in (*workers, flow, course, videos):
            each.close()
