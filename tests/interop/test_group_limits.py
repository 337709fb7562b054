"""What Node sees of jobs that a limit of groups has lined up, and what it does with them."""

from shared.queue import GroupLimit, JobQueue, JobState, NewJob
from shared.queue.limits import limit_groups
from tests.interop.node_driver import NodeDriver

HEAD = "const q = await queue('bull', 'q');"


def take(queue: JobQueue, token: str, limit: int = 10) -> list[str]:
    return [job.id for job in queue.claim(limit=limit, lock_ms=30_000, token=token).jobs]


def line_up(queue: JobQueue, *job_ids: str) -> None:
    """Let two jobs of the group start, and add others behind them."""
    limit_groups(queue, GroupLimit(2, 60_000, "source"))
    queue.add_many([NewJob(job_id, "item", {"source": "lwn"}) for job_id in ("x1", "x2", *job_ids)])
    assert take(queue, "first") == ["x1", "x2"]


def test_node_lists_counts_removes_and_cleans_lined_up_jobs(
    node: NodeDriver, queue: JobQueue
) -> None:
    line_up(queue, "a", "b", "c", "d")
    seen = node.run(
        HEAD
        + """
        const listed = (await q.getPrioritized()).map((j) => j.id);
        const state = await (await q.getJob('b')).getState();
        await (await q.getJob('b')).remove();
        const cleaned = await q.clean(-1000, 1, 'prioritized');
        const { waiting, prioritized } = await q.getJobCounts();
        return { listed, state, cleaned, waiting, prioritized };
        """
    )
    assert seen == {
        "listed": ["a", "b", "c", "d"],
        "state": "prioritized",
        "cleaned": ["a"],
        "waiting": 0,
        "prioritized": 2,
    }
    limit_groups(queue, GroupLimit(9, 60_000, "source"))
    queue.client.zadd(queue.keys.base + "own:groups", {"lwn": 0})
    assert take(queue, "second") == ["c", "d"]


def test_what_node_adds_stands_in_the_line_of_its_group_when_a_claim_has_seen_it(
    node: NodeDriver, queue: JobQueue
) -> None:
    line_up(queue, "a")
    node.run(
        HEAD
        + """
        for (const source of ['lwn', 'lwn', 'other']) await q.add('item', { source });
        await q.add('item', { source: 'lwn' }, { jobId: 'urgent', priority: 3 });
        """
    )
    assert take(queue, "second") == ["6"]
    assert [view.id for view in queue.list_jobs(JobState.PRIORITIZED, 0, 9)] == [
        "urgent",
        "5",
        "4",
        "a",
    ]
    limit_groups(queue, GroupLimit(9, 60_000, "source"))
    queue.client.zadd(queue.keys.base + "own:groups", {"lwn": 0})
    assert take(queue, "third") == ["urgent", "a", "4", "5"]


def test_a_lined_up_job_to_which_node_gives_a_priority_is_not_lost(
    node: NodeDriver, queue: JobQueue
) -> None:
    line_up(queue, "a", "b", "c")
    node.run(
        HEAD
        + """
        await (await q.getJob('b')).changePriority({ priority: 7 });
        await (await q.getJob('c')).changePriority({ priority: 0 });
        """
    )
    limit_groups(queue, GroupLimit(9, 60_000, "source"))
    queue.client.zadd(queue.keys.base + "own:groups", {"lwn": 0})
    assert sorted(take(queue, "second")) == ["a", "b", "c"]
    assert queue.counts()[JobState.PRIORITIZED] == 0


def test_node_s_worker_takes_lined_up_jobs_last(node: NodeDriver, queue: JobQueue) -> None:
    line_up(queue, "a", "b")
    ran = node.run(
        HEAD
        + """
        await q.add('item', {}, { jobId: 'plain' });
        await q.add('item', {}, { jobId: 'low', priority: 2097152 - 1 });
        const w = await worker('bull', 'q');
        const ran = [];
        for (let n = 0; n < 4; n++) ran.push((await w.getNextJob('t' + n)).id);
        return ran;
        """
    )
    assert ran == ["plain", "low", "a", "b"]
