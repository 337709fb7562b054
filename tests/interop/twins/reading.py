"""Looking at a queue: both sides answer the same, and leave every key as it was.

Its events are looked at too, and trimmed.
"""

from typing import Any

from feedmill import Job
from tests.interop.pairs import Ours, Step, Twin

# Three jobs and more in each state; `p` waits for its children in another queue.
EACH_STATE = """
    const take = () => w.getNextJob('t', { block: false });
    for (const jobId of ['c1', 'c2', 'c3', 'f1', 'f2', 'f3', 'a1', 'a2', 'a3'])
        await q.add('x', { jobId }, { jobId });
    for (let n = 0; n < 3; n++) await (await take()).moveToCompleted({ n }, 't', false);
    for (let n = 0; n < 3; n++) await (await take()).moveToFailed(new Error('no'), 't', false);
    for (let n = 0; n < 3; n++) await take();
    for (const n of [1, 2, 3]) {
        await q.add('x', {}, { jobId: `w${n}` });
        await q.add('x', {}, { jobId: `d${n}`, delay: 70_000 - 9000 * n });
        await q.add('x', {}, { jobId: `p${n}`, priority: 5 - n });
        const children = [{ name: 'c', queueName: 'other', opts: { jobId: `k${n}` } }];
        await f.add({ name: 'x', queueName: 'q', opts: { jobId: `t${n}` }, children });
    }
"""
STATES = ["waiting", "active", "delayed", "prioritized", "waiting-children", "completed", "failed"]
PAGES = [(0, -1), (0, 0), (0, 1), (1, 2), (2, 9), (3, 5), (-2, -1), (-1, -1), (1, -2)]


def ids(jobs: list[Job[Any]]) -> list[str]:
    return [job.id for job in jobs]


def whole(job: Job[Any] | None) -> dict[str, Any] | None:
    """All of a job that does not differ between two runs, by Node's names."""
    if job is None:
        return None
    return {
        "id": job.id,
        "name": job.name,
        "queueName": job.queue_name,
        "data": job.data,
        "delay": job.delay,
        "priority": job.priority,
        "attemptsMade": job.attempts_made,
        "attemptsStarted": job.attempts_started,
        "stalledCounter": job.stalled_counter,
        "returnvalue": job.return_value,
        "failedReason": job.failed_reason,
        "stacktrace": [stack.split("\n")[0] for stack in job.stacktrace],
        "progress": job.last_progress,
        "processedBy": job.processed_by,
        "parentKey": job.parent_key,
        "repeatJobKey": job.repeat_job_key,
        "deduplicationId": job.deduplication_id,
        "isProcessed": job.processed_on is not None,
        "isFinished": job.finished_on is not None,
    }


WHOLE_JS = """
    const whole = (job) => job && {
        id: job.id, name: job.name, queueName: job.queueName, data: job.data, delay: job.delay,
        priority: job.priority, attemptsMade: job.attemptsMade,
        attemptsStarted: job.attemptsStarted, stalledCounter: job.stalledCounter,
        returnvalue: job.returnvalue ?? null, failedReason: job.failedReason ?? null,
        stacktrace: (job.stacktrace ?? []).map((stack) => stack.split('\\n')[0]),
        progress: job.progress === 0 ? null : job.progress, processedBy: job.processedBy ?? null,
        parentKey: job.parentKey ?? null, repeatJobKey: job.repeatJobKey ?? null,
        deduplicationId: job.deduplicationId ?? null,
        isProcessed: job.processedOn !== undefined, isFinished: job.finishedOn !== undefined };
"""


def read_jobs(*job_ids: str, queue: str = "q") -> Step:
    wanted = ", ".join(f"'{job_id}'" for job_id in job_ids)
    code = f"""
        const all = [], read = await queue(P, '{queue}');
        for (const id of [{wanted}]) all.push(whole(await read.getJob(id)) ?? null);
        return all;
    """
    return (
        WHOLE_JS + code,
        lambda ours: [whole(ours.queue(queue).get_job(job_id)) for job_id in job_ids],
    )


def list_pages(ours: Ours) -> list[list[str]]:
    return [
        ids(ours.queue().get_jobs([state], start, end, asc=asc))
        for state in STATES
        for start, end in PAGES
        for asc in (False, True)
    ]


