"""What a worker and a handler do to a job that runs."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any
from unittest import mock

import pytest

from feedmill import DelayedError, Job, QueueError, RateLimitError, Worker
from tests.interop.pairs import CLAIM, OURS, Ours, Step, Twin
from tests.processes import wait_until

MINUTE_MS = 60_000


def handled(ours: Ours) -> Job[Any]:
    """Return the claimed job as its handler gets it."""
    assert ours.job is not None
    assert ours.job.view is not None
    return replace(Job.of(ours.core(), ours.job.view), token=ours.job.token)


def on_job(code: str, act: Callable[[Job[Any]], object]) -> Step:
    return f"await globalThis.job.{code};", lambda ours: act(handled(ours))


def answered(code: str, act: Callable[[Job[Any]], object]) -> Step:
    return f"return await globalThis.job.{code};", lambda ours: act(handled(ours))


def refused(code: str, act: Callable[[Job[Any]], object]) -> Step:
    def ours(side: Ours) -> None:
        with pytest.raises(QueueError):
            act(handled(side))

    return (
        f"""
        if (await globalThis.job.{code}.then(() => true, () => false))
          throw new Error('nothing was refused');
    """,
        ours,
    )


def worked(
    handler_js: str,
    options_js: str,
    handler: Callable[[Job[Any]], object],
    *,
    is_idle_after: bool = True,
    **options: Any,
) -> Step:
    """Let a real worker run the job ``a``, until it waits for the next one (or for its limit)."""

    def ours(side: Ours) -> None:
        queue = side.queue()
        worker = Worker(queue, handler, **options)
        marker = queue.core.keys.marker

        def has_ended() -> bool:
            job = queue.get_job("a")
            assert job is not None
            has_run = job.processed_on is not None and job.get_state() != "active"
            return has_run and not (is_idle_after and side.client.exists(marker))

        # An idle worker ends when its rest does.
        with mock.patch("shared.queue.worker._IDLE_WAIT_S", 0.1):
            worker.start()
            wait_until(has_ended, "the job has run")
            worker.close(5)

    return (
        f"""
        const name = `worker ${{P}} q`;
        const runner = await worker(
          P, 'q', {handler_js}, {{ skipStalledCheck: true, ...{options_js} }});
        const redis = await q.backend.client;
        for (;;) {{
          const job = await q.getJob('a');
          const hasRun = job.processedOn && (await job.getState()) !== 'active';
          const isIdle = !(await redis.exists(`${{P}}:q:marker`));
          if (hasRun && (isIdle || {str(not is_idle_after).lower()})) break;
          await sleep(2);
        }}
        await runner.close();
        known.delete(name);
    """,
        ours,
    )


def delay_itself(job: Job[Any]) -> None:
    job.move_to_delayed(job.queue.clock.now_ms() + MINUTE_MS)
    raise DelayedError


def limit(job: Job[Any]) -> None:
    raise RateLimitError


def break_off(job: Job[Any]) -> None:
    raise OSError("the line broke")


BREAK_JS = "async () => { throw new Error('the line broke'); }"
OWN_BACKOFF = "await q.add('x', {}, { jobId: 'a', attempts: 3, backoff: { type: 'own' } });"
WAITING = "await q.add('x', { n: 1 }, { jobId: 'a' });"
PRIORITIZED = """
    await q.add('x', {}, { jobId: 'p', priority: 2 });
    await q.add('x', {}, { jobId: 'r', priority: 2 });
