"""Schedulers, and the jobs that they make."""

from collections.abc import Mapping
from typing import Any

from shared.queue import Postponement
from shared.queue.schedulers import continue_schedule
from tests.interop.pairs import Ours, Step, Twin
from tests.interop.twins.editing import PAUSE, refused

# Two runs of Node differ in these: all count from the millisecond of the call.
VOLATILE = ("delay", "opts.delay", "offset")
PATTERN = {"pattern": "30 2 * * 1-5", "tz": "Europe/Rome"}
NODE_PATTERN = "pattern: '30 2 * * 1-5', tz: 'Europe/Rome'"
FULL = {
    "name": "report",
    "data": {"to": [1, 2]},
    "opts": {
        "attempts": 3,
        "backoff": 500,
        "priority": 4,
        "remove_on_complete": True,
        "remove_on_fail": {"count": 5},
        "keep_logs": 2,
    },
}
NODE_FULL = """{
    name: 'report', data: { to: [1, 2] },
    opts: {
      attempts: 3, backoff: 500, priority: 4, removeOnComplete: true, removeOnFail: { count: 5 },
      keepLogs: 2,
    },
}"""


def upsert(
    node: str,
    repeat: Mapping[str, Any],
    node_template: str = "{ name: 'x' }",
    template: Mapping[str, Any] | None = None,
) -> Step:
    """A step that makes or changes the scheduler ``s``; for Node its repeat is JavaScript."""
    return (
        f"await q.upsertJobScheduler('s', {{ {node} }}, {node_template});",
        lambda ours: ours.queue().upsert_job_scheduler("s", repeat, template or {"name": "x"}),
    )


def _claim(ours: Ours) -> None:
    job = ours.claim()
    if job is not None:
        continue_schedule(ours.core(), job)


def _put_back(ours: Ours) -> None:
    assert ours.job is not None
    ours.core().postpone_many([Postponement(ours.job.id, "t", 0)])


def _answers(ours: Ours) -> object:
    found = ours.queue().get_job_scheduler("s")
    assert found is not None
    listed = ours.queue().get_job_schedulers()
    shown = {
        "name": found.name,
        "pattern": found.repeat.pattern,
        "tz": found.repeat.tz,
        "limit": found.repeat.limit,
        "count": found.iteration_count,
        "data": found.data,
        "attempts": found.opts["attempts"],
        "keys": [scheduler.id for scheduler in listed],
        "next": found.next,
    }
    return [shown, ours.queue().get_job_schedulers_count(), None]


EVERY = upsert("every: 60_000", {"every": 60_000})
LATER_MS = 4_000_000_000_000
STARTING = upsert(
    f"every: 60_000, startDate: {LATER_MS}", {"every": 60_000, "start_date": LATER_MS}
)
# As a worker does it: what is claimed, makes its successor first.
CLAIM_RUN: Step = ("globalThis.job = await w.getNextJob('t', { block: false });", _claim)
REMOVE: Step = (
    "return await q.removeJobScheduler('s');",
    lambda ours: ours.queue().remove_job_scheduler("s"),
)
GET: Step = (
    """
    const found = await q.getJobScheduler('s'), listed = await q.getJobSchedulers();
    const { name, pattern, tz, limit, iterationCount: count, template, next } = found;
    return [
      { name, pattern, tz, limit, count, data: template.data, attempts: template.opts.attempts,
        keys: listed.map((one) => one.key), next },
      await q.getJobSchedulersCount(), (await q.getJobScheduler('none')) ?? null,
    ];
    """,
    _answers,
)
# Somebody's job has the id of the one that is to come.
TAKE_NEXT = """
    const redis = await q.backend.client;
    const next = Number(await redis.zscore(q.toKey('repeat'), 's'));
    await redis.hset(q.toKey(`repeat:s:${next + 60_000}`), 'name', 'in the way');
"""