def list_by_name(ours: Ours) -> list[list[str]]:
    queue = ours.queue()
    getters = [
        queue.get_waiting,
        queue.get_active,
        queue.get_delayed,
        queue.get_prioritized,
        queue.get_waiting_children,
        queue.get_completed,
        queue.get_failed,
    ]
    return [ids(get(*page)) for get in getters for page in ((), (0, 1), (2, 4))]


def show_dependencies(job: Job[Any] | None) -> dict[str, Any]:
    assert job is not None
    children = job.get_dependencies()
    return {
        "processed": job.get_children_values(),
        "unprocessed": children.unprocessed,
        "ignored": job.get_ignored_children_failures(),
        "failed": children.failed,
        "counts": job.get_dependencies_count(),
    }


# What Node answers, with sets in an order.
DEPENDENCIES: Step = (
    """
    const job = await q.getJob('p');
    const { processed, unprocessed, ignored, failed } = await job.getDependencies();
    const counts = await job.getDependenciesCount();
    return { processed, unprocessed: unprocessed.sort(), ignored, failed, counts };
    """,
    lambda ours: show_dependencies(ours.queue().get_job("p")),
)


def read_logs(job_id: str) -> Step:
    return (
        f"""
        const seen = [];
        for (const [start, end] of [[0, -1], [0, 1], [1, 2], [3, 9], [4, 9], [-2, -1]])
            for (const asc of [true, false]) {{
                const {{ logs, count }} = await q.getJobLogs('{job_id}', start, end, asc);
                seen.push([logs, count]);
            }}
        return seen;
        """,
        lambda ours: [
            list(ours.queue().get_job_logs(job_id, start, end, asc=asc))
            for start, end in ((0, -1), (0, 1), (1, 2), (3, 9), (4, 9), (-2, -1))
            for asc in (True, False)
        ],
    )


def read_metrics(ours: Ours) -> list[Any]:
    seen = []
    for state in ("completed", "failed"):
        for page in ((), (0, 1), (1, -1)):
            found = ours.queue().get_metrics(state, *page)
            kept = [found.count, found.prev_count, found.prev_ts > 0, found.data, found.points]
            seen.append(kept)
    return seen


