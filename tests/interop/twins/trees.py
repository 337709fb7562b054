"""Adding parents with their children, in one step."""

from typing import Any

from shared.queue import Completion
from shared.queue.enqueueing import Payload, enqueue_tree, payload
from shared.queue.options import read_options
from tests.interop.pairs import CLAIM, OURS, Ours, Step, Twin

NODE_TREE = """
    await f.add({ name: 'p', queueName: 'q', data: { n: 1 }, opts: { jobId: 'p', %s }, children: [
        { name: 'a', queueName: 'q', data: {}, opts: { jobId: 'a', %s } },
        { name: 'b', queueName: 'r', data: {}, opts: { jobId: 'b', priority: 3 }, children: [
            { name: 'c', queueName: 'r', data: {}, opts: { jobId: 'c', delay: 60000 } },
        ] },
    ] });
"""


def job(ours: Ours, name: str, queue: str, parent: str | None, **options: Any) -> Payload:
    if parent is not None:
        options["parent"] = {"id": parent[2:], "queue": f"{OURS}:{parent[0]}"}
    read = read_options({}, {"job_id": name, **options})
    data = {"n": 1} if name == "p" else {}
    is_parent = name in "pb"
    return payload(ours.core(queue), name, data, read, is_parent=is_parent)


def tree(
    node_parent: str = "", node_child: str = "", *, parent: dict[str, Any], child: dict[str, Any]
) -> Step:
    return NODE_TREE % (node_parent, node_child), lambda ours: enqueue_tree(
        ours.core(),
        [
            job(ours, "p", "q", None, **parent),
            job(ours, "a", "q", "q:p", **child),
            job(ours, "b", "r", "q:p", priority=3),
            job(ours, "c", "r", "r:b", delay=60_000),
        ],
    )


def _complete(ours: Ours) -> object:
    assert ours.job is not None
    return ours.core().complete_many([Completion(ours.job.id, "t", 7)])


COMPLETE: Step = ("await job.moveToCompleted(7, 't', false);", _complete)

TWINS = [
    Twin(
        "add a flow over two queues and three levels",
        [tree(parent={}, child={}), CLAIM, COMPLETE],
        queues=("q", "r"),
    ),
    Twin(
        "add a flow of a delayed parent and a child that fails it",
        [
            tree(
                "delay: 60000",
                "failParentOnFailure: true",
                parent={"delay": 60_000},
                child={"fail_parent_on_failure": True},
            )
        ],
        queues=("q", "r"),
    ),
    Twin(
        "add a flow one of whose children is completed already",
        [CLAIM, COMPLETE, tree(parent={}, child={})],
        seed="await q.add('a', {}, { jobId: 'a' });",
        queues=("q", "r"),
    ),
]