MAKING = [
    Twin("schedule every minute", [EVERY], volatile=VOLATILE),
    Twin(
        "schedule every minute with a template",
        [upsert("every: 60_000", {"every": 60_000}, NODE_FULL, FULL), CLAIM_RUN],
        volatile=VOLATILE,
    ),
    Twin(
        "schedule every minute without a template",
        [
            (
                "await q.upsertJobScheduler('s', { every: 60_000 });",
                lambda ours: ours.queue().upsert_job_scheduler("s", {"every": 60_000}),
            ),
            CLAIM_RUN,
        ],
        volatile=VOLATILE,
    ),
    Twin("schedule every minute from a date on", [STARTING], volatile=VOLATILE),
    Twin(
        "schedule every minute with an offset",
        [upsert("every: 60_000, offset: 7_000", {"every": 60_000, "offset": 7_000})],
        volatile=("delay", "opts.delay"),
    ),
    Twin("schedule while the queue is paused", [PAUSE, EVERY], volatile=VOLATILE),
    Twin("schedule by a pattern with a zone", [upsert(NODE_PATTERN, PATTERN)], volatile=VOLATILE),
    Twin(
        "schedule by a pattern with a template, a start, an end and a limit",
        [
            upsert(
                f"{NODE_PATTERN}, startDate: 2_000_000_000_000, endDate: {LATER_MS}, limit: 3",
                {
                    **PATTERN,
                    "start_date": 2_000_000_000_000,
                    "end_date": LATER_MS,
                    "limit": 3,
                },
                NODE_FULL,
                FULL,
            ),
            GET,
        ],
        volatile=VOLATILE,
    ),
    Twin(
        "schedule by a pattern, and at once",
        [upsert(f"{NODE_PATTERN}, immediately: true", {**PATTERN, "immediately": True}), CLAIM_RUN],
        volatile=VOLATILE,
    ),
    Twin(
        "schedule with an end that has passed",
        [refused(upsert("every: 60_000, endDate: 1000", {"every": 60_000, "end_date": 1000}))],
    ),
    Twin(
        "schedule by a pattern and every minute",
        [refused(upsert(f"{NODE_PATTERN}, every: 60_000", {**PATTERN, "every": 60_000}))],
    ),
]
GOING_ON = [
    Twin(
        "claim a scheduler's job, which makes the next one, and try it again",
        [CLAIM_RUN, ("await job.moveToDelayed(Date.now(), 't');", _put_back)],
        seed="await q.upsertJobScheduler('s', { every: 60_000 }, { name: 'x', data: { n: 1 } });",
        volatile=VOLATILE,
    ),
    Twin(
        "claim the last job of a scheduler with a limit",
        [CLAIM_RUN],
        seed="await q.upsertJobScheduler('s', { every: 60_000, limit: 1 }, { name: 'x' });",
        volatile=VOLATILE,
    ),
    Twin(
        "claim a scheduler's job that waited while its times passed",
        [CLAIM_RUN],
        seed="await q.upsertJobScheduler('s', { every: 1 }, { name: 'x' }); await sleep(5);",
        volatile=VOLATILE,
    ),
    Twin(
        "claim a scheduler's job whose successor's id is taken",
        [CLAIM_RUN],
        seed=f"await q.upsertJobScheduler('s', {{ every: 60_000 }}, {{ name: 'x' }}); {TAKE_NEXT}",
        volatile=VOLATILE,
    ),
    Twin(
        "claim a job of a scheduler that is gone",
        [CLAIM_RUN],
        seed="""
            await q.upsertJobScheduler('s', { every: 60_000 }, { name: 'x' });
            await q.removeJobScheduler('s');
        """,
        volatile=VOLATILE,
    ),
]
CHANGING = [
    Twin(
        "schedule again as before, with another template",
        [EVERY, upsert("every: 60_000", {"every": 60_000}, NODE_FULL, FULL), CLAIM_RUN, EVERY],
        volatile=VOLATILE,
    ),
    Twin(
        "schedule again while its job is active",
        [EVERY, CLAIM_RUN, EVERY],
        volatile=VOLATILE,
    ),
    Twin(
        "schedule again with another interval",
        [STARTING, upsert("every: 30_000", {"every": 30_000}), CLAIM_RUN],
        volatile=VOLATILE,
    ),
    Twin(
        "schedule again by a pattern",
        [EVERY, upsert(NODE_PATTERN, PATTERN), upsert(NODE_PATTERN, PATTERN), EVERY],
        volatile=VOLATILE,
    ),
    Twin("remove a scheduler whose job is delayed", [STARTING, REMOVE, REMOVE], volatile=VOLATILE),
    Twin("remove a scheduler whose job waits", [EVERY, REMOVE], volatile=VOLATILE),
    Twin(
        "remove a scheduler's next job",
        [
            refused(
                (
                    f"await q.remove('repeat:s:{LATER_MS}');",
                    lambda ours: ours.queue().remove(f"repeat:s:{LATER_MS}"),
                )
            )
        ],
        seed=f"await q.upsertJobScheduler('s', {{ every: 60_000, startDate: {LATER_MS} }});",
        volatile=VOLATILE,
    ),
]


TWINS = [*MAKING, *GOING_ON, *CHANGING]