TWINS = [
    Twin(
        "list the jobs of each state in pages",
        [
            (
                f"""
                const seen = [];
                for (const state of {STATES})
                    for (const [start, end] of {[list(page) for page in PAGES]})
                        for (const asc of [false, true])
                            seen.push((await q.getJobs([state], start, end, asc)).map((j) => j.id));
                return seen;
                """,
                list_pages,
            ),
            (
                """
                const seen = [];
                for (const name of ['Waiting', 'Active', 'Delayed', 'Prioritized',
                                    'WaitingChildren', 'Completed', 'Failed'])
                    for (const page of [[], [0, 1], [2, 4]])
                        seen.push((await q[`get${name}`](...page)).map((j) => j.id));
                return seen;
                """,
                list_by_name,
            ),
        ],
        seed=EACH_STATE,
        queues=("q", "other"),
    ),
    Twin(
        "list the jobs of several states",
        [
            (
                "return (await q.getJobs()).map((j) => j.id);",
                lambda ours: ids(ours.queue().get_jobs()),
            ),
            (
                """
                const states = ['failed', 'waiting', 'failed'];
                return (await q.getJobs(states, 1, 2, true)).map((j) => j.id);
                """,
                lambda ours: ids(
                    ours.queue().get_jobs(["failed", "waiting", "failed"], 1, 2, asc=True)
                ),
            ),
            (
                "return (await q.getJobs('active')).map((j) => j.id);",
                lambda ours: ids(ours.queue().get_jobs("active")),
            ),
        ],
        seed=EACH_STATE,
        queues=("q", "other"),
    ),
    Twin(
        "count the jobs of each state",
        [
            ("return await q.getJobCounts();", lambda ours: ours.queue().get_job_counts()),
            (
                "return await q.getJobCounts('failed', 'waiting', 'wait', 'active');",
                lambda ours: ours.queue().get_job_counts("failed", "waiting", "wait", "active"),
            ),
            ("return await q.count();", lambda ours: ours.queue().count()),
        ],
        seed=EACH_STATE + "await q.remove('w2'); await q.remove('f1');",
        queues=("q", "other"),
    ),
    Twin(
        "ask for the state of a job in each state",
        [
            (
                """
                const states = [];
                for (const id of ['w1', 'a1', 'd1', 'p1', 't1', 'c1', 'f1', 'none'])
                    states.push(await q.getJobState(id));
                return states;
                """,
                lambda ours: [
                    ours.queue().get_job_state(job_id)
                    for job_id in ("w1", "a1", "d1", "p1", "t1", "c1", "f1", "none")
                ],
            )
        ],
        seed=EACH_STATE,
        queues=("q", "other"),
    ),
    Twin(
        "count the jobs of each priority",
        [
            (
                """
                const counts = await q.getCountsPerPriority([0, 1, 2, 3, 2097151]);
                return Object.entries(counts).map(([priority, n]) => [Number(priority), n]);
                """,
                lambda ours: [
                    list(pair)
                    for pair in ours.queue()
                    .get_counts_per_priority([0, 1, 2, 3, 2_097_151])
                    .items()
                ],
            )
        ],
        seed="""
        for (const priority of [0, 1, 1, 3, 0, 0, 2097151]) await q.add('x', {}, { priority });
        """,
    ),
    Twin(
        "read the metrics of two queues, one without any",
        [
            (
                """
                const seen = [];
                for (const type of ['completed', 'failed'])
                    for (const page of [[], [0, 1], [1, -1]]) {
                        const { meta, data, count } = await q.getMetrics(type, ...page);
                        seen.push([meta.count, meta.prevCount, meta.prevTS > 0, data, count]);
                    }
                return seen;
                """,
                read_metrics,
            )
        ],
        seed="""
        for (const n of [1, 2, 3]) await q.add('x', {});
        const now = Date.now;
        Date.now = () => now() - 180_000;
        await (await w.getNextJob('t', { block: false })).moveToCompleted(1, 't', false);
        Date.now = now;
        await (await w.getNextJob('t', { block: false })).moveToCompleted(2, 't', false);
        """,
        worker={"metrics": {"maxDataPoints": 10}},
    ),
    Twin(
        "read what became of a parent's children",
        [DEPENDENCIES],
        seed="""
        const other = await hand(P, 'other');
        const child = (jobId, opts) =>
            ({ name: 'c', queueName: 'other', opts: { jobId, ...opts } });
        await f.add({ name: 'x', queueName: 'q', opts: { jobId: 'p' }, children: [
            child('a', {}), child('b', { ignoreDependencyOnFailure: true }),
            child('c', {}), child('d', {}) ] });
        const take = () => other.getNextJob('t', { block: false });
        await (await take()).moveToCompleted({ list: ['ü', null] }, 't', false);
        await (await take()).moveToFailed(new Error('ünwilling'), 't', false);
        """,
        queues=("q", "other"),
    ),
    Twin(
        "read what became of a parent's children when one has failed it",
        [DEPENDENCIES, read_jobs("p")],
        seed="""
        const other = await hand(P, 'other');
        const opts = { jobId: 'a', failParentOnFailure: true };
        await f.add({ name: 'x', queueName: 'q', opts: { jobId: 'p' }, children: [
            { name: 'c', queueName: 'other', opts },
            { name: 'c', queueName: 'other', opts: { jobId: 'b' } } ] });
        await (await other.getNextJob('t', { block: false }))
            .moveToFailed(new Error('no'), 't', false);
        """,
        queues=("q", "other"),
    ),
    Twin(
        "read the log of a job",
        [read_logs("a"), read_logs("none")],
        seed="""
        const job = await q.add('x', {}, { jobId: 'a' });
        for (const line of ['one', 'zwö', 'three', 'four']) await job.log(line);
        """,
    ),
    Twin(
        "read whole jobs",
        [read_jobs("c1", "f1", "a1", "w1", "d1", "p1", "t1", "none", "s", "u")],
        seed=EACH_STATE
        + """
        await (await q.getJob('a1')).updateProgress({ percent: 40 });
        await q.add('x', ['a', 1], { jobId: 's', deduplication: { id: 'once' } });
        await q.add('x', null, { jobId: 'u', attempts: 4, parent: { id: 'w1', queue: `${P}:q` } });
        """,
        queues=("q", "other"),
        worker={"name": "worker-1"},
    ),
    Twin(
        "trim the events",
        [
            ("return await q.trimEvents(150);", lambda ours: ours.queue().trim_events(150)),
            ("return await q.trimEvents(0);", lambda ours: ours.queue().trim_events(0)),
            ("return await q.trimEvents(0);", lambda ours: ours.queue().trim_events(0)),
        ],
        seed="""
        await q.addBulk(Array.from({ length: 160 }, (_, n) => ({ name: `x${n}`, data: {} })));
        """,
    ),
]
