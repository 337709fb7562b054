"""How a worker works, in BullMQ's words."""

import inspect
import math
import re
from collections.abc import Callable
from typing import Any, Literal, TypedDict

from feedmill.base import QueueBase
from feedmill.jobs import Job
from shared.errors import InvalidJobOptions
from shared.queue import Batching, Breaker, ClaimedJob, GroupLimit, RateLimit, RunRules
from shared.queue import WorkerOptions as CoreOptions
from shared.queue.end_rules import EndRules
from shared.queue.limits import check_group_limit
from shared.queue.option_readers import RATES, Readers, read_option, read_rate, whole_between
from shared.queue.options import read_options
from shared.queue.reading import MAX_WHOLE
from shared.queue.runs import is_recoverable

ReadJob = Callable[[ClaimedJob], Job[Any]]
Backoff = Callable[[int, str, BaseException, Job[Any]], float]
# Two months; each point is a number in a list of Redis.
_MOST_MINUTES = 60 * 24 * 62
_MOST_IN_BATCH = 10_000


class WorkerOptions(TypedDict, total=False):
    """What a ``Worker`` can be told; times are in ms where nothing else is said."""

    concurrency: int
    """So many jobs at a time, 1 unless told, each on a thread."""
    batch: int | None
    """At most so many jobs in one call of the handler, which is given a list of them. It returns
    None when all are done, or a list of one outcome for each: an error, or else its result. To
    ``concurrency`` a batch is one job."""
    within_s: float
    """For how many seconds a batch waits for more jobs after its first; not at all unless told."""
    name: str | None
    """Its name, of ASCII without spaces: in jobs as ``processed_by``, and in ``get_workers``."""
    lock_duration: int
    """How long a job's lock lasts, 30 s unless told; it is extended while the handler runs."""
    run_limit_s: float | None
    """For how many seconds it is; then the run is given up. No limit unless told."""
    stalled_interval: int
    """How often is looked for jobs whose worker has vanished; each 30 s unless told."""
    max_stalled_count: int
    """How often a job's worker may vanish before the job fails: once unless told."""
    limiter: tuple[int, int] | None
    """At most so many jobs started in so many ms, over all workers."""
    group: str | None
    """The field of the jobs' data that names the group of each, a text or a number."""
    group_limit: tuple[int, int] | None
    """At most so many jobs of each group started in so many ms, over all workers but Node's. It
    becomes the queue's own, until ``remove_group_limit``."""
    remove_on_complete: Any
    """What stays of completed jobs that say nothing themselves, in the forms of a job's option."""
    remove_on_fail: Any
    """The same of failed ones. All stay unless somebody says otherwise."""
    metrics: int | None
    """Of so many minutes it is counted how many jobs ended in each, for ``get_metrics``."""
    dead_letter: QueueBase | None
    """A queue in the same Redis that jobs are moved to when they fail for good."""
    breaker: Breaker | None
    """No job is started while what the jobs need is away."""
    may_retry: Callable[[BaseException], bool]
    """After which errors a job is tried again: all but ``UnrecoverableError`` unless told."""
    backoff: Backoff | None
    """The delay (ms) of jobs whose ``backoff`` has a type of one's own, given the attempts made,
    the type, the error and the job; -1 fails the job for good."""
    max_started_attempts: int
    """A job that was started more often fails without a run, as one that crashes its worker."""


def _whole_from(least: int) -> tuple[Callable[[object], int], str]:
    return whole_between(least, MAX_WHOLE), f"a whole number from {least}"


def _read_seconds(value: float | None) -> float | None:
    if value is not None and (isinstance(value, bool) or not value > 0):
        raise ValueError(value)
    return value


_READERS: Readers = {
    "concurrency": _whole_from(1),
    "lock_duration": _whole_from(1),
    "stalled_interval": _whole_from(1),
    "max_stalled_count": _whole_from(0),
    "max_started_attempts": _whole_from(0),
    "run_limit_s": (_read_seconds, "seconds, more than 0"),
    "limiter": (read_rate, RATES),
    "group_limit": (read_rate, RATES),
}
# What Redis takes as the name of a connection.
_NAME = re.compile(r"[!-~]+")


def check_handler(handler: object) -> None:
    """Refuse what could only fail all of its jobs.

    Raises:
        TypeError: it cannot be called, or would have to be awaited.
    """
    if not callable(handler):
        raise TypeError(f"the handler of a Worker is a function, not {handler!r:.80}")
    if inspect.iscoroutinefunction(handler):
        raise TypeError(f"{handler!r:.80} is async; a worker runs plain functions, on threads")


