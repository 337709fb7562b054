"""Removing jobs one by one, and all that are old enough."""

from tests.interop.pairs import CLAIM, Step, Twin
from tests.interop.twins.editing import (
    COMPLETE,
    COMPLETED_TWO,
    DELAYED,
    FAIL,
    FAILED_THREE,
    SCHEDULED,
    THREE_STATES,
    on_job,
    refused,
)


def remove(job_id: str) -> Step:
    return f"await q.remove('{job_id}');", lambda ours: ours.queue().remove(job_id)


def clean(state: str, limit: int = 100, grace: int = 0) -> Step:
    return (
        f"await q.clean({grace}, {limit}, '{state}');",
        lambda ours: ours.queue().clean(grace, limit, state),
    )


REMOVE_ALONE: Step = (
    "await q.remove('parent', { removeChildren: false });",
    lambda ours: ours.queue().remove("parent", remove_children=False),
)
# A parent with a child of each end, and one that has children in another queue.
FAMILY = f"""
    {COMPLETE}
    {FAIL}
    const child = (jobId, opts = {{}}, children) =>
      ({{ name: 'c', queueName: 'k', opts: {{ jobId, ...opts }}, children }});
    const tree = (...children) =>
      f.add({{ name: 'P', queueName: 'q', opts: {{ jobId: 'parent' }}, children }});
    const k = await hand(P, 'k');
"""
ENDED = """
    await tree(
      child('done'), child('ignored', { ignoreDependencyOnFailure: true }),
      child('open', { delay: 9e6 }),
    );
    await (await k.getNextJob('t', { block: false })).moveToCompleted(1, 't', false);
    await (await k.getNextJob('t', { block: false })).moveToFailed(new Error('bad'), 't', false);
"""

ALONE = [
    Twin(
        "remove a waiting job among others",
        [remove("b"), CLAIM],
        seed="for (const jobId of ['a', 'b', 'c']) await q.add('x', { n: 1 }, { jobId });",
    ),
    Twin(
        "remove a delayed job",
        [remove("d")],
        seed="await q.add('x', {}, { jobId: 'd', delay: 60_000 });",
    ),
    Twin(
        "remove a prioritized job",
        [remove("p")],
        seed="for (const jobId of ['p', 'r']) await q.add('x', {}, { jobId, priority: 2 });",
    ),
    Twin(
        "remove a job that a worker holds",
        [CLAIM, remove("a"), refused(on_job("a", "remove()", lambda job: job.remove()))],
        seed="await q.add('x', {}, { jobId: 'a' });",
    ),
    Twin("remove a completed job", [remove("a")], seed=COMPLETED_TWO),
    Twin("remove a failed job", [remove("b")], seed=FAILED_THREE),
    Twin("remove a job that is not there", [remove("nobody")], seed=DELAYED),
    Twin(
        "remove a job by itself", [on_job("d", "remove()", lambda job: job.remove())], seed=DELAYED
    ),
    Twin(
        "remove a job that owns a deduplication id",
        [remove("1")],
        seed="await q.add('x', {}, { deduplication: { id: 'same' } });",
    ),
    Twin(
        "remove the next job of a scheduler",
        [
            refused(
                (
                    "await q.remove((await q.getWaiting())[0].id);",
                    lambda ours: ours.queue().remove(
                        ours.client.lindex(ours.core().keys.wait, 0).decode()
                    ),
                )
            )
        ],
        seed=SCHEDULED,
        volatile=("offset",),
    ),
]
FAMILIES = [
    Twin(
        "remove a parent with children of all ends",
        [remove("parent")],
        seed=FAMILY + ENDED,
        queues=("q", "k"),
    ),
    Twin(
        "remove a parent without its children",
        [REMOVE_ALONE],
        seed=FAMILY + ENDED,
        queues=("q", "k"),
    ),
    Twin(
        "remove a parent with grandchildren",
        [remove("parent")],
        seed=FAMILY + "await tree(child('a', {}, [child('b'), child('c', { priority: 2 })]));",
        queues=("q", "k"),
    ),
    Twin(
        "remove a parent whose child failed it",
        [remove("parent")],
        seed=f"""
            {FAMILY}
            await tree(child('a', {{ failParentOnFailure: true }}), child('b'));
            await (await k.getNextJob('t')).moveToFailed(new Error('bad'), 't', false);
        """,
        queues=("q", "k"),
    ),
    Twin(
        "remove a parent whose grandchild runs",
        [remove("parent")],
        seed=f"""
            {FAMILY}
            await tree(child('a', {{}}, [child('b')]));
            await k.getNextJob('t');
        """,
        queues=("q", "k"),
    ),
    Twin(
        "remove the last child of a parent",
        [
            (
                "for (const id of ['a', 'b']) await (await queue(P, 'k')).remove(id);",
                lambda ours: [ours.queue("k").remove(job_id) for job_id in ("a", "b")],
            )
        ],
        seed=FAMILY + "await tree(child('a'), child('b'));",
        queues=("q", "k"),
    ),
]
CLEANED = [
    Twin("clean completed jobs", [clean("completed")], seed=COMPLETED_TWO),
    Twin("clean failed jobs", [clean("failed")], seed=FAILED_THREE),
    Twin("clean at most two failed jobs", [clean("failed", 2)], seed=FAILED_THREE),
    Twin("clean failed jobs that are too new", [clean("failed", 0, 60_000)], seed=FAILED_THREE),
    Twin("clean delayed jobs", [clean("delayed")], seed=DELAYED),
    Twin("clean waiting jobs", [clean("waiting", 2), clean("waiting", 0)], seed=THREE_STATES),
    Twin("clean prioritized jobs", [clean("prioritized")], seed=THREE_STATES),
    Twin("clean running jobs", [CLAIM, clean("active")], seed=THREE_STATES),
    Twin(
        "clean running jobs whose locks are gone",
        [clean("active")],
        seed=f"""
            {THREE_STATES}
            await w.getNextJob('t');
            await sleep(40);
        """,
        worker={"lockDuration": 20},
    ),
    Twin(
        "clean all but the next job of a scheduler",
        [clean("waiting")],
        seed=SCHEDULED + THREE_STATES,
        volatile=("offset",),
    ),
    Twin(
        "clean the last child of a parent in the same queue",
        [clean("waiting")],
        seed="""
            await f.add({
              name: 'P', queueName: 'q', opts: { jobId: 'parent' },
              children: [{ name: 'c', queueName: 'q', opts: { jobId: 'a' } }],
            });
        """,
    ),
]
OTHERS = [
    Twin(
        "free a deduplication id",
        [
            (
                "for (const id of ['same', 'none']) await q.removeDeduplicationKey(id);",
                lambda ours: [
                    ours.queue().remove_deduplication_key(name) for name in ("same", "none")
                ],
            )
        ],
        seed="await q.add('x', {}, { deduplication: { id: 'same' } });",
    ),
]
TWINS = [*OTHERS, *ALONE, *FAMILIES, *CLEANED]
