"""How much of a queue may run: its rate, and what a class of jobs is given."""

from dataclasses import dataclass
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class RateLimit:
    """BullMQ's limiter: at most ``max_jobs`` started per fixed window, over all workers.

    0 jobs is no limit.
    """

    max_jobs: int
    duration_ms: int


class JobClass(StrEnum):
    """How heavy one job of a queue is."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"


@dataclass(frozen=True, slots=True)
class ClassLimits:
    """What a queue of a class gets unless told otherwise."""

    concurrency: int
    run_limit_s: float


CLASS_LIMITS = {
    JobClass.LIGHT: ClassLimits(concurrency=50, run_limit_s=30.0),
    JobClass.MEDIUM: ClassLimits(concurrency=10, run_limit_s=300.0),
    JobClass.HEAVY: ClassLimits(concurrency=3, run_limit_s=3600.0),
}
