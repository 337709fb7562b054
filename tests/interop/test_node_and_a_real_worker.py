"""A Node producer and a Node reader beside a worker process of ours."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from tests.interop.node_driver import NodeDriver
from tests.processes import DEAD_LETTER_QUEUE, QUEUE, Deployment, deployment, wait_until

HEAD = "const q = await queue('bull', args.name);"
ADD = HEAD + "return (await q.add(args.job, args.data, args.opts)).id;"
ENGINEER = {"source": "board", "guid": "17", "title": "Engineer", "link": "https://board.example/"}


@pytest.fixture
def deployed(
    tmp_path: Path,
    valkey_url: str,
    node: NodeDriver,
    mongodb_url: str,
    mongo_database: Database[dict[str, Any]],
) -> Iterator[Deployment]:
    """Stores that Node sees too; a worker is started by each test."""
    with deployment(tmp_path, valkey_url, f"{mongodb_url}/{mongo_database.name}") as deployed:
        yield deployed


def add(node: NodeDriver, data: dict[str, Any], job_id: str, job: str = "item") -> str:
    opts = {"jobId": job_id, "attempts": 3}
    return str(node.run(ADD, name=QUEUE, job=job, data=data, opts=opts))


def counts_seen_by(node: NodeDriver, name: str) -> dict[str, int]:
    counts = node.run(HEAD + "return q.getJobCounts();", name=name)
    return {state: count for state, count in counts.items() if count}


def test_job_that_node_adds_is_imported_by_a_real_worker(
    node: NodeDriver, deployed: Deployment, mongo_database: Database[dict[str, Any]]
) -> None:
    assert add(node, ENGINEER, "board#17") == "board#17"
    # Identity is in the data, whatever the job is called.
    add(node, {**ENGINEER, "guid": "18", "title": "Cook"}, "any-id", job="other")
    assert counts_seen_by(node, QUEUE) == {"waiting": 2}
    waiting = node.run(HEAD + "return (await q.getJob(args.id)).data;", name=QUEUE, id="board#17")
    assert waiting == ENGINEER

    deployed.start_worker()
    wait_until(lambda: counts_seen_by(node, QUEUE) == {"completed": 2}, "both are done")
    stored = {found["_id"]: found for found in mongo_database["items"].find()}
    assert {item_id: found["title"] for item_id, found in stored.items()} == {
        "board#17": "Engineer",
        "board#18": "Cook",
    }
    engineer = stored["board#17"]
    assert engineer["link"] == ENGINEER["link"]
    assert engineer["revision"] > 0
    assert len(engineer["content_hash"]) > 0


def is_empty(node: NodeDriver) -> bool:
    return counts_seen_by(node, QUEUE) == {}


def test_job_added_again_with_other_content_updates_its_document(
    node: NodeDriver, deployed: Deployment, mongo_database: Database[dict[str, Any]]
) -> None:
    deployed.start_worker()
    for title in ("Engineer", "Senior engineer"):
        node.run(
            ADD,
            name=QUEUE,
            job="item",
            data={**ENGINEER, "title": title},
            opts={"jobId": "board#17", "removeOnComplete": True},
        )
        wait_until(lambda: is_empty(node), "the job is done")
    [stored] = mongo_database["items"].find()
    assert (stored["_id"], stored["title"]) == ("board#17", "Senior engineer")
    assert stored["modified_at"] > stored["created_at"]


def test_node_reads_the_dead_letter_of_a_job_that_is_no_item(
    node: NodeDriver, deployed: Deployment
) -> None:
    add(node, {"guid": "17", "title": "of no source"}, "lost-17")
    deployed.start_worker()
    wait_until(lambda: counts_seen_by(node, DEAD_LETTER_QUEUE), "there is a dead letter")
    assert counts_seen_by(node, DEAD_LETTER_QUEUE) == {"waiting": 1}
    [dead] = node.run(
        HEAD + "return (await q.getJobs()).map((job) => job.toJSON());", name=DEAD_LETTER_QUEUE
    )
    assert dead["name"] == "dead"
    assert (dead["data"]["queue"], dead["data"]["job_id"]) == (QUEUE, "lost-17")
    assert "source" in dead["data"]["reason"]
    assert dead["data"]["attempts"] == 1
    assert is_empty(node)
