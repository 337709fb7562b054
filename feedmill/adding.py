"""Adding jobs to a queue."""

from collections.abc import Mapping, Sequence
from typing import Any

from feedmill.base import QueueBase
from feedmill.jobs import Job
from shared.errors import InvalidJobOptions, JobStateError
from shared.queue.enqueueing import (
    OTHER_PARENT,
    AddLimit,
    Enqueued,
    EnqueueOutcome,
    Payload,
    enqueue_many,
    payload,
    view_of,
)
from shared.queue.options import read_options

# The data of a job that is added without any, as Node stores it.
_NO_DATA: Mapping[str, object] = {}
_ENTRY = ("name", "data", "opts")


class Adding(QueueBase):
    """The part of a queue that adds jobs."""

    def add(
        self, name: str, data: object = _NO_DATA, *, caller: str | None = None, **options: object
    ) -> Job[Any]:
        """Add a job and return it; ``data`` is whatever JSON can hold.

        ``options`` are BullMQ's in Python's case: ``job_id``, ``delay``, ``priority``, ``lifo``,
        ``attempts``, ``backoff``, ``remove_on_complete``, ``remove_on_fail``, ``deduplication``,
        ``parent``, ``timestamp``, ``keep_logs``, ``stack_trace_limit``, ``size_limit``. Where the
        ``job_id`` is taken, or another job stands for this one, nothing is added and the job that
        is there is returned. ``caller`` is who adds, for a queue with an ``add_limit``.

        Safe to repeat with a ``job_id`` only: after a lost reply the job may be there without one.

        Raises:
            InvalidJobOptions, InvalidJobId, UnencodableJob: nothing was added.
            AddLimitExceeded: the caller's window is used up; nothing was added.
            JobNotFound: its parent is not there; nothing was added.
            JobStateError: the ``job_id`` is taken by the child of another parent.
            QueueFull: Redis has no room; nothing was added.
        """
        [job] = self._add([self._payload(name, data, options)], caller)
        return job

    def add_bulk(
        self, jobs: Sequence[Mapping[str, Any]], *, caller: str | None = None
    ) -> list[Job[Any]]:
        """Add jobs in order, each a mapping of ``name`` and, where wanted, ``data`` and ``opts``.

        500 jobs or 8 MiB a round trip, each of these whole or not at all. Otherwise as :meth:`add`.
        """
        return self._add([self._payload(*_read_entry(entry)) for entry in jobs], caller)

    def _payload(self, name: str, data: object, options: Mapping[str, object]) -> Payload:
        if not isinstance(name, str):
            raise InvalidJobOptions("name", name, "a text")
        return payload(self.core, name, data, read_options(self.default_job_options, options))

    def _add(self, jobs: Sequence[Payload], caller: str | None) -> list[Job[Any]]:
        limit = AddLimit(*self.add_limit, caller or "") if self.add_limit else None
        enqueued = enqueue_many(self.core, jobs, limit=limit)
        _refuse_other_parent(enqueued)
        others = [each.id for each in enqueued if each.outcome is not EnqueueOutcome.ADDED]
        there = dict(zip(others, self.core.get_jobs(others), strict=True))
        # One that has ended and gone meanwhile is returned as it was asked for.
        views = [
            there.get(each.id) or view_of(job, each)
            for job, each in zip(jobs, enqueued, strict=True)
        ]
        return [Job.of(self.core, view) for view in views]


def _read_entry(entry: Mapping[str, Any]) -> tuple[str, object, Mapping[str, object]]:
    is_known = isinstance(entry, Mapping) and entry.keys() <= set(_ENTRY)
    if not is_known or not isinstance(entry.get("name"), str):
        raise InvalidJobOptions("a job of a bulk", entry, "a mapping of name, data and opts")
    return entry["name"], entry.get("data", _NO_DATA), entry.get("opts") or {}


def _refuse_other_parent(enqueued: Sequence[Enqueued]) -> None:
    for each in enqueued:
        if each.outcome is EnqueueOutcome.OTHER_PARENT:
            raise JobStateError(each.id, OTHER_PARENT)
