"""Items, jobs and a worker's parts, made with the values that most tests do not care about."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import orjson

from server.importing.enqueueing import AuditRequests, Enqueuer, ItemJobOptions
from server.importing.replayer import Replayer
from server.importing.values import Candidate
from shared.clock import Clock
from shared.queue import AddOutcome, ClaimedJob, JobQueue, NewJob, RateLimit, RedisConnection
from shared.settings import Settings
from shared.store import DeadLetter, LetterKind, StoredVersion, Stores
from shared.supervision import Supervisor
from tests.fakes import FakeClock
from worker.claiming import Taken
from worker.decoding import DecodedItem, decode_data, decode_item
from worker.process import Surroundings, make_partitions
from worker.settling import Settlement

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
    """Return a claimed job with this data."""
    values: dict[str, Any] = {
        "id": "lwn#1",
        "name": "item",
        "revision": 1,
        "tally": None,
        "attempts_made": 0,
        "attempts_started": 1,
        "raw_opts": orjson.dumps(
            {"attempts": ATTEMPTS, "backoff": {"type": "exponential", "delay": BACKOFF_MS}}
        ),
        "stalled_count": 0,
        "is_solo": False,
        "deferred_failure": None,
        "token": "t1",
        "timestamp_ms": 0,
    }
    return ClaimedJob(raw_data=raw_data, **(values | fields))


def make_decoded(
    queue: JobQueue, data: dict[str, Any], revision: int = 1, **fields: Any
) -> DecodedItem:
    """Return a decoded item, as a claim makes it."""
    job_id = f"{data['source']}#{data['guid']}"
    named = {"id": job_id, "tally": data.get("import_id")}
    job = make_claimed(orjson.dumps(data).decode(), **(named | fields))
    return decode_item(queue, job, decode_data(job, JOB_MAX_BYTES), revision)


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
    named = {"item_id": f"lwn#{guid}", "guid": guid}
    data = orjson.dumps({"source": "lwn", "guid": guid}).decode()
    return make_letter(revision, **(named | {"data": data} | fields))


def make_job(data: dict[str, Any], revision: int | None = 1, **fields: Any) -> NewJob:
    """Return the job that stores an item; without a revision, as a Node producer adds it."""
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
        self.supervisor = Supervisor(self.clock, lambda *_, **__: None)
        limit = self.rate_limit or RateLimit(0, 1000)
        settings = Settings(
            _env_file=None,  # type: ignore[call-arg]
            bull_queue_name="items",
            worker_batch_size=self.batch_size,
            worker_concurrency=self.concurrency,
            worker_lock_ms=self.lock_ms,
            worker_flush_ms=round(self.max_age_s * 1000),
            worker_rate_limit_max=limit.max_jobs,
            worker_rate_limit_duration_ms=limit.duration_ms,
            job_max_bytes=self.max_item_bytes,
        )
        around = Surroundings(settings, self.redis, self.stores, self.clock, self.supervisor)
        [self.parts] = make_partitions(around)
        self.queue, self.heavy = self.parts.queues
        self.dlq = around.queue(settings.dead_letter_queue)
        self.consumer, self.heartbeat = self.parts.consumer, self.parts.heartbeat
        on_the_way = self.parts.consumer_parts
        self.claimer, self.buffer, self.pool = (
            on_the_way.claimer, on_the_way.buffer, on_the_way.pool
        )  # fmt: skip
        self.held, self.breaker = on_the_way.held, on_the_way.breaker
        self.batches, self.settler = on_the_way.batches, on_the_way.settler
        self.storer = self.batches._storer

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
            audits=AuditRequests(),
            clock=self.clock,
            max_item_bytes=self.max_item_bytes,
        )

    def add(self, *items: dict[str, Any], revision: int | None = 1) -> list[AddOutcome]:
        """Put items into the light queue."""
        return self.queue.add_many([make_job(data, revision) for data in items])

    def take(self, limit: int = 500, *, accept_solo: bool = True) -> Taken:
        """Claim from the light queue."""
        return self.claimer.take(self.queue, limit, accept_solo=accept_solo)

    def finish(self, taken: Taken) -> None:
        """Bring what was claimed to its end, as the pool's threads would."""
        if taken.failed:
            self.settler.run(Settlement(self.queue, taken.failed), self.stop)
        if taken.items:
            self.batches.run(taken.items, self.stop)

    def work(self) -> Taken:
        """Claim once and bring it to its end."""
        taken = self.take()
        self.finish(taken)
        return taken

    def import_items(self, *items: dict[str, Any], revision: int | None = 1) -> None:
        """Add items and work them."""
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


def guids(items: Sequence[DecodedItem]) -> list[str]:
    """Return the guids of decoded items, in order."""
    return [str(item.content["guid"]) for item in items]
