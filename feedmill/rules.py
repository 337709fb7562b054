"""How a queue is declared: its options as people write them, and the rules they come to."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Literal, TypedDict

from feedmill.spans import Backoff, Keep, Span, read_backoff, read_keep, read_rate, read_span_ms
from feedmill.worker_options import check_batch
from shared.errors import InvalidJobOptions
from shared.queue import Breaker
from shared.queue.option_readers import read_option, whole_between
from shared.queue.options import read_options

# One thread each.
MAX_CONCURRENCY = 1000

_SECOND_MS = 1000
_MINUTE_MS = 60 * _SECOND_MS
_HOUR_MS = 60 * _MINUTE_MS


class Weight(StrEnum):
    """How heavy the jobs of a queue are."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"


@dataclass(frozen=True, slots=True)
class WeightClass:
    """What a worker does with jobs of one weight.

    Their locks last ``lock_ms`` without a sign of life, and are looked for each ``stalled_ms``.
    """

    concurrency: int
    lock_ms: int
    stalled_ms: int


CLASSES = {
    Weight.LIGHT: WeightClass(50, 30 * _SECOND_MS, 30 * _SECOND_MS),
    Weight.MEDIUM: WeightClass(10, 5 * _MINUTE_MS, _MINUTE_MS),
    Weight.HEAVY: WeightClass(1, _HOUR_MS, 5 * _MINUTE_MS),
}


class QueueOptions(TypedDict, total=False):
    """What a declared queue can be told. A span of time is "2s", "5m", "24h", "7d" or whole ms."""

    weight: str
    """How heavy its jobs are: "light" (50 at a time, locks of 30 s) unless told, "medium" (10,
    5 min) or "heavy" (1, 1 h)."""
    concurrency: int
    """So many jobs at a time in one worker, instead of its weight's; of batches one."""
    attempts: int
    """How often a job is run before it has failed: once unless told."""
    backoff: Backoff
    """How long a job waits for its next attempt: "2s", "2s exp", "2s exp jitter 0.5", or a function
    of the attempts made and the error that returns a span."""
    keep: Keep
    """How many finished jobs are kept, and for how long: 100, or {"count": 100, "age": "24h"}. All
    for ever unless told, as in BullMQ."""
    timeout: Span
    """A run that takes longer is given up, and uses an attempt. No limit unless told."""
    limit: str
    """So many jobs are started in a time, over all workers: "100/s", "10/5m"."""
    group: str
    """The field of the data, a text or a number, that says to which group a job belongs: "tenant".
    ``limit`` is that of each group then, unless there is a ``group_limit``."""
    group_limit: str
    """So many jobs of each group are started in a time, over all workers: "5/s"."""
    within: Span
    """How long a batch waits for more jobs after its first; not at all unless told."""
    dead_letter: str
    """The name of a queue that jobs are moved to when they fail for good."""
    breaker: Breaker | None
    """No job is started while what the jobs need is away."""
    add_limit: str
    """So many jobs are added in a time by each ``caller`` of ``add``."""


@dataclass(frozen=True, slots=True)
class QueueRules:
    """How a declared queue's jobs are added, and how they are worked."""

    weight: Weight
    concurrency: int
    job_options: Mapping[str, object]
    run_limit_s: float | None
    limiter: tuple[int, int] | None
    group: str | None
    group_limit: tuple[int, int] | None
    add_limit: tuple[int, int] | None
    backoff: Callable[[int, BaseException], Span] | None
    batch: int | None
    within_s: float
    breaker: Breaker | None
    dead_letter: str | None


def read_rules(options: QueueOptions, batch: int | None = None) -> QueueRules:
    """Return the rules that options come to; ``batch`` jobs are worked in one call.

    Raises:
        InvalidJobOptions: a value that cannot be.
        TypeError: no such option.
    """
    _check_known(options)
    weight = _read_weight(options.get("weight", Weight.LIGHT))
    backoff = options.get("backoff")
    limiter, group_limit = _read_limits(options)
    return QueueRules(
        weight=weight,
        concurrency=_read_concurrency(options, 1 if batch else CLASSES[weight].concurrency),
        job_options=_job_options(options),
        run_limit_s=_read_run_limit_s(options),
        limiter=limiter,
        group=_read_group(options),
        group_limit=group_limit,
        add_limit=_read_rate(options, "add_limit"),
        backoff=backoff if callable(backoff) else None,
        batch=batch,
        within_s=_read_within_ms(options, batch) / 1000,
        breaker=options.get("breaker"),
        dead_letter=options.get("dead_letter"),
    )


