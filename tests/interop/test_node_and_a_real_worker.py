"""A Node producer and a Node reader beside a worker process of ours."""

from collections.abc import Iterator
from typing import Any

import pytest

from shared.queue import RedisConnection
from tests.interop.node_driver import NodeDriver
from tests.processes import DEAD_LETTER_QUEUE, QUEUE, Deployment, deployment, wait_until

HEAD = "const q = await queue('bull', args.name);"
ADD = HEAD + "return (await q.add(args.job, args.data, args.opts)).id;"
ENGINEER = {"source": "board", "guid": "17", "title": "Engineer", "link": "https://board.example/"}


@pytest.fixture(scope="module")
def deployed(
    tmp_path_factory: pytest.TempPathFactory,
    valkey_url: str,
    session_redis_client: RedisConnection,
    module_database_url: str,
) -> Iterator[Deployment]:
    """A worker on stores that Node sees too; each test has jobs of its own."""
    session_redis_client.flushdb()
    folder = tmp_path_factory.mktemp("deployed")
    with deployment(folder, valkey_url, module_database_url) as deployed:
        deployed.start_worker()
        yield deployed


@pytest.fixture
def node(node_process: NodeDriver, deployed: Deployment) -> Iterator[NodeDriver]:
    """As elsewhere, but Redis is not emptied: the worker is there already."""
    yield node_process
    node_process.run("await closeAll()")


def items_of(deployed: Deployment) -> dict[str, Any]:
    return {found["_id"]: found for found in deployed.mongo.get_default_database()["items"].find()}


def add(node: NodeDriver, data: dict[str, Any], job_id: str, job: str = "item") -> str:
    opts = {"jobId": job_id, "attempts": 3}
    return str(node.run(ADD, name=QUEUE, job=job, data=data, opts=opts))


def counts_seen_by(node: NodeDriver, name: str) -> dict[str, int]:
    counts = node.run(HEAD + "return q.getJobCounts();", name=name)
    return {state: count for state, count in counts.items() if count}


def is_gone(node: NodeDriver, job_id: str) -> bool:
    return bool(node.run(HEAD + "return !(await q.getJob(args.id));", name=QUEUE, id=job_id))


def test_job_that_node_adds_is_imported_by_a_real_worker(
    node: NodeDriver, deployed: Deployment
) -> None:
    node.run(HEAD + "await q.pause();", name=QUEUE)
    assert add(node, ENGINEER, "board#17") == "board#17"
    # Identity is in the data, whatever the job is called.
    add(node, {**ENGINEER, "guid": "18", "title": "Cook"}, "any-id", job="other")
    assert counts_seen_by(node, QUEUE) == {"waiting": 2}
    waiting = node.run(HEAD + "return (await q.getJob(args.id)).data;", name=QUEUE, id="board#17")
    assert waiting == ENGINEER

    node.run(HEAD + "await q.resume();", name=QUEUE)
    wait_until(lambda: counts_seen_by(node, QUEUE) == {"completed": 2}, "both are done")
    stored = items_of(deployed)
    assert (stored["board#17"]["title"], stored["board#18"]["title"]) == ("Engineer", "Cook")
    engineer = stored["board#17"]
    assert engineer["link"] == ENGINEER["link"]
    assert engineer["revision"] > 0
    assert len(engineer["content_hash"]) > 0


def test_job_added_again_with_other_content_updates_its_document(
    node: NodeDriver, deployed: Deployment
) -> None:
    for title in ("Engineer", "Senior engineer"):
        node.run(
            ADD,
            name=QUEUE,
            job="item",
            data={**ENGINEER, "guid": "19", "title": title},
            opts={"jobId": "board#19", "removeOnComplete": True},
        )
        wait_until(lambda: is_gone(node, "board#19"), "the job is done")
    stored = items_of(deployed)["board#19"]
    assert stored["title"] == "Senior engineer"
    assert stored["modified_at"] > stored["created_at"]


def test_node_reads_the_dead_letter_of_a_job_that_is_no_item(
    node: NodeDriver, deployed: Deployment
) -> None:
    add(node, {"guid": "17", "title": "of no source"}, "lost-17")
    wait_until(lambda: counts_seen_by(node, DEAD_LETTER_QUEUE), "there is a dead letter")
    assert counts_seen_by(node, DEAD_LETTER_QUEUE) == {"waiting": 1}
    [dead] = node.run(
        HEAD + "return (await q.getJobs()).map((job) => job.toJSON());", name=DEAD_LETTER_QUEUE
    )
    assert dead["name"] == "dead"
    assert (dead["data"]["queue"], dead["data"]["job_id"]) == (QUEUE, "lost-17")
    assert "source" in dead["data"]["reason"]
    assert dead["data"]["attempts"] == 1
    assert is_gone(node, "lost-17")
