"""What limits a queue and its workers."""

from feedmill import Queue
from shared.queue import Completion, RateLimit
from tests.interop.pairs import Ours, Step, Twin

THREE = "for (const jobId of ['a', 'b', 'c']) await q.add('x', {}, { jobId });"
LONG_MS = 20_000
LIMITER = {"limiter": {"max": 1, "duration": LONG_MS}}


def complete(job_id: str) -> Step:
    def ours(side: Ours) -> None:
        side.core().complete_many([Completion(job_id, "t", 1)])

    return f"await (await q.getJob('{job_id}')).moveToCompleted(1, 't', false);", ours


def both(first: Step, second: Step) -> Step:
    """Two steps whose state in between is not compared."""

    def ours(side: Ours) -> object:
        first[1](side)
        return second[1](side)

    return first[0] + second[0], ours


def claim_id(rate_limit: RateLimit | None = None) -> Step:
    """Claim, and tell which job came; Node's own ``getNextJob`` waits until a limit ends."""

    def ours(side: Ours) -> str | None:
        job = side.claim(rate_limit=rate_limit)
        return None if job is None else job.id

    return "return (await w.backend.moveToActive('t'))[1] || null;", ours


def ttl(ours: Ours, max_jobs: int | None = None) -> bool:
    return ours.queue().get_rate_limit_ttl(max_jobs) > 0


def limits_of(queue: Queue) -> list[object]:
    rate = queue.get_global_rate_limit()
    return [
        queue.get_global_concurrency(),
        None if rate is None else {"max": rate.max_jobs, "duration": rate.duration_ms},
    ]


SHOW: Step = (
    "return [await q.getGlobalConcurrency(), await q.getGlobalRateLimit()];",
    lambda ours: limits_of(ours.queue()),
)
STOP: Step = (f"await q.rateLimit({LONG_MS});", lambda ours: ours.queue().rate_limit(LONG_MS))
HAS_TTL: Step = ("return (await q.getRateLimitTtl()) > 0;", ttl)
HAS_TTL_OF_ONE: Step = ("return (await q.getRateLimitTtl(1)) > 0;", lambda ours: ttl(ours, 1))
END_WINDOW: Step = (
    "return !!(await q.removeRateLimitKey());",
    lambda ours: ours.queue().remove_rate_limit_key(),
)
ONE_AT_A_TIME: Step = (
    "await q.setGlobalConcurrency(1);",
    lambda ours: ours.queue().set_global_concurrency(1),
)
SLOWLY: Step = (
    f"await q.setGlobalRateLimit(2, {LONG_MS});",
    lambda ours: ours.queue().set_global_rate_limit(2, LONG_MS),
)
OWN_LIMIT = RateLimit(1, LONG_MS)

TWINS = [
    Twin(
        "set, read and lift a queue's own limits",
        [
            SHOW,
            ONE_AT_A_TIME,
            SLOWLY,
            SHOW,
            (
                "await q.removeGlobalConcurrency();",
                lambda ours: ours.queue().remove_global_concurrency(),
            ),
            SHOW,
            (
                "await q.removeGlobalRateLimit();",
                lambda ours: ours.queue().remove_global_rate_limit(),
            ),
            SHOW,
        ],
    ),
    Twin(
        "stop a queue whose worker has no limit, which goes on",
        [STOP, HAS_TTL, claim_id(), END_WINDOW, END_WINDOW],
        seed=THREE,
    ),
    Twin(
        "stop a queue whose worker has a limit",
        [
            STOP,
            HAS_TTL_OF_ONE,
            claim_id(OWN_LIMIT),
            END_WINDOW,
            claim_id(OWN_LIMIT),
        ],
        seed=THREE,
        worker=LIMITER,
    ),
    Twin(
        "stop a queue that has a limit of its own",
        [SLOWLY, STOP, HAS_TTL, claim_id(), END_WINDOW, claim_id(), HAS_TTL],
        seed=THREE,
    ),
    Twin(
        "use up the window of a worker's limit",
        [
            HAS_TTL_OF_ONE,
            claim_id(OWN_LIMIT),
            HAS_TTL_OF_ONE,
            HAS_TTL,
            claim_id(OWN_LIMIT),
            END_WINDOW,
            claim_id(OWN_LIMIT),
        ],
        seed=THREE,
        worker=LIMITER,
    ),
    Twin(
        "use up the window of a queue's own limit",
        [
            SLOWLY,
            claim_id(),
            HAS_TTL,
            claim_id(),
            HAS_TTL,
            claim_id(),
            complete("a"),
        ],
        seed=THREE,
    ),
    Twin(
        "add a job while a queue is maxed, and finish the one that runs",
        [
            ONE_AT_A_TIME,
            ("return await q.isMaxed();", lambda ours: ours.queue().is_maxed()),
            claim_id(),
            ("return await q.isMaxed();", lambda ours: ours.queue().is_maxed()),
            (
                "await q.add('x', {}, { jobId: 'd' });",
                lambda ours: ours.queue().add("x", job_id="d"),
            ),
            claim_id(),
            # Ours tells a waiting worker of the free place; Node's finds it when it looks again.
            both(complete("a"), claim_id()),
        ],
        seed="await q.add('x', {}, { jobId: 'a' });",
    ),
    Twin(
        "ask who owns a deduplication id",
        [
            (
                "return await q.getDeduplicationJobId('once');",
                lambda ours: ours.queue().get_deduplication_job_id("once"),
            ),
            (
                "return [await q.getDeduplicationJobId('none')];",
                lambda ours: [ours.queue().get_deduplication_job_id("none")],
            ),
        ],
        seed="await q.add('x', {}, { jobId: 'a', deduplication: { id: 'once' } });",
    ),
]
