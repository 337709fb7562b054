"""A declared queue below: its function, the type of its data, and the queue in Redis."""

import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Generic, TypeVar, cast

from feedmill.configuring import Place, current_place
from feedmill.jobs import Job
from feedmill.payloads import PayloadType, read_payload_type
from feedmill.queues import Queue
from feedmill.rules import QueueRules
from shared.errors import InvalidJobOptions, QueueError, UnrecoverableError

M = TypeVar("M")


class DeclaredBase(Generic[M]):
    """What each part of a declared queue stands on."""

    def __init__(self, name: str, function: Callable[..., Any], rules: QueueRules) -> None:
        self.name = name
        self.rules = rules
        self._function = function
        in_batches = rules.batch is not None
        self._payload: PayloadType[M] = read_payload_type(name, function, in_batches=in_batches)
        self._check_group()
        self._opening = threading.Lock()
        self._opened: tuple[Place, Queue] | None = None

    def __repr__(self) -> str:
        return f"<queue {self.name!r} worked by {self._function.__qualname__}>"

    @property
    def queue(self) -> Queue:
        """The queue itself, for all that a queue can do.

        Raises:
            QueueError: no Redis is named.
        """
        place = current_place()
        with self._opening:
            if self._opened is None or self._opened[0] is not place:
                self._opened = (place, self._open(place))
            return self._opened[1]

    @property
    def dead_letters(self) -> Queue:
        """The queue of its jobs that have failed for good.

        Raises:
            QueueError: no Redis is named, or it was declared without ``dead_letter``.
        """
        if self.rules.dead_letter is None:
            raise QueueError(f"{self!r} was declared without dead_letter")
        place = current_place()
        return Queue(self.rules.dead_letter, place.client, prefix=place.prefix, clock=place.clock)

    @property
    def job_name(self) -> str:
        """The name of its jobs: the function's."""
        return self._function.__name__

    def _check_group(self) -> None:
        # A name that no job has would limit none, and nobody would know.
        group, fields = self.rules.group, self._payload.written_fields()
        if group is not None and fields is not None and group not in fields:
            accepted = f"a field of {self._payload.name}: {', '.join(sorted(fields))}"
            raise InvalidJobOptions("group", group, accepted)

    def _open(self, place: Place) -> Queue:
        return Queue(
            self.name,
            place.client,
            prefix=place.prefix,
            default_job_options=self.rules.job_options,
            add_limit=self.rules.add_limit,
            clock=place.clock,
        )

    def _write(self, data: M | None) -> object:
        return self._payload.write(cast(M, {}) if data is None else data)

    def _read(self, job: Job[Any]) -> Job[M]:
        return replace(job, data=self._payload.read(job.data))

    def _show(self, job: Job[Any]) -> Job[M]:
        # It may be one that was there, added by an older program.
        try:
            return self._read(job)
        except UnrecoverableError:
            return job
