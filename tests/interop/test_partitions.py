"""Node beside a queue in partitions: under each prefix it sees, and works, a plain queue."""

from shared.clock import SystemClock
from shared.queue import (
    JobQueue,
    JobState,
    NewJob,
    PartitionedQueue,
    RedisConnection,
    partition_prefixes,
)
from tests.interop.node_driver import NodeDriver
from tests.processes import wait_until

COUNT = 2
IDS = [f"source-{number}#guid" for number in range(12)]


def open_partitions(redis: RedisConnection) -> PartitionedQueue:
    prefixes = partition_prefixes("bull", COUNT)
    parts = [JobQueue(redis, "items", prefix=each, clock=SystemClock()) for each in prefixes]
    return PartitionedQueue(parts, lambda job_id: job_id.partition("#")[0])


def test_node_reads_a_partition_as_a_plain_queue(
    node: NodeDriver, redis_client: RedisConnection
) -> None:
    queue = open_partitions(redis_client)
    queue.add_many([NewJob(each, "item", {"id": each}) for each in IDS])
    for part in queue.parts:
        seen = node.run(
            """
            const q = await queue(args.prefix, 'items');
            const jobs = await q.getJobs(['waiting']);
            const states = await Promise.all(jobs.map((job) => job.getState()));
            return { counts: await q.getJobCounts('waiting'), states,
                     data: jobs.map((job) => job.data.id).sort() };
            """,
            prefix=part.prefix,
        )
        own = sorted(job.id for job in part.list_jobs(JobState.WAITING, 0, 100))
        assert own
        assert seen["counts"] == {"waiting": len(own)}
        assert seen["states"] == ["waiting"] * len(own)
        assert seen["data"] == own


def test_what_node_adds_to_a_partition_is_seen_in_the_whole_and_its_worker_works_one(
    node: NodeDriver, redis_client: RedisConnection
) -> None:
    queue = open_partitions(redis_client)
    queue.add_many([NewJob(each, "item", {}) for each in IDS])
    untouched = queue.parts[0].counts()[JobState.WAITING]
    node.run(
        """
        const q = await queue(args.prefix, 'items');
        await q.add('item', {}, { jobId: 'added-by-node' });
        """,
        prefix=queue.parts[1].prefix,
    )
    found = queue.get_job("added-by-node")
    assert found is not None
    assert found.state is JobState.WAITING
    work = "await worker(args.prefix, 'items', async () => 'by node');"
    node.run(work, prefix=queue.parts[1].prefix)

    def is_worked() -> bool:
        counts = queue.parts[1].counts()
        return counts[JobState.WAITING] + counts[JobState.ACTIVE] == 0

    wait_until(is_worked, "Node has worked a partition")
    assert (
        queue.parts[0].counts()[JobState.WAITING] == queue.counts()[JobState.WAITING] == untouched
    )
    worked = queue.get_job("added-by-node")
    assert worked is not None
    assert worked.result == '"by node"'
