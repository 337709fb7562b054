"""What Node's Queue, Worker and QueueEvents see of our queues, and we of what they add."""

import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import feedmill
from shared.clock import SystemClock
from shared.errors import FeedmillError
from shared.queue import (
    Claim,
    Completion,
    DeadLettering,
    Failure,
    JobQueue,
    JobState,
    Lock,
    NewJob,
    RedisConnection,
    Retry,
    Worker,
    WorkerOptions,
    connect,
    disconnect,
    wait_for_work,
)
from tests.interop.node_driver import NodeDriver

HEAD = "const q = await queue('bull', 'q');"
ITEM = NewJob("lwn#https://lwn.net/1/", "item", {"guid": "ü"}, revision=4, tally="i1", attempts=3)


def claim(queue: JobQueue, token: str = "t", limit: int = 10, lock_ms: int = 30_000) -> Claim:
    return queue.claim(limit=limit, lock_ms=lock_ms, token=token)


def test_node_reads_the_counts_and_jobs_that_we_wrote(node: NodeDriver, queue: JobQueue) -> None:
    queue.add_many([ITEM, NewJob("lwn#2", "item", {}), NewJob("lwn#3", "item", {})])
    claim(queue, limit=2)
    queue.retry_many([Retry("lwn#2", "t", "boom", "stack", 60_000)])
    seen = node.run(
        HEAD
        + """
        const job = await q.getJob(args.id);
        return { counts: await q.getJobCounts(), data: job.data, attempts: job.opts.attempts,
                 state: await job.getState(), all: (await q.getJobs()).map((j) => j.id).sort() };
        """,
        id=ITEM.id,
    )
    counts = {state: count for state, count in seen["counts"].items() if count}
    assert counts == {"active": 1, "delayed": 1, "waiting": 1}
    assert seen["data"] == {"guid": "ü"}
    assert seen["attempts"] == 3
    assert seen["state"] == "active"
    assert seen["all"] == sorted([ITEM.id, "lwn#2", "lwn#3"])


def test_node_reads_a_dead_letter(
    node: NodeDriver, queue: JobQueue, redis_client: RedisConnection
) -> None:
    dlq = JobQueue(redis_client, "q_dlq", clock=SystemClock())
    queue.add_many([ITEM])
    claim(queue)
    dead = NewJob(ITEM.id, "dead", {"queue": "q", "job_id": ITEM.id, "reason": "bad"})
    queue.dead_letter_many([DeadLettering(ITEM.id, "t", "bad", "Traceback", dead)], dlq)
    seen = node.run(
        """
        const [job] = await (await queue('bull', 'q_dlq')).getWaiting();
        return { id: job.id, name: job.name, data: job.data, reason: job.failedReason,
                 stacktrace: job.stacktrace };
        """
    )
    assert seen == {
        "id": ITEM.id,
        "name": "dead",
        "data": {"queue": "q", "job_id": ITEM.id, "reason": "bad"},
        "reason": "bad",
        "stacktrace": ["Traceback"],
    }


def test_a_producer_in_node_hears_that_we_completed_its_job(
    node: NodeDriver, queue: JobQueue
) -> None:
    node.run(
        HEAD
        + """
        const e = await events('bull', 'q');
        const job = await q.add('item', { a: 1 }, { jobId: 'board#17', attempts: 3 });
        known.set('result', { promise: job.waitUntilFinished(e, 10_000) });
        """
    )
    job = claim(queue).jobs[0]
    assert (job.id, job.name, job.raw_data, job.max_attempts) == ("board#17", "item", '{"a":1}', 3)
    queue.complete_many([Completion("board#17", "t", {"stored": True})])
    assert node.run("return await known.get('result').promise") == {"stored": True}


def test_a_producer_in_node_hears_that_we_failed_its_job(node: NodeDriver, queue: JobQueue) -> None:
    node.run(
        HEAD
        + """
        const e = await events('bull', 'q');
        const job = await q.add('item', {}, {});
        const heard = job.waitUntilFinished(e, 10_000).catch((error) => error.message);
        known.set('result', { promise: heard });
        """
    )
    claim(queue)
    queue.fail_many([Failure("1", "t", "ünreadable", "stack")])
    assert node.run("return await known.get('result').promise") == "ünreadable"


def test_a_worker_in_node_completes_what_we_added(node: NodeDriver, queue: JobQueue) -> None:
    node.run("await worker('bull', 'q', async (job) => ({ got: job.data.n }))")
    queue.add_many([NewJob(f"s#{n}", "item", {"n": n}, keep_completed=10) for n in range(5)])
    _wait_for(lambda: queue.counts()[JobState.COMPLETED] == 5)
    assert [view.result for view in queue.get_jobs(["s#3"]) if view] == ['{"got":3}']


def test_half_an_emoji_goes_from_node_to_us_and_back(
    node: NodeDriver, redis_client: RedisConnection
) -> None:
    ours, theirs = (feedmill.Queue(name, redis_client) for name in ("q", "theirs"))
    seen: list[object] = []

    def send(job: feedmill.Job[Any]) -> object:
        seen.append(job.data)
        return job.data

    half = "const half = { title: 'Hello 😀'.slice(0, 7), n: 5 };"
    node.run(HEAD + half + "await q.add('x', half, { jobId: 'a' });")
    assert feedmill.Worker(ours, send).step()
    answer = node.run(HEAD + "return (await q.getJob('a')).returnvalue;")
    assert seen == [answer] == [{"title": "Hello \ufffd", "n": 5}]
    node.run(half + "await worker('bull', 'theirs', async () => half);")
    assert theirs.add("x").wait_until_finished(timeout_s=10) == answer