def read_add_options(
    id: str | None,
    delay: Span | None,
    priority: int | None,
    dedup: str | Mapping[str, object] | None = None,
) -> dict[str, object]:
    """Return what one job is added with, as ``Queue.add`` takes it.

    Raises:
        InvalidJobOptions: a span that is none.
    """
    return {
        "job_id": id,
        "delay": None if delay is None else read_span_ms("delay", delay),
        "priority": priority,
        "deduplication": _read_dedup(dedup),
    }


def _read_weight(weight: object) -> Weight:
    try:
        return Weight(weight)  # type: ignore[arg-type]
    except ValueError as exc:
        raise InvalidJobOptions("weight", weight, ", ".join(Weight)) from exc


def _check_known(options: QueueOptions) -> None:
    unknown = ", ".join(sorted(options.keys() - QueueOptions.__annotations__.keys()))
    if unknown:
        known = ", ".join(sorted([*QueueOptions.__annotations__, "batch"]))
        raise TypeError(f"a queue has no option {unknown}; its options are {known}")


def _job_options(options: QueueOptions) -> dict[str, object]:
    read: dict[str, object] = {"attempts": options.get("attempts", 1)}
    if "backoff" in options:
        read["backoff"] = read_backoff(options["backoff"])
    if "keep" in options:
        read["remove_on_complete"] = read["remove_on_fail"] = read_keep(options["keep"])
    read_options(read, {})
    return read


def _read_rate(
    options: QueueOptions, option: Literal["limit", "add_limit", "group_limit"]
) -> tuple[int, int] | None:
    return read_rate(option, options[option]) if option in options else None


def _read_limits(
    options: QueueOptions,
) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
    """Return the limit of all jobs, and that of each group."""
    of_all, of_group = _read_rate(options, "limit"), _read_rate(options, "group_limit")
    if _read_group(options) is None:
        if of_group is not None:
            raise InvalidJobOptions("group_limit", options["group_limit"], "only with group")
        return of_all, None
    if of_all is None and of_group is None:
        raise InvalidJobOptions("group", options["group"], "only with group_limit or limit")
    return (of_all, of_group) if of_group is not None else (None, of_all)


def _read_group(options: QueueOptions) -> str | None:
    group: object = options.get("group")
    if group is not None and not (isinstance(group, str) and group):
        raise InvalidJobOptions("group", group, "the name of a field of the data")
    return group


def _read_within_ms(options: QueueOptions, batch: int | None) -> int:
    if batch is not None:
        check_batch(batch)
    elif "within" in options:
        raise InvalidJobOptions("within", options["within"], "only with batch")
    within_ms = read_span_ms("within", options.get("within", 0))
    if "timeout" in options and within_ms >= read_span_ms("timeout", options["timeout"]):
        raise InvalidJobOptions("within", options.get("within"), "a span shorter than timeout")
    return within_ms


def _read_concurrency(options: QueueOptions, usual: int) -> int:
    accepted = f"a whole number from 1 to {MAX_CONCURRENCY}"
    readers = {"concurrency": (whole_between(1, MAX_CONCURRENCY), accepted)}
    concurrency: int = read_option(readers, "concurrency", options.get("concurrency", usual))
    return concurrency


def _read_run_limit_s(options: QueueOptions) -> float | None:
    if "timeout" not in options:
        return None
    timeout_ms = read_span_ms("timeout", options["timeout"])
    if timeout_ms == 0:
        raise InvalidJobOptions("timeout", options["timeout"], "a span of more than nothing")
    return timeout_ms / 1000


def _read_dedup(dedup: str | Mapping[str, object] | None) -> Mapping[str, object] | None:
    if dedup is None or isinstance(dedup, str):
        return None if dedup is None else {"id": dedup}
    ttl = dedup.get("ttl")
    return dedup if ttl is None else {**dedup, "ttl": read_span_ms("dedup ttl", ttl)}
