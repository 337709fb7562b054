"""One server without its HTTP side: what runs in the background, from start to stop."""

import logging
import threading
from contextlib import AbstractContextManager
from functools import partial
from random import random as draw_random

import orjson
from structlog.contextvars import bound_contextvars

from server.composition import (
    RUN_LIMIT_S,
    Base,
    Web,
    make_auditor,
    make_base,
    make_dispatcher,
    make_importer,
    make_rollbacks,
    make_services,
    make_web,
)
from server.feeds.scheduler import Scheduler
from server.feeds.schedules import Random
from server.importing.importer import Importer
from shared.clock import Clock
from shared.dead_jobs import readable_data
from shared.logs import get_logger
from shared.queue import (
    ClaimedJob,
    EndedRun,
    JobQueue,
    RedisConnection,
    RunRules,
    Upkeep,
    Worker,
    WorkerOptions,
)
from shared.settings import Settings
from shared.startup import ensure_indexes
from shared.store import Stores
from shared.supervision import Supervisor

log = get_logger("server")

FETCH_STOP_S = 3.0
# A fetch job whose run vanishes (its server died or froze) more often fails its import.
FETCH_MAX_STALLED = 2
_JOB_EVENTS = frozenset({"job_started", "job_succeeded", "job_failed", "job_postponed"})


class ServerProcess:
    """The server without its HTTP side: start it, serve ``services``, stop it.

    Or leave it unstarted and drive its parts on one's own thread: ``scheduler.tick``,
    ``dispatcher.look``, ``fetch_one``, ``auditor.look``; then ``close`` it.

    A run of an import is given up after ``run_limit_s``; it fetches and parses for the first four
    fifths of that.
    """

    def __init__(
        self,
        settings: Settings,
        redis: RedisConnection,
        stores: Stores,
        clock: Clock,
        random: Random = draw_random,
        *,
        web: Web | None = None,
        run_limit_s: float = RUN_LIMIT_S,
    ) -> None:
        self._stop = threading.Event()
        self._given_up = threading.Event()
        self.supervisor = Supervisor(clock, log.error, give_up=lambda _thread: self._given_up.set())
        web = web or make_web(settings, clock, run_limit_s=run_limit_s)
        base = make_base(settings, redis, stores, clock, random, web, run_limit_s)
        self.base = base
        self.importer = make_importer(base)
        self.auditor = make_auditor(base)
        self.scheduler = Scheduler(
            stores=stores,
            reservations=base.reservations,
            changes=base.changes,
            clock=clock,
            max_per_host=settings.fetch_per_host,
        )
        rollbacks = make_rollbacks(base, self.auditor, self._stop)
        self.dispatcher = make_dispatcher(base, settle=rollbacks.settle)
        self.services = make_services(base, self.dispatcher, rollbacks, self.supervisor)
        self._fetch_worker = make_fetch_worker(base, self.importer, self.supervisor)
        self._fetch_upkeep = fetch_upkeep(base.queues.fetches, settings, clock, self.supervisor)

    def start(self) -> None:
        """Begin to fetch, to tick and to audit.

        Raises:
            StoreUnavailable, QueueUnavailable: a store is away.
            StoreError: an index cannot be made; the text names it.
        """
        ensure_indexes(self.base.stores)
        self.base.item_limiter.apply()
        self._repair_url_keys()
        self._fetch_upkeep.start()
        self._fetch_worker.start()
        self.auditor.start(self.supervisor, self._stop)
        self.scheduler.start(self.supervisor, self._stop)
        self.dispatcher.start(self.supervisor, self._stop)

    def stop(self) -> None:
        """End in the order in which work flows; fetches under way get 3 s, then are handed back."""
        self._stop.set()
        self.base.audits.note_committed()
        self.base.pulls_wanted.set()
        self._fetch_worker.stop(FETCH_STOP_S)
        self._fetch_upkeep.stop(timeout_s=0.5)
        self.close()

    @property
    def must_end(self) -> bool:
        """Whether a thread was given up: the process is to stop, with exit code 1."""
        return self._given_up.is_set()

    def fetch_one(self) -> bool:
        """Work one fetch job to its settlement on this thread; False when none is ready."""
        return self._fetch_worker.step()

    def close(self) -> None:
        """Close the connections to publishers and end the parser's processes."""
        self.base.web.close()

    def _repair_url_keys(self) -> None:
        twice = self.base.stores.feeds.repair_url_keys()
        if twice:
            # Made before URLs were unique. Their items are stored twice until one is removed.
            log.warning("feeds_with_urls_of_others", feeds=len(twice), sources=twice[:20])


def make_fetch_worker(base: Base, importer: Importer, supervisor: Supervisor) -> Worker:
    """Return what works the fetch queue, each job a run of an import."""
    options = WorkerOptions(
        concurrency=base.settings.fetch_concurrency,
        lock_ms=base.settings.worker_lock_ms,
        run_limit_s=base.run_limit_s,
        rules=RunRules(may_retry=may_pass_by_itself),
        isolates_solo=False,
        after_settle=partial(_start_next_import, base),
        on_final_failure=base.failures.give_up,
        around_job=bind_import,
    )
    return Worker(
        base.queues.fetches,
        importer.run_job,
        options,
        clock=base.clock,
        log_event=log_fetch_event,
        supervisor=supervisor,
    )


def may_pass_by_itself(error: BaseException) -> bool:
    """Return whether a run that failed so may succeed later; refusals, bad documents will not."""
    return bool(getattr(error, "retryable", False))


def _start_next_import(base: Base, ended: EndedRun) -> None:
    """Add the job of the import that the feed names by now.

    While this job was active its id was taken, so that an import begun meanwhile got none.
    """
    if not ended.is_final:
        return
    data = orjson.loads(ended.job.raw_data)
    if "epoch" in data:
        base.pulls_wanted.set()
        return
    base.changes.set()
    running = base.stores.feeds.read_running_import(data["source"])
    if running is None or running == data["import_id"]:
        return
    named = base.stores.imports.get(running)
    if named is not None:
        base.reservations.add_fetch_jobs([named])


def fetch_upkeep(
    fetches: JobQueue, settings: Settings, clock: Clock, supervisor: Supervisor | None = None
) -> Upkeep:
    """Return what looks after the fetch queue: nothing there waits to run alone.

    Documents are parsed in processes apart, so a run cannot harm the runs beside it. One that
    vanishes again and again fails its import, and its feed backs off.
    """
    return Upkeep(
        [fetches],
        every_ms=settings.worker_stalled_ms,
        max_stalled=FETCH_MAX_STALLED,
        lock_ms=settings.worker_lock_ms,
        solo_first=False,
        clock=clock,
        log_event=log.info,
        supervisor=supervisor,
    )


def bind_import(job: ClaimedJob) -> AbstractContextManager[object]:
    """Put a fetch job's import and source into every line that its thread logs."""
    data = readable_data(job.raw_data)
    named = data if isinstance(data, dict) else {}
    return bound_contextvars(import_id=named.get("import_id"), source=named.get("source"))


def log_fetch_event(event: str, **fields: object) -> None:
    """Log what the fetch queue's worker tells: the course of single jobs at DEBUG only."""
    log.log(logging.DEBUG if event in _JOB_EVENTS else logging.WARNING, event, **fields)
