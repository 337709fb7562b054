"""What becomes of parents when their children end, and when these run again."""

from shared.queue import Failure
from tests.interop.pairs import Ours, Step, Twin
from tests.interop.twins.flows import QUEUES, VALUES, add, complete, fail, leaf, read, tree, work


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


def retry(job_id: str, queue: str = "r") -> Step:
    def act(ours: Ours) -> None:
        job = ours.queue(queue).get_job(job_id)
        assert job is not None
        job.retry()

    return f"await (await (await queue(P, '{queue}')).getJob('{job_id}')).retry();", act


TWINS = [
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
        "a failed child that its parent waits for is one too many and goes",
        [
            add(
                """tree('p', {}, leaf('a', 'r', { removeOnFail: 1 })),
                    tree('pz', { priority: 2 }, leaf('b', 'r'),
                        leaf('c', 'r', { removeOnFail: 1 }))""",
                tree("p", leaf("a", "r", remove_on_fail=1)),
                tree("pz", leaf("b", "r"), leaf("c", "r", remove_on_fail=1), priority=2),
            ),
            fail("r"),
            fail("r"),
            fail("r"),
        ],
        queues=QUEUES,
    ),
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
