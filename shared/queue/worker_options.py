"""How a worker works: limits, rules, and who is told what."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field

from shared.queue.breaker import Breaker
from shared.queue.end_rules import NO_RULES, EndRules
from shared.queue.job import ClaimedJob, GroupLimit, RateLimit
from shared.queue.job_queue import JobQueue
from shared.queue.runs import EndedRun, RunRules


def _say_nothing(*_: object) -> None:
    """Tell nobody."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerOptions:
    """How a ``Worker`` works. Hooks are called on the worker's threads; one that fails is logged.

    ``concurrency``: so many jobs at a time; ``lock_ms``: how long their locks last unless they are
    extended; ``run_limit_s``: how long they are. ``name`` is written into the jobs and shown to
    who lists the workers. ``rate_limit`` holds unless the queue has one of its own;
    ``group_limit`` becomes the queue's own. ``rules`` say what an error means. ``completed`` and
    ``failed`` are what it wants of the jobs that it ends. While the ``breaker`` is open, no job is
    claimed but one to try, and what fails by what it needs is put back. Jobs that fail for good are
    moved to ``dead_letters``, if there is such a queue.

    A solo job has the worker for itself, unless ``isolates_solo`` is False: right where a job that
    stalls cannot harm its neighbours, and must not hold them up. ``reads_whole``: jobs come with
    their ``view``.

    ``after_settle(run)`` is called when what a run came to is written, not when its lock was lost.
    ``on_final_failure(job, error)`` is called before a job is failed for good; should it raise, the
    job is tried again later, so that its failure is never settled unheard. ``around_job(job)`` is
    entered, in the job's thread, for all that is done about it; should that fail, the run ends with
    its error. ``on_error(error)`` is called for trouble that is nobody's job's: Redis is away, a
    lock was lost. ``on_drained()`` is called when nothing is ready to run any more, once until
    there was a job again.
    """

    concurrency: int
    lock_ms: int
    name: str | None = None
    rate_limit: RateLimit | None = None
    group_limit: GroupLimit | None = None
    run_limit_s: float = 300.0
    rules: RunRules = field(default_factory=RunRules)
    completed: EndRules = NO_RULES
    failed: EndRules = NO_RULES
    breaker: Breaker | None = None
    dead_letters: JobQueue | None = None
    isolates_solo: bool = True
    reads_whole: bool = False
    after_settle: Callable[[EndedRun], None] = _say_nothing
    on_final_failure: Callable[[ClaimedJob, BaseException], None] | None = None
    around_job: Callable[[ClaimedJob], AbstractContextManager[object]] = nullcontext
    on_error: Callable[[BaseException], None] = _say_nothing
    on_drained: Callable[[], None] = _say_nothing
