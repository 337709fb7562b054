"""Moving jobs that nobody runs, and throwing them away."""

from collections.abc import Callable
from typing import Any

import pytest

from feedmill import Job, QueueError
from shared.queue import Failure
from tests.interop.pairs import CLAIM, Ours, Step, Twin


def on_job(job_id: str, code: str, act: Callable[[Job[Any]], object]) -> Step:
    def ours(side: Ours) -> object:
        job = side.queue().get_job(job_id)
        assert job is not None
        return act(job)

    return f"await (await q.getJob('{job_id}')).{code};", ours


def refused(step: Step) -> Step:
    code, act = step

    def ours(side: Ours) -> None:
        with pytest.raises(QueueError):
            act(side)

    return (
        f"""
        const act = async () => {{ {code} }};
        if (await act().then(() => true, () => false)) throw new Error('nothing was refused');
    """,
        ours,
    )


def fail_again(ours: Ours) -> None:
    assert ours.job is not None
    ours.core().fail_many([Failure(ours.job.id, "t", "again", "Error: again")])


def promote(job_id: str) -> Step:
    return on_job(job_id, "promote()", lambda job: job.promote())


def change_priority(job_id: str, priority: int, *, lifo: bool = False) -> Step:
    code = f"changePriority({{ priority: {priority}, lifo: {str(lifo).lower()} }})"
    return on_job(job_id, code, lambda job: job.change_priority(priority, lifo=lifo))


FAIL_AGAIN: Step = (
    """
    const error = new Error('again');
    error.stack = 'Error: again';
    await globalThis.job.moveToFailed(error, 't', false);
    """,
    fail_again,
)
PAUSE: Step = ("await q.pause();", lambda ours: ours.queue().pause())
PROMOTE_JOBS: Step = ("await q.promoteJobs();", lambda ours: ours.queue().promote_jobs())
RETRY_FAILED: Step = on_job("a", "retry()", lambda job: job.retry())
RETRY_COMPLETED: Step = on_job("a", "retry('completed')", lambda job: job.retry("completed"))
DRAIN: Step = ("await q.drain();", lambda ours: ours.queue().drain())
DRAIN_DELAYED: Step = ("await q.drain(true);", lambda ours: ours.queue().drain(delayed=True))
OBLITERATE: Step = ("await q.obliterate();", lambda ours: ours.queue().obliterate())
OBLITERATE_ALL: Step = (
    "await q.obliterate({ force: true });",
    lambda ours: ours.queue().obliterate(force=True),
)

# What seeds are made of: jobs by id, and their ends.
DELAYED = """
    await q.add('x', {}, { jobId: 'd', delay: 60_000 });
    await q.add('x', {}, { jobId: 'e', delay: 90_000, priority: 3 });
"""
THREE_STATES = f"""
    for (const jobId of ['a', 'b', 'c']) await q.add('x', {{}}, {{ jobId }});
    for (const jobId of ['p', 'r']) await q.add('x', {{}}, {{ jobId, priority: 2 }});
    {DELAYED}
"""
FAIL = """
    const fail = async () => {
      const error = new Error('bad');
      error.stack = 'Error: bad';
      await (await w.getNextJob('t', { block: false })).moveToFailed(error, 't', false);
    };
"""
COMPLETE = """
    const complete = async () =>
      (await w.getNextJob('t', { block: false })).moveToCompleted({ ok: 1 }, 't', false);
"""
# Jobs of one millisecond are ordered by their prefix' own clock: apart, they are so on both sides.
FAILED_THREE = f"""
    {FAIL}
    for (const [jobId, opts] of [['a', {{}}], ['b', {{ lifo: true }}], ['c', {{ priority: 2 }}]]) {{
      await q.add('x', {{}}, {{ jobId, ...opts }});
      await fail();
      await sleep(2);
    }}
"""
COMPLETED_TWO = f"""
    {COMPLETE}
    for (const jobId of ['a', 'b']) {{
      await q.add('x', {{}}, {{ jobId }});
      await complete();
      await sleep(2);
    }}
"""
FAMILY = """
    const family = async (parentQueue, rule) =>
      f.add({
        name: 'P', queueName: parentQueue, opts: { jobId: 'parent' },
        children: [
          { name: 'c', queueName: 'q', opts: { jobId: 'a', ...(rule && { [rule]: true }) } },
        ],
      });
"""
SCHEDULED = "await q.upsertJobScheduler('s', { every: 60_000 }, { name: 'x' });"
ALL_STATES = f"""
    {FAIL}
    {COMPLETE}
    await q.add('x', {{}}, {{ jobId: 'broken' }});
    await fail();
    await q.add('x', {{}}, {{ jobId: 'done' }});
    await complete();
    {THREE_STATES}
    await q.add('x', {{}}, {{ deduplication: {{ id: 'same' }} }});
    await q.setGlobalRateLimit(5, 1000);
"""

