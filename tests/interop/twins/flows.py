"""Adding flows by the producer of either side, and reading them back."""

from typing import Any

from feedmill import Flow, Job
from feedmill.flows import FlowNode
from shared.queue import Completion, Failure
from tests.interop.pairs import CLAIM, OURS, Ours, Step, Twin

QUEUES = ("q", "r")


def flow(ours: Ours) -> Flow:
    return Flow(ours.client, prefix=OURS)


def leaf(job_id: str, queue: str = "q", **opts: Any) -> dict[str, Any]:
    return {"name": "n", "queue_name": queue, "opts": {"job_id": job_id, **opts}}


def tree(job_id: str, *children: dict[str, Any], queue: str = "q", **opts: Any) -> dict[str, Any]:
    return {**leaf(job_id, queue, **opts), "children": list(children)}


# The same by Node's names. Parents of one queue are named in the order they are added in: those of
# one millisecond lie in that of their names.
MAKE = """
    const leaf = (jobId, queueName = 'q', opts = {}) =>
        ({ name: 'n', queueName, opts: { jobId, ...opts } });
    const tree = (jobId, opts, ...children) => ({ ...leaf(jobId, 'q', opts), children });
    const treeIn = (queueName, jobId, opts, ...children) =>
        ({ ...leaf(jobId, queueName, opts), children });
"""


def add(code: str, *trees: dict[str, Any], answer: str = "") -> Step:
    return f"{MAKE} await f.addBulk([{code}]);", lambda ours: flow(ours).add_bulk(trees)


def work(queue: str, ending: str, act: Any) -> Step:
    """Claim a job of a queue and end it."""
    return (
        f"""
        const hands = await hand(P, '{queue}');
        globalThis.job = await hands.getNextJob('t', {{ block: false }});
        {ending}
        """,
        lambda ours: (ours.claim(name=queue), act(ours.core(queue), ours.job)),
    )


def complete(queue: str = "q") -> Step:
    return work(
        queue,
        "await job.moveToCompleted({ ok: job.id }, 't', false);",
        lambda core, job: core.complete_many([Completion(job.id, "t", {"ok": job.id})]),
    )


def fail(queue: str = "q") -> Step:
    return work(
        queue,
        "await job.moveToFailed(new Error('bad'), 't', false);",
        lambda core, job: core.fail_many([Failure(job.id, "t", "bad", "Error: bad")]),
    )


def node_ids(node: FlowNode | None) -> Any:
    """A node by name and id, its children by their ids: Redis has the open ones in no order."""
    assert node is not None
    below = sorted((node_ids(child) for child in node.children), key=lambda child: child[1])
    return [node.job.queue_name, node.job.id, below]


def read(*depths: int) -> Step:
    return (
        f"""
        const below = (n) => (n.children ?? []).filter(Boolean).map(ids);
        const inOrder = (a, b) => a[1] < b[1] ? -1 : 1;
        const ids = (n) => [n.job.queueName, n.job.id, below(n).sort(inOrder)];
        const seen = [];
        for (const depth of {list(depths)})
            seen.push(ids(await f.getFlow({{ queueName: 'q', id: 'p', depth }})));
        return seen;
        """,
        lambda ours: [node_ids(flow(ours).get_flow("q", "p", depth)) for depth in depths],
    )


def parent_of(ours: Ours) -> Job[Any]:
    job = ours.queue().get_job("p")
    assert job is not None
    return job


VALUES: Step = (
    """
    const p = await q.getJob('p');
    return [await p.getChildrenValues(), await p.getIgnoredChildrenFailures(),
            await p.getFailedChildrenValues(), await p.getDependenciesCount()];
    """,
    lambda ours: [
        parent_of(ours).get_children_values(),
        parent_of(ours).get_ignored_children_failures(),
        parent_of(ours).get_failed_children_values(),
        parent_of(ours).get_dependencies_count(),
    ],
)

SEED_P = "await q.add('x', {}, { jobId: 'p' });"
TWINS = [
    Twin(
        "add the jobs of a flow level by level",
        [
            add(
                """tree('p', {}, tree('pa', {}, tree('pd', {}, leaf('pg')), leaf('pe')),
                    tree('pb', {}, leaf('pf')), leaf('ph'))""",
                tree(
                    "p",
                    tree("pa", tree("pd", leaf("pg")), leaf("pe")),
                    tree("pb", leaf("pf")),
                    leaf("ph"),
                ),
            ),
            read(10, 1, 2, 3),
        ],
    ),
    Twin(
        "add several flows at once",
        [
            add(
                "tree('p', {}, leaf('a')), leaf('s', 'r'), treeIn('r', 'o', {}, leaf('b'))",
                tree("p", leaf("a")),
                leaf("s", "r"),
                tree("o", leaf("b"), queue="r"),
            )
        ],
        queues=QUEUES,
    ),
    Twin(
        "add a flow whose jobs have no ids",
        [
            (
                """await f.add({ name: 'p', queueName: 'q', children: [
                    { name: 'a', queueName: 'r', data: [1] }, { name: 'b', queueName: 'r' }] },
                    { queuesOptions: { r: { defaultJobOptions: { attempts: 3 } } } });""",
                lambda ours: flow(ours).add(
                    {
                        "name": "p",
                        "queue_name": "q",
                        "children": [
                            {"name": "a", "queue_name": "r", "data": [1]},
                            {"name": "b", "queue_name": "r"},
                        ],
                    },
                    queues_options={"r": {"default_job_options": {"attempts": 3}}},
                ),
            )
        ],
        queues=QUEUES,
    ),
    Twin(
        "add a flow of one job, with an empty list of children",
        [
            add("tree('p', { delay: 60_000 })", tree("p", delay=60_000)),
            add("tree('o', {})", tree("o")),
        ],
    ),
    Twin(
        "add a flow below a parent that is there",
        [
            add(
                "tree('k', { parent: { id: 'p', queue: `${P}:q` } }, leaf('a', 'r'))",
                tree("k", leaf("a", "r"), parent={"id": "p", "queue": f"{OURS}:q"}),
            )
        ],
        seed=SEED_P,
        queues=QUEUES,
    ),
    Twin(
        "add flows whose children are all completed already",
        [
            complete(),
            complete(),
            add(
                "tree('p', { priority: 4 }, leaf('a')), tree('o', {}, leaf('b'))",
                tree("p", leaf("a"), priority=4),
                tree("o", leaf("b")),
            ),
            VALUES,
        ],
        seed="for (const jobId of ['a', 'b']) await q.add('n', {}, { jobId });",
    ),
    Twin(
        "add a flow whose parent is there and waits",
        [add("tree('p', {}, leaf('a'), leaf('a'))", tree("p", leaf("a"), leaf("a"))), CLAIM],
        seed=SEED_P,
    ),
    Twin(
        "add a flow whose parent is completed",
        [complete(), add("tree('p', {}, leaf('a'))", tree("p", leaf("a"))), complete(), VALUES],
        seed=SEED_P,
    ),
    Twin(
        "add a flow once more",
        [
            add("tree('p', {}, leaf('a'), leaf('b'))", tree("p", leaf("a"), leaf("b"))),
            complete(),
            add("tree('p', {}, leaf('a'), leaf('b'))", tree("p", leaf("a"), leaf("b"))),
            complete(),
        ],
    ),
]
