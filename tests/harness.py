"""A whole Feedmill on real stores, driven step by step: publisher, servers, workers, clock."""

from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from server.api.metrics import Metrics
from server.process import fetch_upkeep
from shared.partitions import open_item_queue
from shared.queue import JobQueue, JobState, RedisConnection
from shared.settings import Settings
from shared.store import Database, Import, Stores
from tests.failpoints import refuse_titles
from tests.fake_publisher import POISON, FakePublisher, feed_url
from tests.fakes import FakeClock
from tests.mongodb_features import Feature, missing_features
from tests.roles import Server, Worker

SOURCE = "news"
# Nothing needs as many rounds: what has not come to rest by then never will.
_MAX_ROUNDS = 40


class Harness:
    """One deployment. ``server`` and ``worker`` are the first of each; any number can be made.

    MongoDB refuses every item whose title begins with ``poison``, as a schema of the operator's
    would. The stores here are the test's own view: no line, never cut.
    """

    def __init__(
        self, redis: RedisConnection, database: Database, clock: FakeClock, **settings: Any
    ) -> None:
        self.redis = redis
        self.database = database
        self.clock = clock
        self.publisher = FakePublisher()
        self.stores = Stores.of(database)
        chosen = {
            "worker_rate_limit_max": 0,
            "worker_flush_ms": 0,
            "worker_max_stalled": 1_000_000,
            "job_attempts": 2,
            "fetch_allow_private": True,
        }
        self.settings = Settings(_env_file=None, **(chosen | settings))  # type: ignore[call-arg]
        self.server = self.new_server()
        self.worker = self.new_worker()
        self.stores.ensure_indexes()
        # Where MongoDB cannot, the test skips when the publisher shows poison.
        if Feature.VALIDATORS not in missing_features():
            self.refuse_poison()

    @property
    def item_queues(self) -> list[JobQueue]:
        """The item queues, of each partition if there are several."""
        names = (self.settings.light_queue, self.settings.heavy_queue)
        return [part for name in names for part in self._open(name).parts]

    @property
    def dead_letter_queue(self) -> JobQueue:
        return self._open(self.settings.dead_letter_queue)

    @property
    def fetch_queue(self) -> JobQueue:
        return self.open_plain(self.settings.fetch_queue)

    def new_server(self) -> Server:
        """Start another server."""
        return Server(self.settings, self.redis, self.database, self.clock, self.publisher)

    def new_worker(self) -> Worker:
        """Start another worker."""
        return Worker(self.settings, self.redis, self.database, self.clock)

    def subscribe(
        self, items: Mapping[str, str], source: str = SOURCE, *, damaged: Collection[str] = ()
    ) -> None:
        """Add a feed, not scheduled, and let the publisher show these titles by guid."""
        self.publisher.show(source, items, damaged=damaged)
        self.server.services.feeds.add([feed_url(source)], source=source)

    def poll(
        self,
        items: Mapping[str, str] | None = None,
        source: str = SOURCE,
        *,
        damaged: Collection[str] = (),
    ) -> Import:
        """Import a feed up to its commit and enqueueing, after the publisher showed new items."""
        if items is not None:
            self.publisher.show(source, items, damaged=damaged)
        started = self.server.start(source)
        while self.server.fetch():
            pass
        found = self.stores.imports.get(started.import_id)
        assert found is not None
        return found

    def work(self) -> None:
        """Let the worker take and flush until it finds nothing."""
        while self.worker.work():
            pass

    def replace_roles(self) -> None:
        """Lose all that was in memory: a fresh server and a fresh worker."""
        self.server, self.worker = self.new_server(), self.new_worker()

    def number(self, name: str, **labels: str) -> float | None:
        """Return what the server exports under a metric's name and just these labels."""
        services = replace(self.server.services, stores=self.stores)
        return Metrics.of(services).registry.get_sample_value(name, labels)

    def is_drained(self) -> bool:
        """Return whether the item queues hold no job."""
        return not any(sum(queue.counts().values()) for queue in self.item_queues)

    def lose_locks(self) -> None:
        """Let every lock run out at once, and the queues notice."""
        for key in self.redis.scan_iter(match="*:lock", count=1000):
            self.redis.delete(key)
        self.reclaim()

    def accept_poison(self) -> None:
        """Mend what makes MongoDB refuse poison, as an operator does before a replay."""
        refuse_titles(self.database.collection("items").database, None)

    def refuse_poison(self) -> None:
        """Let MongoDB refuse poison (again)."""
        refuse_titles(self.database.collection("items").database, POISON)

    def reclaim(self) -> None:
        """Do what each process does each second for its queues."""
        for queue in self.item_queues:
            queue.reclaim_stalled(max_stalled=self.settings.worker_max_stalled)
            queue.promote_due()
        assert fetch_upkeep(self.fetch_queue, self.settings, self.clock).run_once()

    def lose_redis(self) -> None:
        """Lose all of Redis."""
        self.redis.flushall()

    def come_to_rest(self) -> None:
        """Let time pass and everybody work until nothing is left to do.

        Locks that nobody holds any more have to be lost before (``lose_locks``).
        """
        for _ in range(_MAX_ROUNDS):
            self.reclaim()
            self.server.dispatch()
            while self.server.fetch():
                pass
            self.work()
            self.server.look()
            is_at_rest = self.is_at_rest()
            # Time to heal once more behind the end: what is garbage by now is collected.
            self.clock.advance(seconds=6 if is_at_rest else 31)
            self.server.look()
            if is_at_rest and self.is_at_rest():
                return
        raise AssertionError(f"never at rest: {self._unrest()}")

    def is_at_rest(self) -> bool:
        """Return whether nothing is open, claimed or waiting."""
        return not any(self._unrest().values())

    def _unrest(self) -> dict[str, Any]:
        busy = (JobState.WAITING, JobState.ACTIVE, JobState.DELAYED, JobState.PRIORITIZED)
        queues = (*self.item_queues, self.fetch_queue)
        return {
            "open imports": self.stores.imports.find_open(),
            "feeds": self.stores.feeds.find_running(),
            "intervals": self._open_intervals(),
            "jobs": sum(queue.counts()[state] for queue in queues for state in busy),
        }

    def _open_intervals(self) -> list[str]:
        """Return the indexers with open intervals, or that are yet to be settled."""
        horizon = self.clock.now() + timedelta(days=1)
        return [
            state.name
            for state in self.stores.intervals.find_due(horizon, 100)
            if state.open or state.settled_epoch < state.epoch
        ]

    def _open(self, name: str) -> JobQueue:
        return open_item_queue(self.settings, self.redis, name, self.clock)

    def open_plain(self, name: str) -> JobQueue:
        """Return a queue under the prefix itself, whatever partitions there are."""
        return JobQueue(self.redis, name, prefix=self.settings.queue_prefix, clock=self.clock)
