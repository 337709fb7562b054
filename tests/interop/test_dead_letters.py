"""Dead letters of a queue of one's own beside Node: plain jobs, there and back."""

from typing import Any

from feedmill import Job, Queue, Worker
from shared.queue import RedisConnection
from tests.interop.node_driver import NodeDriver
from tests.processes import wait_until
from tests.queue_states import is_listened_to


def refuse(job: Job[Any]) -> None:
    raise OSError("no answer")


def let_die(client: RedisConnection) -> tuple[Queue, Queue]:
    orders, dead = Queue("orders", client), Queue("orders_dead", client)
    worker = Worker(orders, refuse, dead_letter=dead)
    while worker.step():
        pass
    return orders, dead


def test_node_sees_a_dead_letter_as_a_job_and_its_own_job_back_after_the_replay(
    node: NodeDriver, redis_client: RedisConnection
) -> None:
    node.run("""
        const q = await queue('bull', 'orders');
        const opts = { attempts: 2, priority: 3, removeOnComplete: { count: 7 } };
        await q.add('ship', { to: 'Rome', items: [], weight: 1.5 }, opts);
    """)
    _, dead = let_die(redis_client)
    seen = node.run("""
        const d = await queue('bull', 'orders_dead');
        const [job] = await d.getWaiting();
        return [job.id, job.name, job.data.data, job.data.attempts, job.failedReason,
                await job.getState(), await (await queue('bull', 'orders')).getJobCounts()];
    """)
    *told, counts = seen
    assert told == [
        "orders/1",
        "dead",
        {"to": "Rome", "items": [], "weight": 1.5},
        2,
        "no answer",
        "waiting",
    ]
    assert sum(counts.values()) == 0
    assert dead.replay() == 1
    again = node.run("""
        const q = await queue('bull', 'orders'), w = await hand('bull', 'orders');
        const job = await w.getNextJob('t', { block: false });
        await job.moveToCompleted('done', 't', false);
        const { id, name, data, opts, attemptsMade, returnvalue } = await q.getJob(job.id);
        return { id, name, data, attempts: opts.attempts, priority: opts.priority,
                 keep: opts.removeOnComplete, attemptsMade, returnvalue };
    """)
    assert again == {
        "id": "1",
        "name": "ship",
        "data": {"to": "Rome", "items": [], "weight": 1.5},
        "attempts": 2,
        "priority": 3,
        "keep": {"count": 7},
        "attemptsMade": 1,
        "returnvalue": "done",
    }


def test_node_works_dead_letters_and_hears_of_failures_and_replays(
    node: NodeDriver, redis_client: RedisConnection
) -> None:
    node.run("""
        const e = await events('bull', 'orders');
        globalThis.heard = [];
        for (const name of ['added', 'failed'])
            e.on(name, (event) => heard.push([name, event.jobId, event.failedReason ?? null]));
    """)
    wait_until(lambda: is_listened_to(Queue("orders", redis_client).core), "Node listens")
    node.run("""
        const q = await queue('bull', 'orders');
        await q.addBulk(['a', 'b'].map((jobId) => ({ name: 'ship', data: {}, opts: { jobId } })));
    """)
    orders, dead = let_die(redis_client)
    node.run("""
        const w = await hand('bull', 'orders_dead');
        const job = await w.getNextJob('t', { block: false });
        await job.moveToCompleted(null, 't', false);
    """)
    assert [job.id for job in dead.get_waiting()] == ["orders/b"]
    assert dead.replay() == 1
    heard = node.run("""
        for (let n = 0; n < 100 && heard.length < 5; n++) await sleep(20);
        return heard;
    """)
    assert heard == [
        ["added", "a", None],
        ["added", "b", None],
        ["failed", "a", "no answer"],
        ["failed", "b", "no answer"],
        ["added", "b", None],
    ]
    assert [job.id for job in orders.get_waiting()] == ["b"]
