"""One flow, worked by both: Node's workers and ours each do their part of it."""

from typing import Any

import pytest

from feedmill import Flow, Job, Queue, WaitingChildrenError, Worker
from shared.queue import RedisConnection
from tests.interop.node_driver import NodeDriver
from tests.processes import wait_until

ADD_BY_NODE = """
    const f = await flow('bull');
    const child = (n) => ({ name: 'part', queueName: 'parts', data: n, opts: { jobId: `c${n}` } });
    await f.add({ name: 'sum', queueName: 'sums', opts: { jobId: 'p' },
        children: [child(1), child(2), child(3)] });
"""
SUM_BY_NODE = """
    await worker('bull', 'sums', async (job) => {
        const values = Object.values(await job.getChildrenValues());
        return values.reduce((sum, value) => sum + value, 0);
    });
"""


@pytest.fixture
def sums(redis_client: RedisConnection) -> Queue:
    return Queue("sums", redis_client)


@pytest.fixture
def parts(redis_client: RedisConnection) -> Queue:
    return Queue("parts", redis_client)


def ends_with(sums: Queue, result: object) -> bool:
    job = sums.get_job("p")
    return job is not None and job.is_completed() and job.return_value == result


def test_our_flow_is_worked_by_node_and_summed_up_by_us(
    node: NodeDriver, redis_client: RedisConnection, sums: Queue, parts: Queue
) -> None:
    children = [
        {"name": "part", "queue_name": "parts", "data": n, "opts": {"job_id": f"c{n}"}}
        for n in (1, 2, 3)
    ]
    opts = {"job_id": "p"}
    Flow(redis_client).add(
        {"name": "sum", "queue_name": "sums", "opts": opts, "children": children}
    )
    node.run("await worker('bull', 'parts', async (job) => job.data * 10);")
    adder = Worker(sums, lambda job: sum(job.get_children_values().values()))
    wait_until(adder.step, "Node has done all parts")
    assert ends_with(sums, 60)


def test_nodes_flow_is_worked_by_us_and_summed_up_by_node(
    node: NodeDriver, sums: Queue, parts: Queue
) -> None:
    node.run(ADD_BY_NODE + SUM_BY_NODE)
    worker = Worker(parts, lambda job: job.data * 10)
    while worker.step():
        pass
    wait_until(lambda: ends_with(sums, 60), "Node has summed them up")


def test_a_handler_of_ours_waits_for_children_that_node_works(
    node: NodeDriver, sums: Queue, parts: Queue
) -> None:
    def add_up(job: Job[Any]) -> object:
        parent = {"id": job.id, "queue": job.queue_qualified_name}
        if job.attempts_started == 1:
            for n in (1, 2):
                parts.add("part", n, parent=parent)
        if job.move_to_waiting_children():
            raise WaitingChildrenError
        return sum(job.get_children_values().values())

    sums.add("sum", job_id="p")
    adder = Worker(sums, add_up)
    assert adder.step()
    node.run("await worker('bull', 'parts', async (job) => job.data * 10);")
    wait_until(adder.step, "Node has done all parts")
    assert ends_with(sums, 30)


def test_a_processor_of_nodes_waits_for_children_that_we_work(
    node: NodeDriver, sums: Queue, parts: Queue
) -> None:
    node.run(
        """
        const parts = await queue('bull', 'parts');
        await worker('bull', 'sums', async (job, token) => {
            const parent = { id: job.id, queue: job.queueQualifiedName };
            if (job.attemptsStarted === 1)
                for (const n of [1, 2]) await parts.add('part', n, { parent });
            if (await job.moveToWaitingChildren(token)) throw new B.WaitingChildrenError();
            const values = Object.values(await job.getChildrenValues());
            return values.reduce((sum, value) => sum + value, 0);
        });
        await (await queue('bull', 'sums')).add('sum', {}, { jobId: 'p' });
        """
    )
    worker = Worker(parts, lambda job: job.data * 10)

    def is_summed_up() -> bool:
        worker.step()
        return ends_with(sums, 30)

    wait_until(is_summed_up, "Node has summed them up")


@pytest.mark.parametrize("rule", ["fail_parent_on_failure", "ignore_dependency_on_failure"])
def test_a_child_that_fails_at_nodes_worker_does_to_our_parent_what_was_asked(
    node: NodeDriver, redis_client: RedisConnection, sums: Queue, rule: str
) -> None:
    child = {"name": "part", "queue_name": "parts", "opts": {"job_id": "c", rule: True}}
    opts = {"job_id": "p"}
    Flow(redis_client).add({"name": "sum", "queue_name": "sums", "opts": opts, "children": [child]})
    node.run("await worker('bull', 'parts', async () => { throw new Error('no such part'); });")
    adder = Worker(sums, lambda job: job.get_ignored_children_failures())
    wait_until(adder.step, "the parent runs")
    if rule == "fail_parent_on_failure":
        assert sums.get_failed()[0].failed_reason == "child bull:parts:c failed"
    else:
        assert ends_with(sums, {"bull:parts:c": "no such part"})
