"""How a server is put together: each part made from the settings, the stores and the web."""

import threading
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from importlib.metadata import version

from limits import parse as parse_limit

from server.feeds.backfills import BackFills
from server.feeds.discovery import FeedDiscoverer
from server.feeds.outcomes import ImportMetrics, Outcomes
from server.feeds.retry_after import RetryAfter
from server.feeds.rounds import BackFillLimits
from server.feeds.schedules import Random
from server.feeds.service import FeedChanges, FeedService
from server.feeds.starter import FeedReservations, ImportStarter
from server.feeds.windows import PullsWanted, Windows
from server.fetching.addresses import check_url
from server.fetching.egress import Egress
from server.fetching.fetcher import Fetcher
from server.fetching.host_slots import HostSlots
from server.fetching.network import Resolver, resolve
from server.importing.auditor import Auditor
from server.importing.dispatcher import Dispatcher, KeptJobs, Settle
from server.importing.enqueueing import AuditRequests, Enqueuer, ItemJobOptions
from server.importing.feed_reader import FeedReader
from server.importing.feed_step import Failures
from server.importing.healer import Healer
from server.importing.importer import Importer, ImportLimits
from server.importing.pages import PageLimits
from server.importing.remover import Remover
from server.importing.replayer import Replayer
from server.importing.rollbacks import Rollbacks
from server.item_limits import ItemLimiter
from server.own_queues import OwnQueues
from server.parsing.isolation import ParserPool
from server.services import Services
from shared.clock import Clock
from shared.item_limits import limits_of
from shared.partitions import open_item_queue
from shared.queue import (
    JobQueue,
    RedisConnection,
)
from shared.settings import Settings
from shared.store import Stores
from shared.supervision import Supervisor

# More than the machine has cores for gains nothing; a slow document must not stop the others.
PARSER_PROCESSES = 2
# When a run of the fetch queue is given up.
RUN_LIMIT_S = 300.0
# How much of that it may use to fetch and parse; the rest is for storing what was read.
DEADLINE_SHARE = 0.8


@dataclass(frozen=True, slots=True)
class Queues:
    """The queues of one deployment."""

    light: JobQueue
    heavy: JobQueue
    dead_letters: JobQueue
    fetches: JobQueue

    @property
    def names(self) -> list[str]:
        """The names of all of them."""
        return [each.name for each in (self.light, self.heavy, self.dead_letters, self.fetches)]

    @property
    def of_items(self) -> list[JobQueue]:
        """The queues that workers take items from."""
        return [self.light, self.heavy]


@dataclass(frozen=True, slots=True)
class Web:
    """What asks publishers, and reads what they answer."""

    fetcher: Fetcher
    parser: ParserPool
    host_slots: HostSlots

    def close(self) -> None:
        """Close the connections to publishers and end the parser's processes."""
        self.parser.close()
        self.fetcher.close()


@dataclass(frozen=True, slots=True)
class Base:
    """What nearly every part of a server is made of."""

    settings: Settings
    stores: Stores
    queues: Queues
    web: Web
    clock: Clock
    random: Random
    enqueuer: Enqueuer
    retry_after: RetryAfter
    reservations: FeedReservations
    metrics: ImportMetrics
    outcomes: Outcomes
    failures: Failures
    audits: AuditRequests
    changes: FeedChanges
    pulls_wanted: PullsWanted
    windows: Windows
    backfills: BackFills
    item_limiter: ItemLimiter
    run_limit_s: float

    def check_url(self, url: str) -> str:
        """Return a URL in its one spelling; see :func:`server.fetching.addresses.check_url`."""
        return check_url(url, allow_private=self.settings.fetch_allow_private)


def open_queues(settings: Settings, redis: RedisConnection, clock: Clock) -> Queues:
    """Return the queues that the settings name."""
    open_queue = partial(open_item_queue, settings, redis, clock=clock)
    return Queues(
        light=open_queue(settings.light_queue),
        heavy=open_queue(settings.heavy_queue),
        dead_letters=open_queue(settings.dead_letter_queue),
        fetches=JobQueue(redis, settings.fetch_queue, prefix=settings.queue_prefix, clock=clock),
    )