MOVES = [
    Twin("promote a delayed job", [promote("d"), CLAIM], seed=DELAYED),
    Twin("promote a delayed job with a priority", [promote("e"), promote("d")], seed=DELAYED),
    Twin("promote a delayed job while the queue is paused", [PAUSE, promote("d")], seed=DELAYED),
    Twin(
        "promote a job that waits",
        [refused(promote("d"))],
        seed="await q.add('x', {}, { jobId: 'd' });",
    ),
    Twin("promote all delayed jobs", [PROMOTE_JOBS, CLAIM], seed=DELAYED),
    Twin("promote all delayed jobs of none", [PROMOTE_JOBS]),
    Twin(
        "change the delay of delayed jobs",
        [
            on_job("d", "changeDelay(120_000)", lambda job: job.change_delay(120_000)),
            on_job("e", "changeDelay(5_000)", lambda job: job.change_delay(5_000)),
        ],
        seed=DELAYED,
    ),
    Twin(
        "change the delay of a job that waits",
        [refused(on_job("a", "changeDelay(5_000)", lambda job: job.change_delay(5_000)))],
        seed="await q.add('x', {}, { jobId: 'a' });",
    ),
    Twin(
        "change the priority of jobs in line",
        [change_priority("a", 7), change_priority("r", 0), change_priority("b", 7), CLAIM],
        seed=THREE_STATES,
    ),
    Twin(
        "change the priority of jobs to go first",
        [change_priority("a", 2, lifo=True), change_priority("c", 0, lifo=True), CLAIM],
        seed=THREE_STATES,
    ),
    Twin(
        "change the priority of a delayed job",
        [change_priority("d", 7), promote("d")],
        seed=DELAYED,
    ),
]
RETRIES = [
    Twin("retry a failed job", [RETRY_FAILED, CLAIM], seed=FAILED_THREE),
    Twin(
        "retry a failed job that goes last in first out, and one with a priority",
        [
            on_job("b", "retry('failed')", lambda job: job.retry("failed")),
            on_job("c", "retry('failed')", lambda job: job.retry("failed")),
        ],
        seed=f"{FAILED_THREE} await q.add('x', {{}}, {{ jobId: 'z' }});",
    ),
    Twin("retry a completed job", [RETRY_COMPLETED, CLAIM], seed=COMPLETED_TWO),
    Twin(
        "retry a completed job whose attempts are reset",
        [
            on_job(
                "a",
                "retry('completed', { resetAttemptsMade: true, resetAttemptsStarted: true })",
                lambda job: job.retry(
                    "completed", reset_attempts_made=True, reset_attempts_started=True
                ),
            )
        ],
        seed=COMPLETED_TWO,
    ),
    Twin("retry a job that has not failed", [refused(RETRY_FAILED)], seed=COMPLETED_TWO),
    Twin(
        "retry a job whose attempts are used up",
        [RETRY_FAILED, CLAIM, FAIL_AGAIN],
        seed=f"{FAIL} await q.add('x', {{}}, {{ jobId: 'a', attempts: 1 }}); await fail();",
    ),
    Twin(
        "retry all failed jobs",
        [("await q.retryJobs();", lambda ours: ours.queue().retry_jobs()), CLAIM],
        seed=FAILED_THREE,
    ),
    Twin(
        "retry all completed jobs",
        [
            (
                "await q.retryJobs({ state: 'completed' });",
                lambda ours: ours.queue().retry_jobs(state="completed"),
            )
        ],
        seed=COMPLETED_TWO,
    ),
    Twin(
        "retry jobs that failed before there were any",
        [
            (
                "await q.retryJobs({ timestamp: 1000 });",
                lambda ours: ours.queue().retry_jobs(timestamp=1000),
            )
        ],
        seed=FAILED_THREE,
    ),
    Twin(
        "retry a failed child whose failure its parent ignores",
        [RETRY_FAILED, CLAIM],
        seed=f"{FAIL} {FAMILY} await family('p', 'ignoreDependencyOnFailure'); await fail();",
        queues=("q", "p"),
    ),
    Twin(
        "retry a failed child that fails its parent",
        [RETRY_FAILED, CLAIM],
        seed=f"{FAIL} {FAMILY} await family('p', 'failParentOnFailure'); await fail();",
        queues=("q", "p"),
    ),
    Twin(
        "retry a completed child",
        [RETRY_COMPLETED, CLAIM],
        seed=f"{COMPLETE} {FAMILY} await family('p'); await complete();",
        queues=("q", "p"),
    ),
]
MASSES = [
    Twin("drain the line", [DRAIN, DRAIN], seed=THREE_STATES),
    Twin("drain delayed jobs too", [DRAIN_DELAYED], seed=THREE_STATES),
    Twin("drain while a job runs", [CLAIM, DRAIN], seed=THREE_STATES),
    Twin(
        "drain all but the next job of a scheduler",
        [DRAIN_DELAYED],
        seed=f"{SCHEDULED} {THREE_STATES}",
        volatile=("offset",),
    ),
    Twin(
        "drain a job that owns a deduplication id",
        [DRAIN],
        seed="await q.add('x', {}, { deduplication: { id: 'same' } });",
    ),
    Twin(
        "drain the last child of a parent in the same queue",
        [DRAIN],
        seed=f"{FAMILY} await family('q');",
    ),
    Twin(
        "drain the last child of a parent in another queue",
        [DRAIN],
        seed=f"{FAMILY} await family('p');",
        queues=("q", "p"),
    ),
    Twin("obliterate a queue with jobs in all states", [OBLITERATE], seed=ALL_STATES),
    Twin("obliterate an empty queue", [OBLITERATE]),
    Twin("obliterate a queue with schedulers", [OBLITERATE], seed=SCHEDULED),
    Twin("obliterate a queue whose job runs", [CLAIM, refused(OBLITERATE)], seed=THREE_STATES),
    Twin("obliterate a queue and the job that runs", [CLAIM, OBLITERATE_ALL], seed=THREE_STATES),
    Twin(
        "obliterate a queue whose parents wait for children elsewhere",
        [OBLITERATE],
        seed="""
            await f.add({
              name: 'P', queueName: 'q', opts: { jobId: 'parent' },
              children: [{ name: 'c', queueName: 'other', opts: { jobId: 'k' } }],
            });
        """,
        queues=("q", "other"),
    ),
]
TWINS = [*MOVES, *RETRIES, *MASSES]
