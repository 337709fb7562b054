"""Events and results over both sides: our iterator hears Node's work, and Node hears ours."""

import threading
from collections.abc import Iterator

import pytest

from feedmill import Job, JobFailed, Queue, QueueEvents, Worker
from shared.queue import RedisConnection
from tests.interop.node_driver import NodeDriver
from tests.processes import wait_until
from tests.queue_states import is_listened_to

HEAD = "const q = await queue('bull', 'q');"
# Works jobs by their names.
NODE_WORKER = """
    await worker('bull', 'q', async (job) => {
        if (job.name === 'bad') throw new Error('ünwilling');
        await job.updateProgress({ percent: 50 });
        return { got: job.data };
    });
"""


@pytest.fixture
def queue(redis_client: RedisConnection) -> Queue:
    return Queue("q", redis_client)


@pytest.fixture
def listener(redis_client: RedisConnection) -> Iterator[QueueEvents]:
    with QueueEvents("q", redis_client) as made:
        yield made


def job_of(queue: Queue, job_id: str) -> Job[object]:
    job = queue.get_job(job_id)
    assert job is not None
    return job


@pytest.mark.parametrize("opts", [{}, {"removeOnComplete": True}])
def test_our_iterator_hears_what_a_worker_in_node_does(
    node: NodeDriver, listener: QueueEvents, opts: dict[str, object]
) -> None:
    node.run(
        HEAD + "await q.add('x', ['ä', null], { jobId: 'a', ...args.opts });" + NODE_WORKER,
        opts=opts,
    )
    heard = {}
    for event in listener.listen(10):
        heard[event.name] = event
        if event.name == "completed":
            break
    assert list(heard) == ["added", "waiting", "active", "progress", "completed"]
    assert {event.job_id for event in heard.values()} == {"a"}
    assert heard["progress"].fields == {"data": {"percent": 50}}
    assert heard["completed"].fields == {"returnvalue": {"got": ["ä", None]}, "prev": "active"}


def test_we_get_the_result_of_a_job_that_a_worker_in_node_runs(
    node: NodeDriver, queue: Queue, listener: QueueEvents
) -> None:
    node.run(HEAD + "await q.add('x', 1, { jobId: 'a', removeOnComplete: true });")
    job = job_of(queue, "a")
    results: list[object] = []
    waiting = threading.Thread(target=lambda: results.append(job.wait_until_finished(listener, 10)))
    waiting.start()
    wait_until(lambda: is_listened_to(queue.core), "it waits")
    node.run(NODE_WORKER)
    waiting.join(10)
    assert results == [{"got": 1}]


def test_we_hear_why_a_worker_in_node_failed_a_job(node: NodeDriver, queue: Queue) -> None:
    node.run(HEAD + "await q.add('bad', 1, { jobId: 'a' });")
    job = job_of(queue, "a")
    node.run(NODE_WORKER)
    with pytest.raises(JobFailed, match="ünwilling"):
        job.wait_until_finished(timeout_s=10)
    assert job.is_failed()


def test_a_producer_in_node_hears_the_events_and_gets_the_result_of_our_worker(
    node: NodeDriver, queue: Queue
) -> None:
    node.run(
        HEAD
        + """
        const e = await events('bull', 'q'), heard = [];
        for (const name of ['active', 'completed', 'failed'])
            e.on(name, ({ jobId }) => heard.push(`${name} ${jobId}`));
        const good = await q.add('good', { n: 1 }, { jobId: 'a' });
        const bad = await q.add('bad', {}, { jobId: 'b' });
        known.set('heard', { heard, results: Promise.all([
            good.waitUntilFinished(e, 10_000),
            bad.waitUntilFinished(e, 10_000).catch((error) => error.message)]) });
        """
    )

    def run(job: Job[object]) -> object:
        if job.name == "bad":
            raise ValueError("ünwilling")
        return {"got": job.data}

    worker = Worker(queue, run)
    assert worker.step()
    assert worker.step()
    seen = node.run(
        """
        const { heard, results } = known.get('heard');
        return { results: await results, heard };
        """
    )
    assert seen["results"] == [{"got": {"n": 1}}, "ünwilling"]
    assert seen["heard"] == ["active a", "completed a", "active b", "failed b"]


def test_node_lists_our_listener_apart_from_the_workers(
    node: NodeDriver, listener: QueueEvents, queue: Queue
) -> None:
    assert list(listener.listen(0)) == []
    listed = node.run(
        HEAD
        + """
        const names = (clients) => clients.map((client) => client.rawname);
        return { workers: names(await q.getWorkers()), events: names(await q.getQueueEvents()) };
        """
    )
    assert listed == {"workers": [], "events": ["bull:cQ==:qe"]}
    node.run("await worker('bull', 'q', async () => {}, { name: 'helper' })")
    wait_until(lambda: [one.name for one in queue.get_workers()] == ["helper"], "it is listed")
