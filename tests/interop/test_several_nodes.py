"""Node's BullMQ and ours on one queue of a Cluster, and of a primary that a Sentinel names."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from feedmill import Job, Queue, Worker
from tests.clusters import ClusterDeployment
from tests.interop.node_driver import NodeDriver, NodeMissing, install_packages
from tests.processes import wait_until
from tests.sentinels import SentinelDeployment

PREFIX = "{bull}"
JOBS = 300
OPEN_CLUSTER = """
    const { Cluster } = await import('ioredis');
    const redisOptions = { maxRetriesPerRequest: null };
    const connection = new Cluster([{ host: '127.0.0.1', port: args.port }], { redisOptions });
"""
ASK_SENTINEL = """
    const sentinels = [{ host: '127.0.0.1', port: args.port }];
    const connection = { sentinels, name: 'main', maxRetriesPerRequest: null };
"""
ADD = """
    const added = new B.Queue('emails', { connection, prefix: args.prefix });
    added.on('error', () => {});
    known.set('queue', added);
    await added.addBulk(
      Array.from({ length: args.jobs }, (_, n) => ({ name: 'send', data: { to: n }, opts: {} })));
"""
WORK = """
    const options = { connection, prefix: args.prefix };
    const working = new B.Worker('emails', async () => 'by node', options);
    working.on('error', () => {});
    known.set('worker', working);
"""
COUNT = "return await known.get('queue').getJobCounts('waiting', 'active', 'completed');"


@pytest.fixture
def node(valkey_url: str, idle_workers_end_soon: None) -> Iterator[NodeDriver]:
    try:
        driver = NodeDriver(install_packages(), valkey_url)
    except NodeMissing as exc:
        pytest.skip(str(exc))
    yield driver
    driver.stop()


def drain_together(node: NodeDriver, queue: Queue, connection: str, port: int) -> None:
    """Let Node add jobs, and its worker and ours work them; both must have had some."""
    args = {"port": port, "prefix": queue.prefix, "jobs": JOBS}
    node.run(connection + ADD + WORK, **args)

    def answer(_job: Job[Any]) -> str:
        return "by us"

    worker = Worker(queue, answer)
    worker.start()
    try:
        done = {"waiting": 0, "active": 0, "completed": JOBS}
        wait_until(lambda: node.run(COUNT) == done, "all jobs are completed")
    finally:
        worker.close()
    workers = {job.return_value for job in queue.get_jobs(["completed"])}
    assert workers == {"by node", "by us"}


def test_node_and_we_work_one_queue_of_a_cluster(node: NodeDriver, tmp_path: Path) -> None:
    with ClusterDeployment(tmp_path) as cluster:
        queue = Queue("emails", cluster.url, prefix=PREFIX)
        drain_together(node, queue, OPEN_CLUSTER, cluster.nodes[0].port)
        cluster.move_at_once(PREFIX, (cluster.holder_of(PREFIX) + 1) % 3)
        queue.add("send", {"to": -1})
        moved = {"waiting": 0, "active": 0, "completed": JOBS + 1}
        wait_until(lambda: node.run(COUNT) == moved, "Node works what we add at the new node")
        queue.close()


def test_node_and_we_follow_one_sentinel(node: NodeDriver, tmp_path: Path) -> None:
    with SentinelDeployment(tmp_path) as sentinel:
        queue = Queue("emails", sentinel.url)
        drain_together(node, queue, ASK_SENTINEL, sentinel.sentinel.port)
        sentinel.kill_primary()
        sentinel.wait_for_failover()
        wait_until(lambda: node.run(COUNT)["completed"] == JOBS, "Node has followed")
        assert queue.get_job_counts("completed") == {"completed": JOBS}
        queue.close()
