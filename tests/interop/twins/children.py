"""Jobs that wait for children which their handlers add, and that let children go."""

from typing import Any

from feedmill import Job
from shared.errors import JobStateError, UnrecoverableError
from shared.queue.flows import wait_for_children
from tests.interop.pairs import CLAIM, NODE, OURS, Ours, Step, Twin
from tests.interop.twins.flows import (
    QUEUES,
    SEED_P,
    VALUES,
    add,
    complete,
    fail,
    leaf,
    parent_of,
    tree,
    work,
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
TWINS = [*WAITING, *PARTING]