def make_web(
    settings: Settings,
    clock: Clock,
    *,
    resolver: Resolver = resolve,
    run_limit_s: float = RUN_LIMIT_S,
) -> Web:
    """Return a fetcher and a parser, with the limits of the settings."""
    fetcher = Fetcher(
        allow_private=settings.fetch_allow_private,
        timeout_s=settings.fetch_timeout_s,
        max_bytes=settings.fetch_max_bytes,
        user_agent=user_agent(),
        clock=clock,
        resolver=resolver,
    )
    return Web(
        fetcher,
        ParserPool(PARSER_PROCESSES, lenience=settings.feed_salvage),
        HostSlots(settings.fetch_per_host, clock, lease_s=run_limit_s),
    )


def make_base(
    settings: Settings,
    redis: RedisConnection,
    stores: Stores,
    clock: Clock,
    random: Random,
    web: Web,
    run_limit_s: float,
) -> Base:
    """Return what the parts share, on these stores and this web."""
    queues, metrics = open_queues(settings, redis, clock), ImportMetrics()
    outcomes, pulls_wanted = Outcomes(clock, metrics.note_end), PullsWanted()
    return Base(
        settings,
        stores,
        queues,
        web,
        clock,
        random,
        enqueuer=make_enqueuer(settings, queues),
        retry_after=RetryAfter(stores, clock),
        reservations=make_reservations(settings, stores, queues, clock),
        metrics=metrics,
        outcomes=outcomes,
        failures=Failures(stores, outcomes, clock, random),
        audits=AuditRequests(),
        changes=FeedChanges(),
        pulls_wanted=pulls_wanted,
        windows=Windows(stores, clock, outcomes, pulls_wanted),
        backfills=BackFills(stores, clock, pulls_wanted),
        item_limiter=ItemLimiter(stores.item_limits, queues.of_items, limits_of(settings), clock),
        run_limit_s=run_limit_s,
    )


def make_enqueuer(settings: Settings, queues: Queues) -> Enqueuer:
    """Return what adds an import's items to a queue."""
    return Enqueuer(
        light_queue=queues.light,
        heavy_queue=queues.heavy,
        heavy_items=settings.heavy_items,
        options=ItemJobOptions(settings.job_attempts, settings.job_backoff_ms),
    )


def make_reservations(
    settings: Settings, stores: Stores, queues: Queues, clock: Clock
) -> FeedReservations:
    """Return what reserves feeds for imports, and adds the fetch jobs of these."""
    return FeedReservations(
        stores,
        queues.fetches,
        clock,
        keep_completed=settings.keep_completed,
        keep_failed=settings.keep_failed,
    )


def make_importer(base: Base) -> Importer:
    """Return what runs imports."""
    reader = FeedReader(
        documents=base.stores.documents,
        fetcher=base.web.fetcher,
        egress=Egress(base.clock),
        retry_after=base.retry_after,
        parser=base.web.parser,
        metrics=base.metrics,
        clock=base.clock,
        pages=PageLimits(base.settings.fetch_pages, base.settings.fetch_max_bytes),
        max_kept_bytes=base.settings.keep_body_max_bytes if base.settings.keep_bodies else 0,
    )
    return Importer(
        stores=base.stores,
        reader=reader,
        host_slots=base.web.host_slots,
        enqueuer=base.enqueuer,
        dead_letter_queue=base.queues.dead_letters,
        audits=base.audits,
        outcomes=base.outcomes,
        clock=base.clock,
        random=base.random,
        failures=base.failures,
        limits=ImportLimits(
            base.settings.job_max_bytes,
            base.run_limit_s * DEADLINE_SHARE,
            base.settings.keep_bodies,
        ),
    )


def make_auditor(base: Base) -> Auditor:
    """Return what closes imports, with what repairs what crashes left."""
    settings = base.settings
    healer = Healer(
        stores=base.stores,
        reservations=base.reservations,
        item_queues=base.queues.of_items,
        dead_letter_queue=base.queues.dead_letters,
        fetch_queue=base.queues.fetches,
        limiter=base.item_limiter,
        keep_imports=timedelta(days=settings.keep_imports_days),
        keep_dead=timedelta(days=settings.keep_dead_days) if settings.keep_dead_days else None,
        failures=base.failures,
        clock=base.clock,
    )
    return Auditor(
        stores=base.stores,
        enqueuer=base.enqueuer,
        dead_letter_queue=base.queues.dead_letters,
        healer=healer,
        requests=base.audits,
        outcomes=base.outcomes,
        clock=base.clock,
    )


