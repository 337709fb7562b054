"""Items, jobs and a worker's parts, made with the values that most tests do not care about."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from server.importing.enqueueing import Enqueuer, ItemJobOptions
from server.importing.replayer import Replayer
from server.importing.selecting import Candidate
from shared.clock import Clock
from shared.queue import AddOutcome, ClaimedJob, JobQueue, NewJob, RateLimit, RedisConnection
from shared.store import DeadLetter, LetterKind, StoredVersion, Stores
from shared.supervision import Supervisor
from tests.fakes import FakeClock
from worker.batch_runner import BatchRunner
from worker.breaker import Breaker
from worker.buffer import Buffer
from worker.consumer import Consumer, ConsumerLimits, ConsumerParts
from worker.decoding import HeldItem, decode_data, hold_item
from worker.flush_pool import FlushPool
from worker.flusher import Flusher
from worker.heartbeat import Heartbeat
from worker.holdings import Holdings
from worker.intake import Intake, Taken
from worker.settlement import Settlement
from worker.settler import SettlementRunner, Settler

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
JOB_MAX_BYTES = 1_048_576
ATTEMPTS = 3
BACKOFF_MS = 1000


def make_data(guid: str = "1", **fields: Any) -> dict[str, Any]:
    """Return an item's job data."""
    data = {
        "source": "lwn",
        "guid": guid,
        "title": f"Title {guid}",
        "link": f"https://x.org/{guid}",
    }
    return data | fields


def make_claimed(raw_data: str, **fields: Any) -> ClaimedJob:
    """Return a job in hand with this data."""
    values: dict[str, Any] = {
        "id": "lwn#1",
        "name": "item",
        "revision": 1,
        "tally": None,
        "attempts_made": 0,
        "attempts_started": 1,
        "max_attempts": ATTEMPTS,
        "backoff": {"type": "exponential", "delay": BACKOFF_MS},
        "stalled_count": 0,
        "is_solo": False,
        "deferred_failure": None,
        "token": "t1",
        "timestamp_ms": 0,
    }
    return ClaimedJob(raw_data=raw_data, **(values | fields))


def make_held(queue: JobQueue, data: dict[str, Any], revision: int = 1, **fields: Any) -> HeldItem:
    """Return an item in hand, as the intake would make it."""
    job_id = f"{data['source']}#{data['guid']}"
    job = make_claimed(orjson.dumps(data).decode(), **({"id": job_id} | fields))
    return hold_item(queue, job, decode_data(job, JOB_MAX_BYTES), revision)


def make_candidate(data: Mapping[str, Any]) -> Candidate:
    """Return a fetched item as it is compared."""
    return Candidate.of(f"{data['source']}#{data['guid']}", data, orjson.dumps(data))


def make_version(revision: int = 1, **fields: Any) -> StoredVersion:
    """Return what decides about a stored item."""
    values: dict[str, Any] = {"content_hash": "h", "created_by": None, "modified_by": None}
    return StoredVersion(revision=revision, **(values | fields))


def make_letter(revision: int = 1, **fields: Any) -> DeadLetter:
    """Return a dead letter."""
    values: dict[str, Any] = {
        "item_id": "lwn#1",
        "queue": "items",
        "source": "lwn",
        "guid": "1",
        "import_id": None,
        "content_hash": "h",
        "kind": LetterKind.DEAD,
        "reason": "boom",
        "error_type": "invalid",
        "attempts": 1,
        "failed_at": NOON,
        "data": "{}",
        "stacktrace": "",
    }
    return DeadLetter(revision=revision, **(values | fields))


def make_letter_of(guid: str = "1", revision: int = 1, **fields: Any) -> DeadLetter:
    """Return a dead letter to record, of an item by its guid."""
    return make_letter(revision, **({"item_id": f"lwn#{guid}", "guid": guid} | fields))


def make_job(data: dict[str, Any], revision: int | None = 1, **fields: Any) -> NewJob:
    """Return the job that brings an item home; without a revision, as a Node producer adds it."""
    values: dict[str, Any] = {"attempts": ATTEMPTS, "backoff_ms": BACKOFF_MS}
    import_id = data.get("import_id")
    return NewJob(
        id=fields.pop("id", f"{data['source']}#{data['guid']}"),
        name="item",
        data=data,
        revision=revision,
        tally=import_id,
        **(values | fields),
    )


