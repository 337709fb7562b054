"""What workers log: events with fields, under the package's name."""

import logging
from collections.abc import Callable

log = logging.getLogger("feedmill")

Sink = Callable[..., None]

_COURSE = frozenset(
    {
        "job_started",
        "job_succeeded",
        "job_failed",
        "job_postponed",
        "job_put_back",
        "job_moved",
    }
)


def is_course(event: str) -> bool:
    """Return whether an event is of the course of a job."""
    return event in _COURSE


def level_of(event: str) -> int:
    """Return the level an event is logged at: the end of trouble is none."""
    if is_course(event):
        return logging.DEBUG
    return logging.INFO if event == "breaker_closed" else logging.WARNING


def _log(event: str, **fields: object) -> None:
    log.log(level_of(event), "%s %s", event, fields)


class _Reports:
    """Where this process's workers report to."""

    sink: Sink = staticmethod(_log)


_reports = _Reports()


def log_event(event: str, **fields: object) -> None:
    """Log an event at its level, unless the process has a sink."""
    _reports.sink(event, **fields)


def report_to(sink: Sink) -> None:
    """Have all workers of this process report to ``sink``, given an event and its fields."""
    _reports.sink = sink
