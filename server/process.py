"""All parts of one server, made from its settings: what runs in the background, what serves."""

import logging
import threading
from contextlib import AbstractContextManager
from datetime import timedelta
from functools import partial
from importlib.metadata import version
from random import random as draw_random

import orjson
from structlog.contextvars import bound_contextvars

from server.feeds.discovery import FeedDiscoverer
from server.feeds.outcomes import Outcomes
from server.feeds.retry_after import RetryAfter
from server.feeds.scheduler import Scheduler
from server.feeds.schedules import Random
from server.feeds.service import FeedService
from server.feeds.starter import FeedReservations, ImportStarter
from server.fetching.addresses import check_url
from server.fetching.egress import Egress
from server.fetching.fetcher import Fetcher
from server.fetching.host_slots import HostSlots
from server.fetching.network import Resolver, resolve
from server.importing.audit_requests import AuditRequests
from server.importing.auditor import Auditor
from server.importing.enqueueing import Enqueuer, ItemJobOptions
from server.importing.fetching import FeedReader
from server.importing.healer import Healer
from server.importing.importer import Importer, ImportLimits
from server.importing.metrics import ImportMetrics
from server.importing.remover import Remover
from server.importing.replayer import Replayer
from server.parsing.isolation import ParserPool
from server.services import Services
from shared.clock import Clock
from shared.dead_jobs import readable_data
from shared.logs import get_logger
from shared.queue import (
    CLASS_LIMITS,
    ClaimedJob,
    JobClass,
    JobQueue,
    RedisConnection,
    Upkeep,
    Worker,
)
from shared.settings import Settings
from shared.startup import ensure_indexes, rate_limit
from shared.store import Stores
from shared.supervision import Supervisor

log = get_logger("server")

# More than the machine has cores for gains nothing; a slow document must not stop the others.
PARSER_PROCESSES = 2
FETCH_STOP_S = 3.0
# When a run of the fetch queue is given up.
RUN_LIMIT_S = CLASS_LIMITS[JobClass.MEDIUM].run_limit_s
# How much of that it may use to fetch and parse; the rest is for storing what was read.
DEADLINE_SHARE = 0.8
# A fetch job whose run vanishes (its server died or froze) more often fails its import.
FETCH_MAX_STALLED = 2
_JOB_EVENTS = frozenset({"job_started", "job_succeeded", "job_failed", "job_postponed"})