def test_our_worker_fails_what_node_doomed_without_running_it(
    node: NodeDriver, queue: JobQueue, idle_workers_end_soon: None
) -> None:
    node.run(
        """
        const f = await flow('bull');
        const opts = { jobId: 'child', failParentOnFailure: true };
        await f.add({ name: 'p', queueName: 'q', opts: { jobId: 'parent' },
                      children: [{ name: 'c', queueName: 'q', opts }] });
        """
    )
    ran: list[str] = []
    errors: list[str] = []

    def run(job: object) -> None:
        ran.append(getattr(job, "id", ""))
        raise FeedmillError("bad")

    options = WorkerOptions(
        concurrency=1,
        lock_ms=5_000,
        on_final_failure=lambda _, error: errors.append(str(error)),
    )
    worker = Worker(queue, run, options, clock=SystemClock())
    worker.start()
    try:
        _wait_for(lambda: queue.counts()[JobState.FAILED] == 2)
    finally:
        worker.stop(5)
    assert ran == ["child"]
    assert errors == ["bad", "child bull:q:child failed"]


def test_events_survive_every_step_of_a_life(
    node: NodeDriver, queue: JobQueue, redis_client: RedisConnection
) -> None:
    node.run(
        """
        const e = await events('bull', 'q'), heard = [];
        known.set('heard', { heard });
        for (const name of ['added', 'waiting', 'active', 'delayed', 'stalled', 'completed',
          'failed', 'retries-exhausted', 'removed', 'cleaned', 'drained', 'paused', 'resumed',
          'duplicated'])
          e.on(name, (entry) => heard.push(`${name} ${entry.jobId ?? ''}`.trim()));
        await sleep(100);
        """
    )
    _live_through_everything(queue, JobQueue(redis_client, "q_dlq", clock=SystemClock()))
    heard = node.run(
        """
        const { heard } = known.get('heard');
        for (let n = 0; n < 100 && !heard.includes('removed last'); n++) await sleep(50);
        return heard;
        """
    )
    for expected in ("stalled s#1", "completed s#1", "failed s#2", "retries-exhausted s#3"):
        assert expected in heard
    assert {"paused", "resumed", "cleaned", "drained", "delayed s#2"} <= set(heard)
    assert heard[-1] == "removed last"


def _live_through_everything(queue: JobQueue, dlq: JobQueue) -> None:
    jobs = [NewJob(f"s#{n}", "item", {"n": n}, revision=1, keep_completed=5) for n in (1, 2, 3)]
    queue.add_many([*jobs, jobs[0]])
    claim(queue, "a")
    queue.release_many([Lock("s#1", "a")])
    claim(queue, "b")
    queue.retry_many([Retry("s#2", "a", "boom", "stack", 1)])
    queue.client.delete("bull:q:s#1:lock")
    queue.reclaim_stalled(max_stalled=3)
    claim(queue, "c", limit=1)
    queue.complete_many([Completion("s#1", "c", "done")])
    dead = NewJob("s#2", "dead", {})
    _wait_for(lambda: bool(claim(queue, "d").jobs))
    queue.dead_letter_many([DeadLettering("s#2", "d", "bad", "stack", dead)], dlq)
    queue.fail_many([Failure("s#3", "a", "bad", "")])
    queue.pause()
    queue.resume()
    queue.clean(JobState.COMPLETED, 0, 10)
    queue.add_many([NewJob("last", "item", {})])
    queue.remove_many(["last"])


def test_an_add_in_node_wakes_us_and_lists_us_among_its_workers(
    node: NodeDriver, queue: JobQueue, valkey_url: str
) -> None:
    client = connect(valkey_url)
    other = JobQueue(client, "other", clock=SystemClock())
    answers: list[bool] = []
    waiting = threading.Thread(
        target=lambda: answers.append(wait_for_work(client, [queue, other], 10))
    )
    waiting.start()
    try:
        listed = node.run(
            """
            const names = [];
            for (const name of ['q', 'other']) {
              const one = await queue('bull', name);
              for (let n = 0; n < 100; n++) {
                if ((await one.getWorkers()).length) { names.push(name); break; }
                await sleep(20);
              }
            }
            await (await queue('bull', 'other')).add('item', {});
            return names;
            """
        )
        waiting.join(10)
    finally:
        disconnect(client)
    assert listed == ["q", "other"]
    assert answers == [True]


@pytest.mark.parametrize("job_id", ["a:b:c", "012", "ä ö\n", "x" * 2000, "{tag}", "a b"])
def test_jobs_under_any_id_that_node_accepts_can_be_claimed_and_settled(
    node: NodeDriver, queue: JobQueue, job_id: str
) -> None:
    node.run(HEAD + "await q.add(args.id, null, { jobId: args.id })", id=job_id)
    job = claim(queue).jobs[0]
    assert (job.id, job.name, job.raw_data) == (job_id, job_id, "null")
    queue.complete_many([Completion(job_id, "t")])
    assert queue.counts()[JobState.COMPLETED] == 1


def test_the_clean_up_of_orphans_in_node_leaves_what_is_our_own(
    node: NodeDriver, queue: JobQueue
) -> None:
    queue.add_many([ITEM, NewJob("s#2", "item", {})])
    claim(queue, limit=1)
    queue.complete_many([Completion(ITEM.id, "t", None, "new")])
    queue.create_incarnation("first")
    node.run(HEAD + "await q.removeOrphanedJobs()")
    assert queue.read_tallies(["i1"]) == [{"new": 1}]
    assert queue.read_totals()["completed"] == 1
    assert queue.read_incarnation() == "first"
    assert queue.get_job("s#2") is not None


def _wait_for(condition: Callable[[], bool], timeout_s: float = 10.0) -> None:
    deadline_s = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline_s
        threading.Event().wait(0.01)