@dataclass
class Bench:
    """A worker's parts on real stores, driven by hand: nothing happens by itself."""

    redis: RedisConnection
    stores: Stores
    clock: Clock = field(default_factory=FakeClock)
    batch_size: int = 100
    concurrency: int = 2
    lock_ms: int = 30_000
    max_age_s: float = 3.0
    max_item_bytes: int = JOB_MAX_BYTES
    rate_limit: RateLimit | None = None

    def __post_init__(self) -> None:
        self.stop = threading.Event()
        self.queue = self.make_queue("items")
        self.heavy = self.make_queue("items_heavy")
        self.dlq = self.make_queue("items_dlq")
        self.holdings = Holdings([self.queue, self.heavy])
        self.breaker = Breaker(self.clock)
        self.buffer = Buffer(max_items=self.batch_size, max_age_s=self.max_age_s, clock=self.clock)
        self.supervisor = Supervisor(self.clock, lambda *_, **__: None)
        self.pool = FlushPool(self.concurrency, self.supervisor)
        self.heartbeat = Heartbeat(
            self.holdings, lock_ms=self.lock_ms, clock=self.clock, supervisor=self.supervisor
        )
        self._make_worker()

    def _make_worker(self) -> None:
        self.intake = Intake(
            holdings=self.holdings,
            sources=self.stores.sources,
            lock_ms=self.lock_ms,
            max_item_bytes=self.max_item_bytes,
            rate_limit=self.rate_limit,
        )
        self.flusher = Flusher(stores=self.stores, clock=self.clock)
        self.settler = Settler(stores=self.stores, dead_letter_queue=self.dlq)
        self.settlements = SettlementRunner(
            settler=self.settler,
            holdings=self.holdings,
            breaker=self.breaker,
            clock=self.clock,
        )
        self.batches = BatchRunner(
            flusher=self.flusher,
            settlements=self.settlements,
            stores=self.stores,
            breaker=self.breaker,
            clock=self.clock,
        )
        self.consumer = Consumer(
            queues=[self.queue, self.heavy],
            wake_connection=self.redis,
            parts=ConsumerParts(
                intake=self.intake,
                buffer=self.buffer,
                pool=self.pool,
                batches=self.batches,
                settlements=self.settlements,
                holdings=self.holdings,
                breaker=self.breaker,
                stores=self.stores,
            ),
            limits=ConsumerLimits(self.batch_size, self.concurrency),
            clock=self.clock,
            supervisor=self.supervisor,
        )

    def close(self) -> None:
        """End the threads that a test started."""
        self.stop.set()
        self.pool.close()

    def make_queue(self, name: str) -> JobQueue:
        return JobQueue(self.redis, name, clock=self.clock)

    def make_enqueuer(self) -> Enqueuer:
        return Enqueuer(
            light_queue=self.queue,
            heavy_queue=self.heavy,
            heavy_items=5000,
            options=ItemJobOptions(ATTEMPTS, BACKOFF_MS),
        )

    def make_replayer(self, stores: Stores | None = None) -> Replayer:
        return Replayer(
            stores=stores or self.stores,
            enqueuer=self.make_enqueuer(),
            note_busy=lambda _: None,
            clock=self.clock,
        )

    def add(self, *items: dict[str, Any], revision: int | None = 1) -> list[AddOutcome]:
        """Put items into the light queue."""
        return self.queue.add_many([make_job(data, revision) for data in items])

    def take(self, limit: int = 500, *, accept_solo: bool = True) -> Taken:
        """Claim from the light queue."""
        return self.intake.take(self.queue, limit, accept_solo=accept_solo)

    def finish(self, taken: Taken) -> None:
        """Bring what was claimed to its end, as the pool's threads would."""
        if taken.failed:
            self.settlements.run(Settlement(self.queue, list(taken.failed)), self.stop)
        if taken.items:
            self.batches.run(taken.items, self.stop)

    def work(self) -> Taken:
        """Claim once and bring it to its end."""
        taken = self.take()
        self.finish(taken)
        return taken

    def import_items(self, *items: dict[str, Any], revision: int | None = 1) -> None:
        """Add items and bring them home."""
        self.add(*items, revision=revision)
        self.work()

    def documents(self) -> dict[str, dict[str, Any]]:
        """Return all stored items by id."""
        found = self.stores.database.collection("items").find({})
        return {document["_id"]: document for document in found}

    def titles(self) -> dict[str, str]:
        """Return the titles of all stored items by guid."""
        return {one["guid"]: one["title"] for one in self.documents().values()}

    def dead(self) -> dict[str, DeadLetter]:
        """Return all dead letters (not the removed ones) by guid."""
        letters = self.stores.dead_letters.read_whole(self.stores.dead_letters.find_dead())
        return {letter.guid: letter for letter in letters}

    def left(self) -> dict[str, int]:
        """Return how many jobs are in which state, of both item queues; empty ones left out."""
        counts: dict[str, int] = {}
        for queue in (self.queue, self.heavy):
            for state, count in queue.counts().items():
                if count:
                    counts[state.value] = counts.get(state.value, 0) + count
        return counts


def guids(items: Sequence[HeldItem]) -> list[str]:
    """Return the guids of items in hand, in order."""
    return [str(item.content["guid"]) for item in items]