def check_options(options: WorkerOptions) -> None:
    """Refuse what no worker can be told.

    Raises:
        TypeError: it is no option at all, as any function refuses it.
        InvalidJobOptions: a value that cannot be.
    """
    _check_known(options)
    for option, value in options.items():
        if option in _READERS:
            read_option(_READERS, option, value)
    name = options.get("name")
    if name is not None and not _NAME.fullmatch(name):
        raise InvalidJobOptions("name", name, "ASCII without spaces, as names of connections are")


def _check_known(options: WorkerOptions) -> None:
    unknown = ", ".join(sorted(options.keys() - WorkerOptions.__annotations__.keys()))
    if unknown:
        known = ", ".join(sorted(WorkerOptions.__annotations__))
        raise TypeError(f"a Worker has no option {unknown}; its options are {known}")


def check_batch(batch: object) -> None:
    """Refuse what is not how many jobs a batch has at most.

    Raises:
        InvalidJobOptions: it is not.
    """
    is_whole = isinstance(batch, int) and not isinstance(batch, bool)
    if not is_whole or not 1 <= batch <= _MOST_IN_BATCH:  # type: ignore[operator]
        raise InvalidJobOptions("batch", batch, f"a whole number from 1 to {_MOST_IN_BATCH}")


def read_batching(options: WorkerOptions) -> Batching | None:
    """Return how jobs are worked in batches; None if one by one.

    Raises:
        InvalidJobOptions: a batch that cannot be; the text names what is wrong.
    """
    batch, within_s = options.get("batch"), options.get("within_s", 0.0)
    run_limit_s = options.get("run_limit_s") or math.inf
    if batch is not None:
        check_batch(batch)
    if not (isinstance(within_s, int | float) and 0 <= within_s < run_limit_s):
        raise InvalidJobOptions("within_s", within_s, "seconds, fewer than run_limit_s")
    if batch is None and within_s > 0:
        raise InvalidJobOptions("within_s", within_s, "nothing without batch")
    return None if batch is None else Batching(batch, within_s)


def core_options(options: WorkerOptions, read_job: ReadJob) -> CoreOptions:
    """Return the options as the worker below takes them.

    Raises:
        InvalidJobOptions: something that cannot be; the text names it.
    """
    limiter, run_limit_s = options.get("limiter"), options.get("run_limit_s")
    dead_letter = options.get("dead_letter")
    return CoreOptions(
        concurrency=options.get("concurrency", 1),
        lock_ms=options.get("lock_duration", 30_000),
        name=options.get("name"),
        rate_limit=None if limiter is None else RateLimit(*limiter),
        group_limit=_read_group_limit(options),
        run_limit_s=math.inf if run_limit_s is None else run_limit_s,
        rules=_rules(options, read_job),
        completed=_end_rules(options, "remove_on_complete"),
        failed=_end_rules(options, "remove_on_fail"),
        breaker=options.get("breaker"),
        dead_letters=None if dead_letter is None else dead_letter.core,
        # A job that crashes its worker takes its whole batch with it, again and again.
        isolates_solo=options.get("batch") is not None,
        reads_whole=True,
    )


def _read_group_limit(options: WorkerOptions) -> GroupLimit | None:
    group, limit = options.get("group"), options.get("group_limit")
    if (group is None) != (limit is None):
        raise InvalidJobOptions("group_limit", limit, "together with group")
    return None if group is None or limit is None else check_group_limit(GroupLimit(*limit, group))


def _rules(options: WorkerOptions, read_job: ReadJob) -> RunRules:
    backoff = options.get("backoff")

    def delay_ms(made: int, kind: str, error: BaseException, claimed: ClaimedJob) -> float:
        assert backoff is not None
        return backoff(made, kind, error, read_job(claimed))

    return RunRules(
        may_retry=options.get("may_retry", is_recoverable),
        backoff=None if backoff is None else delay_ms,
        max_started_attempts=options.get("max_started_attempts", 0),
    )


def _end_rules(
    options: WorkerOptions, keep: Literal["remove_on_complete", "remove_on_fail"]
) -> EndRules:
    minutes = options.get("metrics") or 0
    if (
        isinstance(minutes, bool)
        or not isinstance(minutes, int)
        or not 0 <= minutes <= _MOST_MINUTES
    ):
        raise InvalidJobOptions("metrics", minutes, f"minutes, at most {_MOST_MINUTES}")
    read = read_options({}, {keep: options.get(keep)})
    return EndRules(keep=getattr(read, keep), counted_minutes=minutes, checks_children=True)