class ServerProcess:
    """The server without its HTTP side: start it, serve ``services``, stop it.

    Or leave it unstarted and drive its parts on one's own thread: ``scheduler.tick``,
    ``fetch_one``, ``auditor.look``; then ``close`` it.

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
        resolver: Resolver = resolve,
        run_limit_s: float = RUN_LIMIT_S,
    ) -> None:
        self._stop = threading.Event()
        self._given_up = threading.Event()
        self.supervisor = Supervisor(clock, log.error, give_up=lambda _thread: self._given_up.set())
        self._stores = stores

        def queue(name: str) -> JobQueue:
            return JobQueue(redis, name, prefix=settings.queue_prefix, clock=clock)

        light, heavy = queue(settings.light_queue), queue(settings.heavy_queue)
        dead_letters, fetches = queue(settings.dead_letter_queue), queue(settings.fetch_queue)
        enqueuer = Enqueuer(
            light_queue=light,
            heavy_queue=heavy,
            heavy_items=settings.heavy_items,
            options=ItemJobOptions(settings.job_attempts, settings.job_backoff_ms),
        )
        metrics = ImportMetrics()
        outcomes = Outcomes(clock, metrics.note_end)
        self.reservations = FeedReservations(
            stores,
            fetches,
            clock,
            keep_completed=settings.keep_completed,
            keep_failed=settings.keep_failed,
        )
        healer = Healer(
            stores=stores,
            reservations=self.reservations,
            item_queues=[light, heavy],
            dead_letter_queue=dead_letters,
            fetch_queue=fetches,
            rate_limit=rate_limit(settings),
            keep_imports=timedelta(days=settings.keep_imports_days),
            keep_dead=timedelta(days=settings.keep_dead_days) if settings.keep_dead_days else None,
            outcomes=outcomes,
            clock=clock,
        )
        self.audits = AuditRequests()
        self.auditor = Auditor(
            stores=stores,
            enqueuer=enqueuer,
            dead_letter_queue=dead_letters,
            healer=healer,
            requests=self.audits,
            outcomes=outcomes,
            clock=clock,
        )
        self._fetcher = Fetcher(
            allow_private=settings.fetch_allow_private,
            timeout_s=settings.fetch_timeout_s,
            max_bytes=settings.fetch_max_bytes,
            user_agent=user_agent(),
            clock=clock,
            resolver=resolver,
        )
        self._parser = ParserPool(PARSER_PROCESSES, salvage=settings.feed_salvage)
        host_slots = HostSlots(settings.fetch_per_host, clock, lease_s=run_limit_s)
        retry_after = RetryAfter(stores, clock)
        importer = Importer(
            stores=stores,
            reader=FeedReader(
                documents=stores.documents,
                fetcher=self._fetcher,
                egress=Egress(clock),
                retry_after=retry_after,
                parser=self._parser,
                clock=clock,
                metrics=metrics,
            ),
            host_slots=host_slots,
            enqueuer=enqueuer,
            dead_letter_queue=dead_letters,
            audits=self.audits,
            outcomes=outcomes,
            clock=clock,
            random=random,
            limits=ImportLimits(settings.job_max_bytes, run_limit_s * DEADLINE_SHARE),
        )
        self._fetch_worker = Worker(
            fetches,
            importer.run_job,
            concurrency=settings.fetch_concurrency,
            lock_ms=settings.worker_lock_ms,
            clock=clock,
            after_settle=self._start_next_import,
            on_final_failure=importer.give_up,
            around_job=bind_import,
            run_limit_s=run_limit_s,
            isolates_solo=False,
            log_event=log_fetch_event,
            supervisor=self.supervisor,
        )
        self._fetch_upkeep = fetch_upkeep(fetches, settings, clock, self.supervisor)
        self.scheduler = Scheduler(
            stores=stores,
            reservations=self.reservations,
            clock=clock,
            max_per_host=settings.fetch_per_host,
        )
        item_queues = [light, heavy]
        check = partial(check_url, allow_private=settings.fetch_allow_private)
        feeds = FeedService(stores, fetches, clock, check, outcomes)
        self._limited_queues = item_queues
        self._rate_limit = rate_limit(settings)
        self.services = Services(
            settings=settings,
            clock=clock,
            stores=stores,
            light_queue=light,
            heavy_queue=heavy,
            dead_letter_queue=dead_letters,
            fetch_queue=fetches,
            starter=ImportStarter(stores, self.reservations, feeds, clock),
            feeds=feeds,
            discoverer=FeedDiscoverer(
                fetcher=self._fetcher,
                parser=self._parser,
                check_url=check,
                retry_after=retry_after,
                host_slots=host_slots,
                clock=clock,
            ),
            replayer=Replayer(
                stores=stores,
                enqueuer=enqueuer,
                audits=self.audits,
                clock=clock,
            ),
            remover=Remover(
                stores=stores,
                item_queues=item_queues,
                dead_letter_queue=dead_letters,
                clock=clock,
            ),
            import_metrics=metrics,
            supervisor=self.supervisor,
        )

    def start(self) -> None:
        """Begin to fetch, to tick and to audit.

        Raises:
            StoreUnavailable, QueueUnavailable: a store is away.
            StoreError: an index cannot be made; the text names it.
        """
        ensure_indexes(self._stores)
        for queue in self._limited_queues:
            queue.set_rate_limit(self._rate_limit)
        self._repair_url_keys()
        self._fetch_upkeep.start()
        self._fetch_worker.start()
        self.auditor.start(self.supervisor, self._stop)
        self.scheduler.start(self.supervisor, self._stop)

    def stop(self) -> None:
        """End in the order in which work flows; fetches under way get 3 s, then are handed back."""
        self._stop.set()
        self.audits.note_committed()
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
        self._parser.close()
        self._fetcher.close()

    def _repair_url_keys(self) -> None:
        twice = self._stores.feeds.repair_url_keys()
        if twice:
            # Made before URLs were unique. Their items are stored twice until one is removed.
            log.warning("feeds_with_urls_of_others", feeds=len(twice), sources=twice[:20])

    def _start_next_import(self, settled: ClaimedJob) -> None:
        """Add the job of the import that the feed names by now.

        While this job was active its id was taken, so that an import claimed meanwhile got none.
        """
        data = orjson.loads(settled.raw_data)
        feed = self._stores.feeds.get(data["source"])
        if feed is None or feed.running_import in (None, data["import_id"]):
            return
        named = self._stores.imports.get(feed.running_import or "")
        if named is not None:
            self.reservations.add_fetch_jobs([named])


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


def user_agent() -> str:
    """Return the name under which feeds are fetched: who asks, for what, and how to slow it down.

    A feed's own ``headers`` can say more, as the address of whoever runs this.
    """
    return (
        f"Feedmill/{version('feedmill')} (imports this feed into its operator's database; "
        "honours Cache-Control, Retry-After and 410)"
    )
