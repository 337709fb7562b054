"""How long a failed job waits before its next run, as BullMQ reckons it."""

import random
from collections.abc import Callable, Mapping

MAX_DELAY_MS = 7 * 24 * 60 * 60 * 1000


def backoff_delay_ms(
    backoff: Mapping[str, object] | float | None,
    attempts_made: int,
    *,
    draw: Callable[[], float] = random.random,
) -> int:
    """Return the delay in ms before run ``attempts_made + 1``; 0 means at once.

    ``backoff`` is a job's ``opts.backoff``: a number (fixed), or a mapping of ``type`` (``fixed``
    or ``exponential``), ``delay`` in ms and ``jitter`` (0 to 1). ``attempts_made`` counts the run
    that just failed, so it is at least 1. What cannot be read as such means no delay; a type that
    only its producer knows is taken as fixed. Never more than a week.
    """
    if not isinstance(backoff, Mapping):
        return _whole_ms(_number(backoff))
    delay_ms = _number(backoff.get("delay"))
    if backoff.get("type") == "exponential":
        delay_ms *= 2.0 ** min(max(attempts_made - 1, 0), 64)
    jitter = min(_number(backoff.get("jitter")), 1.0)
    return _whole_ms(draw() * delay_ms * jitter + delay_ms * (1 - jitter))


def _number(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # Not `max`: a comparison with NaN is false, so NaN ends as 0 too.
    return float(value) if is_number and 0 < value < float("inf") else 0.0  # type: ignore[operator, arg-type]


def _whole_ms(delay_ms: float) -> int:
    return int(min(delay_ms, MAX_DELAY_MS))
