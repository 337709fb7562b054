"""When jobs of a declared queue come by the clock; its workers see to it."""

import logging
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypedDict

from feedmill.queues import Queue
from feedmill.scheduling import JobScheduler
from feedmill.spans import read_times
from shared.errors import InvalidJobOptions, JobStateError
from shared.queue.repeats import Repeat, read_repeat
from shared.queue.schedulers import check_scheduler_id

# What makes a schedule another one.
_SAME = ("pattern", "every", "tz", "limit", "end_date")

log = logging.getLogger("feedmill")


@dataclass(frozen=True, slots=True)
class Schedule:
    """A scheduler that a queue is declared with; ``read`` is what ``repeat`` comes to."""

    id: str
    repeat: Mapping[str, object]
    read: Repeat
    template: Mapping[str, object]


class ScheduleOptions(TypedDict, total=False):
    """What else a schedule can be told."""

    id: str
    """Tells it from others of its queue; the function's name unless told."""
    tz: str
    """The zone of a crontab pattern; UTC unless told."""
    limit: int
    """So many jobs in all."""
    end: datetime
    """The time after which none comes, with its zone."""


def read_schedule(
    name: str, when: object, template: Mapping[str, object], options: ScheduleOptions
) -> Schedule:
    """Return a scheduler of a crontab pattern, or of a span.

    Raises:
        InvalidJobOptions: a value that cannot be.
        TypeError: no such option.
    """
    unknown = ", ".join(sorted(options.keys() - ScheduleOptions.__annotations__.keys()))
    if unknown:
        known = ", ".join(sorted(ScheduleOptions.__annotations__))
        raise TypeError(f"a schedule has no option {unknown}; its options are {known}")
    repeat = {
        **read_times(when),
        "tz": options.get("tz"),
        "limit": options.get("limit"),
        "end_date": options.get("end"),
    }
    if "every" in repeat and "tz" in options:
        raise InvalidJobOptions("tz", options["tz"], "none with a span, which needs none")
    # One that is over by now is none to refuse: it has been right once.
    read = read_repeat(repeat, 0)
    return Schedule(check_scheduler_id(options.get("id", name)), repeat, read, template)


def make_schedules(
    queue: Queue, schedules: Sequence[Schedule], former: Collection[str], *, only_missing: bool
) -> None:
    """Make a queue's schedulers, and remove those of ``former`` ids that are declared no more.

    Safe to repeat, and from several workers at once. One that cannot be made is logged.

    Raises:
        QueueUnavailable: some may be made.
    """
    for each in schedules:
        there = queue.get_job_scheduler(each.id)
        if not (only_missing and there) and not _is_over(each, there, queue.core.clock.now_ms()):
            _make(queue, each)
    for schedule_id in set(former) - {each.id for each in schedules}:
        queue.remove_job_scheduler(schedule_id)


def _is_over(schedule: Schedule, there: JobScheduler | None, now_ms: int) -> bool:
    """Return whether the last job of a schedule is made; it would begin anew."""
    read = schedule.read
    if read.end_date is not None and read.end_date <= now_ms:
        return True
    if there is None or read.limit is None or there.iteration_count < read.limit:
        return False
    return all(getattr(there.repeat, name) == getattr(read, name) for name in _SAME)


def _make(queue: Queue, schedule: Schedule) -> None:
    try:
        queue.upsert_job_scheduler(schedule.id, schedule.repeat, schedule.template)
    except (InvalidJobOptions, JobStateError) as exc:
        log.warning("schedule_not_made %s", {"queue": queue.name, "error": str(exc)})
