"""Flows by the producer of either side, and what becomes of parents."""

from typing import Any

from feedmill import Flow, Job
from feedmill.flows import FlowNode
from shared.errors import JobStateError, UnrecoverableError
from shared.queue import Completion, Failure
from shared.queue.flows import wait_for_children
from tests.interop.pairs import CLAIM, NODE, OURS, Ours, Step, Twin

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


def fail_doomed(queue: str) -> Step:
    """Claim a job whose child has failed it, and fail it as a worker does."""
    return work(
        queue,
        """
        const doomed = new B.UnrecoverableError(job.deferredFailure);
        doomed.stack = 'UnrecoverableError: doomed';
        await job.moveToFailed(doomed, 't', false);
        """,
        lambda core, job: core.fail_many(
            [Failure(job.id, "t", job.deferred_failure, "UnrecoverableError: doomed")]
        ),
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


def rule_twin(name: str, node_rule: str, rule: str) -> Twin:
    """A parent one of whose children fails for good, and then the other is done."""
    opts = {rule: True} if rule else {}
    node_opts = f"{{ {node_rule}: true }}" if node_rule else "{}"
    return Twin(
        name,
        [
            add(
                f"tree('p', {{}}, leaf('a', 'r', {node_opts}), leaf('b', 'r'))",
                tree("p", leaf("a", "r", **opts), leaf("b", "r")),
            ),
            fail("r"),
            VALUES,
            complete("r"),
            VALUES,
            read(2),
        ],
        queues=QUEUES,
    )


def add_child(job_id: str, parent: str = "p", **opts: Any) -> Step:
    node_opts = ", ".join(f"{name}: true" for name in NODE_RULES if opts.get(NODE_RULES[name]))
    return (
        f"""
        const parent = {{ id: '{parent}', queue: `${{P}}:q` }};
        await q.add('c', {{}}, {{ jobId: '{job_id}', parent, {node_opts} }});
        """,
        lambda ours: ours.queue().add(
            "c", job_id=job_id, parent={"id": parent, "queue": f"{OURS}:q"}, **opts
        ),
    )


NODE_RULES = {
    "failParentOnFailure": "fail_parent_on_failure",
    "ignoreDependencyOnFailure": "ignore_dependency_on_failure",
}


def wait(token: str = "t", child: str = "") -> Step:
    """Let the parent wait; what Node refuses by an error is "refused"."""
    child_opts = f"{{ child: {{ id: '{child}', queue: `${{P}}:q` }} }}" if child else "undefined"
    return (
        f"""
        const p = await q.getJob('p');
        try {{ return await p.moveToWaitingChildren('{token}', {child_opts}); }}
        catch {{ return 'refused'; }}
        """,
        lambda ours: try_to_wait(ours, token, child),
    )


def try_to_wait(ours: Ours, token: str, child: str) -> bool | str:
    key = ours.core().keys.job(child) if child else None
    try:
        return wait_for_children(ours.core(), "p", token, key)
    except (JobStateError, UnrecoverableError):
        return "refused"


def retry(job_id: str, queue: str = "r") -> Step:
    def act(ours: Ours) -> None:
        job = ours.queue(queue).get_job(job_id)
        assert job is not None
        job.retry()

    return f"await (await (await queue(P, '{queue}')).getJob('{job_id}')).retry();", act


SEED_P = "await q.add('x', {}, { jobId: 'p' });"

ADDING = [
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
ENDS = [
    rule_twin(
        "a child fails whose parent fails with it", "failParentOnFailure", "fail_parent_on_failure"
    ),
    rule_twin(
        "a child fails whose parent goes on at once",
        "continueParentOnFailure",
        "continue_parent_on_failure",
    ),
    rule_twin(
        "a child fails that its parent ignores",
        "ignoreDependencyOnFailure",
        "ignore_dependency_on_failure",
    ),
    rule_twin(
        "a child fails that its parent forgets",
        "removeDependencyOnFailure",
        "remove_dependency_on_failure",
    ),
    rule_twin("a child fails and its parent waits on", "", ""),
    Twin(
        "children of a prioritized and a delayed parent are done",
        [
            add(
                """tree('p', { priority: 3 }, leaf('a', 'r')),
                    tree('pz', { delay: 9e5 }, leaf('b', 'r'))""",
                tree("p", leaf("a", "r"), priority=3),
                tree("pz", leaf("b", "r"), delay=900_000),
            ),
            complete("r"),
            complete("r"),
        ],
        queues=QUEUES,
    ),
    Twin(
        "a child fails the parents above it, level by level",
        [
            add(
                """tree('p', {}, treeIn('r', 'm', { failParentOnFailure: true, attempts: 5 },
                    leaf('a', 'q', { failParentOnFailure: true }),
                    leaf('z', 'q', { delay: 9e5 })))""",
                tree(
                    "p",
                    tree(
                        "m",
                        leaf("a", fail_parent_on_failure=True),
                        leaf("z", delay=900_000),
                        queue="r",
                        fail_parent_on_failure=True,
                        attempts=5,
                    ),
                ),
            ),
            fail(),
            fail_doomed("r"),
            fail_doomed("q"),
            read(3),
        ],
        queues=QUEUES,
    ),
    Twin(
        "a child fails a parent that is to wait when it is released",
        [
            add(
                "tree('p', { delay: 9e5 }, leaf('a', 'r', { failParentOnFailure: true }))",
                tree("p", leaf("a", "r", fail_parent_on_failure=True), delay=900_000),
            ),
            fail("r"),
        ],
        queues=QUEUES,
    ),
    Twin(
        "a child is done that does not stay",
        [
            add(
                """tree('p', {}, leaf('a', 'r', { removeOnComplete: true }),
                    leaf('b', 'r', { removeOnFail: true }))""",
                tree(
                    "p",
                    leaf("a", "r", remove_on_complete=True),
                    leaf("b", "r", remove_on_fail=True),
                ),
            ),
            complete("r"),
            read(2),
            fail("r"),
            VALUES,
        ],
        queues=QUEUES,
    ),
    Twin(
        "a failed child that was ignored runs again",
        [
            add(
                """tree('p', {}, leaf('a', 'r', { ignoreDependencyOnFailure: true }),
                    leaf('b', 'r'))""",
                tree("p", leaf("a", "r", ignore_dependency_on_failure=True), leaf("b", "r")),
            ),
            fail("r"),
            retry("a"),
            VALUES,
            complete("r"),
            complete("r"),
            VALUES,
        ],
        queues=QUEUES,
    ),
    Twin(
        "a failed child that has failed its parent runs again",
        [
            add(
                "tree('p', {}, leaf('a', 'r', { failParentOnFailure: true }))",
                tree("p", leaf("a", "r", fail_parent_on_failure=True)),
            ),
            fail("r"),
            retry("a"),
            VALUES,
            complete("r"),
        ],
        queues=QUEUES,
    ),
]
WAITING = [
    Twin(
        "wait for a child that the handler adds",
        [CLAIM, wait(), add_child("c"), wait("u"), wait(), complete(), CLAIM, VALUES, wait()],
        seed=SEED_P,
    ),
    Twin(
        "wait for one child of several",
        [
            CLAIM,
            add_child("c"),
            add_child("d", ignore_dependency_on_failure=True),
            wait("t", "none"),
            wait("t", "d"),
            fail(),
            complete(),
        ],
        seed=SEED_P,
    ),
    Twin(
        "wait for children when one has failed the job",
        [CLAIM, add_child("c", fail_parent_on_failure=True), add_child("d"), fail(), wait()],
        seed=SEED_P,
    ),
    Twin(
        "wait for children with a priority, twice",
        [CLAIM, add_child("c"), wait(), complete(), CLAIM, add_child("d"), wait(), complete()],
        seed="await q.add('x', {}, { jobId: 'p', priority: 5 });",
    ),
]


def ours_of(ours: Ours, job_id: str) -> Job[Any]:
    job = ours.queue().get_job(job_id)
    assert job is not None
    return job


def part(job_id: str) -> Step:
    return (
        f"return await (await q.getJob('{job_id}')).removeChildDependency();",
        lambda ours: ours_of(ours, job_id).remove_child_dependency(),
    )


REMOVE_UNPROCESSED: Step = (
    "await (await q.getJob('p')).removeUnprocessedChildren();",
    lambda ours: parent_of(ours).remove_unprocessed_children(),
)
PARTING = [
    Twin(
        "let a prioritized parent wait for its children no longer",
        [
            add(
                "tree('p', { priority: 3 }, leaf('a'), leaf('b'))",
                tree("p", leaf("a"), leaf("b"), priority=3),
            ),
            part("a"),
            part("b"),
            complete(),
        ],
    ),
    Twin(
        "let a parent wait no longer for a child that is done",
        [
            add("tree('p', {}, leaf('a'), leaf('b'))", tree("p", leaf("a"), leaf("b"))),
            complete(),
            part("a"),
        ],
    ),
    Twin(
        "remove the children of all states that are not processed",
        [
            add(
                """tree('p', {}, leaf('a'), leaf('f'), leaf('z'), leaf('b', 'q', { delay: 9e5 }),
                    treeIn('r', 'm', {}, leaf('l', 'r')))""",
                tree(
                    "p",
                    leaf("a"),
                    leaf("f"),
                    leaf("z"),
                    leaf("b", delay=900_000),
                    tree("m", leaf("l", "r"), queue="r"),
                ),
            ),
            complete(),
            fail(),
            CLAIM,
            REMOVE_UNPROCESSED,
        ],
        queues=QUEUES,
    ),
    Twin(
        "remove the only child, with a grandchild that is done and one that is not",
        [
            add(
                "tree('p', {}, tree('pm', {}, leaf('l'), leaf('k', 'r', { priority: 2 })))",
                tree("p", tree("pm", leaf("l"), leaf("k", "r", priority=2))),
            ),
            complete(),
            REMOVE_UNPROCESSED,
            REMOVE_UNPROCESSED,
        ],
        queues=QUEUES,
    ),
    Twin(
        "remove a child that nobody runs any more, and one whose child is run",
        [
            add(
                "tree('p', {}, leaf('a'), treeIn('r', 'm', {}, leaf('k', 'r'), leaf('l', 'r')))",
                tree("p", leaf("a"), tree("m", leaf("k", "r"), leaf("l", "r"), queue="r")),
            ),
            CLAIM,
            ("", lambda ours: ours.client.delete(f"{NODE}:q:a:lock", f"{OURS}:q:a:lock")),
            work("r", "", lambda core, job: None),
            REMOVE_UNPROCESSED,
        ],
        queues=QUEUES,
    ),
]
TWINS = [*ADDING, *ENDS, *WAITING, *PARTING]
