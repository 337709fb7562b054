"""What stays of jobs that end, what is counted of them, and who may not complete yet."""

from shared.queue import Completion, Failure, SettleOutcome
from shared.queue.end_rules import NO_RULES, EndRules
from tests.interop.pairs import NODE, OURS, Ours, Step, Twin

CHECKED = EndRules(checks_children=True)
LONG_AGO_MS = 1_700_000_000_000


def complete(rules: EndRules = NO_RULES) -> Step:
    """Claim a job and complete it; ends of one millisecond would be in the order of their ids."""

    def ours(side: Ours) -> None:
        job = side.claim()
        assert job is not None
        side.core().complete_many([Completion(job.id, "t", {"ok": job.id})], rules)

    return (
        """
        await sleep(3);
        const job = await w.getNextJob('t', { block: false });
        await job.moveToCompleted({ ok: job.id }, 't', false);
        """,
        ours,
    )


def fail(rules: EndRules = NO_RULES) -> Step:
    def ours(side: Ours) -> None:
        job = side.claim()
        assert job is not None
        side.core().fail_many([Failure(job.id, "t", "bad", "Error: bad")], rules)

    return (
        """
        await sleep(3);
        const job = await w.getNextJob('t', { block: false });
        const error = new Error('bad');
        error.stack = 'Error: bad';
        await job.moveToFailed(error, 't', false);
        """,
        ours,
    )


def age(key: str, member: str) -> Step:
    """Let a job have ended long ago, on both sides."""

    def both(side: Ours) -> None:
        for prefix in (NODE, OURS):
            side.client.zadd(f"{prefix}:q:{key}", {member: LONG_AGO_MS})

    return "await sleep(3);", both


def age_metrics(state: str) -> Step:
    """Let the newest counted minute lie long ago: as many minutes have passed as are kept."""

    def both(side: Ours) -> None:
        for prefix in (NODE, OURS):
            side.client.hset(f"{prefix}:q:metrics:{state}", "prevTS", LONG_AGO_MS)

    return "await sleep(3);", both


def refused(outcome: SettleOutcome) -> Step:
    """The job that runs may not complete; on neither side does anything change."""

    def ours(side: Ours) -> None:
        done = [Completion("p", "t", 1)]
        assert side.core().complete_many(done, CHECKED) == [outcome]

    return (
        """
        const parent = await q.getJob('p');
        const isDone = await parent.moveToCompleted(1, 't', false).then(() => true, () => false);
        if (isDone) throw new Error('the parent completed');
        """,
        ours,
    )


def jobs(*opts: str) -> str:
    adds = (
        f"await q.add('x', {{}}, {{ jobId: 'j{number}', {each} }});"
        for number, each in enumerate(opts, start=1)
    )
    return "".join(adds)


KEEP_TWO = EndRules(keep={"count": 2})
KEEP_A_MINUTE = EndRules(keep={"age": 60})
KEEP_BOTH = EndRules(keep={"count": 2, "age": 60})
KEEP_NONE = EndRules(keep={"count": 0})
COUNTED = EndRules(counted_minutes=3)

CLAIM_PARENT: Step = (
    "await w.getNextJob('t', { block: false });",
    lambda ours: ours.claim() and None,
)
ADD_CHILD = """
    await q.add('child', {}, { jobId: 'c', parent: { id: 'p', queue: q.qualifiedName } %s });
"""

KEEPING = [
    Twin(
        "complete jobs whose worker keeps the newest",
        [complete(KEEP_TWO)] * 4,
        seed=jobs("", "", "", ""),
        worker={"removeOnComplete": {"count": 2}},
    ),
    Twin(
        "complete jobs whose worker keeps the young",
        [
            complete(KEEP_A_MINUTE),
            complete(KEEP_A_MINUTE),
            age("completed", "j1"),
            complete(KEEP_A_MINUTE),
        ],
        seed=jobs("", "", ""),
        worker={"removeOnComplete": {"age": 60}},
    ),
    Twin(
        "complete jobs whose worker keeps none, but for those that say so",
        [complete(KEEP_NONE)] * 4,
        seed=jobs("", "removeOnComplete: false", "removeOnComplete: { count: 5 }", ""),
        worker={"removeOnComplete": {"count": 0}},
    ),
    Twin(
        "fail jobs whose worker keeps the newest and the young",
        [fail(KEEP_BOTH), fail(KEEP_BOTH), age("failed", "j2"), fail(KEEP_BOTH), fail(KEEP_BOTH)],
        seed=jobs("", "", "", "removeOnFail: 1"),
        worker={"removeOnFail": {"count": 2, "age": 60}},
    ),
    Twin(
        "fail jobs whose worker keeps none",
        [fail(KEEP_NONE)] * 2,
        seed=jobs("", "removeOnFail: false"),
        worker={"removeOnFail": {"count": 0}},
    ),
    Twin(
        "fail jobs that are kept as they say",
        [fail()] * 4,
        seed=jobs(
            "removeOnFail: true", "removeOnFail: 1", "removeOnFail: { age: 60 }", "attempts: 0"
        ),
    ),
]
COUNTING = [
    Twin(
        "count completed jobs over minutes",
        [
            complete(COUNTED),
            complete(COUNTED),
            age_metrics("completed"),
            complete(COUNTED),
            complete(COUNTED),
            age_metrics("completed"),
            complete(COUNTED),
        ],
        seed=jobs("", "removeOnComplete: true", "", "", ""),
        worker={"metrics": {"maxDataPoints": 3}},
    ),
    Twin(
        "count failed jobs over minutes",
        [fail(COUNTED), fail(COUNTED), age_metrics("failed"), fail(COUNTED)],
        seed=jobs("", "removeOnFail: true", ""),
        worker={"metrics": {"maxDataPoints": 3}},
    ),
]
CHILDREN = [
    Twin(
        "complete a parent whose child is not done",
        [
            CLAIM_PARENT,
            (
                ADD_CHILD % "",
                lambda ours: (
                    ours.queue().add(
                        "child", {}, job_id="c", parent={"id": "p", "queue": f"{OURS}:q"}
                    )
                    and None
                ),
            ),
            refused(SettleOutcome.HAS_CHILDREN),
        ],
        seed="await q.add('x', {}, { jobId: 'p' });",
    ),
    Twin(
        "complete a parent whose child has failed it",
        [
            CLAIM_PARENT,
            (
                ADD_CHILD % ", failParentOnFailure: true",
                lambda ours: (
                    ours.queue().add(
                        "child",
                        {},
                        job_id="c",
                        parent={"id": "p", "queue": f"{OURS}:q"},
                        fail_parent_on_failure=True,
                    )
                    and None
                ),
            ),
            fail(),
            refused(SettleOutcome.CHILD_FAILED),
        ],
        seed="await q.add('x', {}, { jobId: 'p' });",
    ),
]
TWINS = [*KEEPING, *COUNTING, *CHILDREN]