def make_rollbacks(base: Base, auditor: Auditor, stop: threading.Event) -> Rollbacks:
    """Return what rolls windows back; ``stop`` ends its waits."""
    return Rollbacks(
        stores=base.stores,
        auditor=auditor,
        failures=base.failures,
        fetch_queue=base.queues.fetches,
        item_queues=base.queues.of_items,
        dead_letter_queue=base.queues.dead_letters,
        wanted=base.pulls_wanted,
        clock=base.clock,
        stop=stop,
    )


def make_dispatcher(base: Base, settle: Settle) -> Dispatcher:
    """Return what takes intervals; ``settle`` is how it settles rollbacks."""
    settings = base.settings
    rate = parse_limit(settings.backfill_rate_limit)
    gap = timedelta(seconds=rate.get_expiry() / rate.amount)
    return Dispatcher(
        stores=base.stores,
        fetch_queue=base.queues.fetches,
        windows=base.windows,
        settle=settle,
        failures=base.failures,
        wanted=base.pulls_wanted,
        limits=BackFillLimits(settings.backfill_in_flight, gap),
        kept_jobs=KeptJobs(settings.keep_completed, settings.keep_failed),
        clock=base.clock,
    )


def make_services(
    base: Base, dispatcher: Dispatcher, rollbacks: Rollbacks, supervisor: Supervisor
) -> Services:
    """Return what the HTTP API works with."""
    stores, queues, clock = base.stores, base.queues, base.clock
    feeds = FeedService(
        stores,
        queues.fetches,
        clock,
        base.check_url,
        base.outcomes,
        base.changes,
        base.retry_after,
        base.windows,
        base.backfills,
    )
    return Services(
        settings=base.settings,
        clock=clock,
        stores=stores,
        light_queue=queues.light,
        heavy_queue=queues.heavy,
        dead_letter_queue=queues.dead_letters,
        fetch_queue=queues.fetches,
        own_queues=make_own_queues(base),
        item_limiter=base.item_limiter,
        starter=ImportStarter(stores, base.reservations, feeds, dispatcher.pull, clock),
        feeds=feeds,
        windows=base.windows,
        backfills=base.backfills,
        dispatcher=dispatcher,
        rollbacks=rollbacks,
        retry_after=base.retry_after,
        discoverer=make_discoverer(base),
        replayer=make_replayer(base),
        remover=make_remover(base),
        import_metrics=base.metrics,
        supervisor=supervisor,
    )


def make_replayer(base: Base) -> Replayer:
    """Return what runs dead letters again."""
    return Replayer(
        stores=base.stores,
        enqueuer=base.enqueuer,
        audits=base.audits,
        clock=base.clock,
        max_item_bytes=base.settings.job_max_bytes,
    )


def make_own_queues(base: Base) -> OwnQueues:
    """Return what knows the queues of programs."""
    return OwnQueues(
        base.queues.fetches.client,
        prefix=base.settings.queue_prefix,
        ours=base.queues.names,
        clock=base.clock,
    )


def make_discoverer(base: Base) -> FeedDiscoverer:
    """Return what finds the feed that a web page names."""
    return FeedDiscoverer(
        fetcher=base.web.fetcher,
        parser=base.web.parser,
        check_url=base.check_url,
        retry_after=base.retry_after,
        host_slots=base.web.host_slots,
        clock=base.clock,
    )


def make_remover(base: Base) -> Remover:
    """Return what removes jobs and dead letters for good."""
    return Remover(
        stores=base.stores,
        item_queues=base.queues.of_items,
        dead_letter_queue=base.queues.dead_letters,
        clock=base.clock,
    )


def user_agent() -> str:
    """Return the name under which feeds are fetched: who asks, for what, and how to slow it down.

    A feed's own ``headers`` can say more, as the address of whoever runs this.
    """
    return (
        f"Feedmill/{version('feedmill')} (imports this feed into its operator's database; "
        "honours Cache-Control, Retry-After and 410)"
    )
