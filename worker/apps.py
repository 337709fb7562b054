"""The queues that an app declares, as one of the processes that a worker runs."""

import logging
import os
import sys
import threading
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from feedmill import Declared, configure
from feedmill.apps import AppWorkers, load_app
from feedmill.configuring import close_place, current_place
from feedmill.reporting import is_course, level_of, report_to
from feedmill.rules import Weight
from shared.clock import Clock
from shared.errors import AppError, QueueError
from shared.logs import get_logger
from shared.queue import RateLimit, WorkerSign, WorkerSigns
from shared.queue.registry import DEAD_LETTERS, REGISTER_EVERY_S, QueueRecord, QueueRegistry
from shared.settings import Settings
from shared.startup import check_queues
from shared.supervision import Supervisor
from worker.signalling import Signaller, make_worker_id, why_stopped

log = get_logger("worker.app")

# So long a stop may take beyond the wait for jobs.
AFTER_JOBS_S = 3.0
REGISTRAR_ENDS_WITHIN_S = 0.5
REGISTER_RETRY_S = 5.0
WEIGHTS = {
    "light": {Weight.LIGHT, Weight.MEDIUM},
    "heavy": {Weight.HEAVY},
    "all": set(Weight),
}


class AppProcess:
    """The queues of an app, of those weights that WORKER_TYPE names: run until it is stopped.

    They are where the process is configured to have them. ``stops_within_s`` is how long a stop may
    take, which waits for jobs.
    """

    def __init__(self, declared: Sequence[Declared[Any]], settings: Settings, clock: Clock) -> None:
        self._stop = threading.Event()
        self._jobs_s = settings.app_stop_s
        self.stops_within_s = settings.app_stop_s + AFTER_JOBS_S
        self.supervisor = Supervisor(clock, log.error)
        worker_id = make_worker_id()
        self.workers = AppWorkers(declared, WEIGHTS[settings.worker_type], worker_id)
        place = current_place()
        self._registry = QueueRegistry(place.client, prefix=place.prefix, clock=clock)
        self._is_registered = False
        self._signaller = Signaller(
            WorkerSigns(place.client, prefix=place.prefix),
            self._describe,
            clock,
            self.supervisor,
            worker_id,
        )

    @property
    def queue_names(self) -> list[str]:
        """The names of the queues that are worked."""
        return [each.name for each in self.workers.declared]

    def run(self) -> None:
        """Work until :meth:`stop`; then end workers, queues and connections, in this order."""
        with ExitStack() as ends:
            ends.callback(close_place)
            ends.callback(self._signaller.stop)
            ends.callback(self.workers.close, self._jobs_s)
            self.workers.start()
            self._signaller.start()
            registrar = self.supervisor.start(
                "registrar", self._register, self._stop, is_essential=False
            )
            # A round that comes late would open the place anew.
            ends.callback(registrar.join, REGISTRAR_ENDS_WITHIN_S)
            ends.callback(self._stop.set)
            self._stop.wait()

    def stop(self) -> None:
        """Begin to hand over. Safe to call again, and in a signal handler."""
        self._stop.set()

    def _register(self) -> float:
        """Write down what is worked, and let schedules begin: each time, for Redis may forget.

        At the start alone schedules are changed and end: later another worker may be newer.
        """
        try:
            known = {} if self._is_registered else self._read_schedules()
            for each in self.workers.declared:
                each.make_schedules(known.get(each.name, ()), only_missing=self._is_registered)
            self._registry.register(_records_of(self.workers.declared))
        except QueueError as exc:
            log.warning("register_failed", error=str(exc))
            return REGISTER_RETRY_S
        self._is_registered = True
        return REGISTER_EVERY_S

    def _read_schedules(self) -> dict[str, tuple[str, ...]]:
        return {record.name: record.schedules for record in self._registry.read()}

    def _describe(self, worker_id: str, up_s: float) -> list[WorkerSign]:
        # One for each queue: each has trouble of its own.
        breakers = self.workers.breakers()
        return [
            WorkerSign(f"{worker_id}:{name}", (name,), running, up_s, *why_stopped(breakers[name]))
            for name, running in self.workers.running_counts().items()
        ]


def _records_of(declared: Sequence[Declared[Any]]) -> list[QueueRecord]:
    """Return what to write down: the queues that are worked, and those of their dead letters."""
    worked = {each.name: _record_of(each) for each in declared}
    dead_letters = {name for each in declared if (name := each.rules.dead_letter) is not None}
    rest = sorted(dead_letters - worked.keys())
    return [*worked.values(), *(QueueRecord(name, DEAD_LETTERS) for name in rest)]


def _record_of(declared: Declared[Any]) -> QueueRecord:
    rules = declared.rules
    limit = None if rules.limiter is None else RateLimit(*rules.limiter)
    return QueueRecord(declared.name, rules.weight, limit, declared.schedule_ids)


def open_app(settings: Settings, clock: Clock) -> AppProcess:
    """Import the app that the settings name, and make sure that its Redis serves its queues.

    Raises:
        SettingsError: no Redis is named.
        AppError: it cannot be imported, or declares no queue.
        QueueError: Redis cannot be reached, or refuses what is needed.
    """
    configure(settings.named_redis(), prefix=settings.queue_prefix)
    report_to(log_app_event)
    # Last, for the folder may hold a "server" of its own.
    sys.path.append(os.getcwd())
    try:
        declared = load_app(settings.feedmill_app)
    except AppError as exc:
        raise AppError(f"FEEDMILL_APP: {exc}") from exc
    _refuse_our_names(declared, settings)
    process = AppProcess(declared, settings, clock)
    if not process.queue_names:
        log.warning("app_has_no_such_queues", worker_type=settings.worker_type)
        return process
    place = current_place()
    check_queues(place.client, place.prefix, process.queue_names)
    return process


def _refuse_our_names(declared: Sequence[Declared[Any]], settings: Settings) -> None:
    ours = {
        settings.light_queue,
        settings.heavy_queue,
        settings.dead_letter_queue,
        settings.fetch_queue,
    }
    for each in declared:
        if each.name in ours or each.rules.dead_letter in ours:
            raise AppError(
                f"FEEDMILL_APP: {each!r}: a queue of that name is Feedmill's own; choose another"
            )


def log_app_event(event: str, **fields: object) -> None:
    """Log what an app's workers report: of the course of jobs only what failed for good."""
    is_failure = is_course(event) and fields.get("is_last")
    log.log(logging.WARNING if is_failure else level_of(event), event, **fields)
