"""What workers log: events with fields, under the package's name."""

import logging

log = logging.getLogger("feedmill")

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


def log_event(event: str, **fields: object) -> None:
    """Log the course of jobs at DEBUG, all else at WARNING."""
    level = logging.DEBUG if event in _COURSE else logging.WARNING
    log.log(level, "%s %s", event, fields)