"""
TWO_WAITING = f"{WAITING} await q.add('x', {{}}, {{ jobId: 'b' }});"
LOGGED = "await q.add('x', {}, { jobId: 'a', keepLogs: 2 });"
TO_WAIT = on_job("moveToWait('t')", lambda job: job.move_to_wait())
LATER = on_job(
    f"moveToDelayed(Date.now() + {MINUTE_MS}, 't')",
    lambda job: job.move_to_delayed(job.queue.clock.now_ms() + MINUTE_MS),
)
LOSE_LOCK: Step = (
    "await (await q.backend.client).del(`${P}:q:a:lock`);",
    lambda ours: ours.client.delete(f"{OURS}:q:a:lock"),
)
REMOVE: Step = (
    "await (await q.backend.client).del(`${P}:q:a`);",
    lambda ours: ours.client.delete(f"{OURS}:q:a"),
)

CLAIMS = [
    Twin(
        "claim by a worker that has a name",
        [
            (
                "await w.getNextJob('t', { block: false });",
                lambda ours: ours.claim(worker_name="w-7"),
            )
        ],
        seed=TWO_WAITING,
        worker={"name": "w-7"},
    ),
    Twin(
        "claim what waits before what has a priority",
        [CLAIM, CLAIM, CLAIM, CLAIM],
        seed=f"{PRIORITIZED} {WAITING}",
    ),
]
TOLD = [
    Twin(
        "progress as a number, an object and a text",
        [
            CLAIM,
            on_job("updateProgress(50)", lambda job: job.progress(50)),
            on_job("updateProgress({ page: 2 })", lambda job: job.progress({"page": 2})),
            on_job("updateProgress('half')", lambda job: job.progress("half")),
        ],
        seed=WAITING,
    ),
    Twin(
        "progress and data of a job that was removed",
        [
            CLAIM,
            REMOVE,
            refused("updateProgress(50)", lambda job: job.progress(50)),
            refused("updateData({})", lambda job: job.update_data({})),
            refused("log('line')", lambda job: job.log("line")),
        ],
        seed=WAITING,
    ),
    Twin(
        "log lines, as many as are kept",
        [
            CLAIM,
            answered("log('one')", lambda job: job.log("one")),
            answered("log('two')", lambda job: job.log("two")),
            answered("log('three')", lambda job: job.log("three")),
        ],
        seed=LOGGED,
    ),
    Twin(
        "clear the log but for its newest lines",
        [
            CLAIM,
            *[answered(f"log('{n}')", lambda job, n=n: job.log(str(n))) for n in range(3)],  # type: ignore[misc]
            on_job("clearLogs(1)", lambda job: job.clear_logs(1)),
            on_job("clearLogs()", lambda job: job.clear_logs()),
        ],
        seed=WAITING,
    ),
    Twin(
        "update the data of a job that runs",
        [
            CLAIM,
            on_job(
                "updateData({ step: 2, of: ['a/b', null] })",
                lambda job: job.update_data({"step": 2, "of": ["a/b", None]}),
            ),
        ],
        seed=WAITING,
    ),
    Twin(
        "extend the lock of a job that runs, and one that was lost",
        [
            CLAIM,
            on_job(f"extendLock('t', {MINUTE_MS})", lambda job: job.extend_lock(MINUTE_MS)),
            LOSE_LOCK,
            on_job(f"extendLock('t', {MINUTE_MS})", lambda job: job.extend_lock(MINUTE_MS)),
        ],
        seed=WAITING,
    ),
]
MOVED = [
    Twin(
        "move a job that runs to the delayed ones",
        [CLAIM, LATER, CLAIM],
        seed=TWO_WAITING,
        volatile=("delay",),
    ),
    Twin(
        "move a job that runs to a time that has passed",
        [CLAIM, on_job("moveToDelayed(1000, 't')", lambda job: job.move_to_delayed(1000)), CLAIM],
        seed=WAITING,
    ),
    Twin("move a job that runs to the front of the line", [CLAIM, TO_WAIT, CLAIM], TWO_WAITING),
    Twin("move a job with a priority to the front", [CLAIM, CLAIM, TO_WAIT, CLAIM], PRIORITIZED),
    Twin(
        "move a job whose lock was lost",
        [
            CLAIM,
            LOSE_LOCK,
            refused("moveToWait('t')", lambda job: job.move_to_wait()),
            refused("moveToDelayed(1000, 't')", lambda job: job.move_to_delayed(1000)),
        ],
        seed=WAITING,
    ),
    Twin(
        "a handler that delays its job",
        [
            worked(
                f"""async (job, token) => {{
                  await job.moveToDelayed(Date.now() + {MINUTE_MS}, token);
                  throw new B.DelayedError();
                }}""",
                "{}",
                delay_itself,
            )
        ],
        seed=WAITING,
        volatile=("delay",),
    ),
    Twin(
        "a handler that meets a limit",
        [
            worked(
                "async () => { throw B.Worker.RateLimitError(); }",
                f"{{ limiter: {{ max: 1, duration: {MINUTE_MS} }} }}",
                limit,
                is_idle_after=False,
                limiter=(1, MINUTE_MS),
            )
        ],
        seed=WAITING,
    ),
]
ENDED = [
    Twin(
        "a backoff of one's own",
        [
            worked(
                BREAK_JS,
                "{ settings: { backoffStrategy: (made, type) => type === 'own' ? 5000 : 1 } }",
                break_off,
                backoff=lambda made, kind, error, job: 5000 if kind == "own" else 1,
            )
        ],
        seed=OWN_BACKOFF,
        volatile=("stacktrace",),
    ),
    Twin(
        "a backoff of one's own that ends the attempts",
        [
            worked(
                BREAK_JS,
                "{ settings: { backoffStrategy: () => -1 } }",
                break_off,
                backoff=lambda made, kind, error, job: -1,
            )
        ],
        seed=OWN_BACKOFF,
        volatile=("stacktrace",),
    ),
    Twin(
        "a job that was started too often",
        [
            CLAIM,
            TO_WAIT,
            worked(
                "async () => 1", "{ maxStartedAttempts: 1 }", lambda job: 1, max_started_attempts=1
            ),
        ],
        seed="await q.add('x', {}, { jobId: 'a', attempts: 9 });",
        volatile=("stacktrace",),
    ),
    Twin(
        "a doomed job",
        [worked("async () => 1", "{}", lambda job: 1)],
        seed=f"{WAITING} await (await q.backend.client).hset(`${{P}}:q:a`, 'defa', 'it stalled');",
        volatile=("stacktrace",),
    ),
    Twin(
        "a result that is nothing",
        [worked("async () => {}", "{}", lambda job: None)],
        seed=WAITING,
    ),
]
TWINS = [*CLAIMS, *TOLD, *MOVED, *ENDED]
