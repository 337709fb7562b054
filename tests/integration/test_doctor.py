"""The doctor on real stores that are broken in turn: each time it finds just that."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pymongo.database import Database

from server.doctor.collecting import collect_store_facts, measure_disk
from server.doctor.diagnosis import diagnose
from server.doctor.facts import Facts, ServiceFacts, StoreFacts, Unreachable
from server.doctor.findings import Finding, Level
from server.item_limits import ItemLimiter
from shared.clock import SystemClock
from shared.dead_jobs import dead_job
from shared.item_limits import limits_of
from shared.queue import JobQueue, RateLimit, RedisConnection, connect, disconnect
from shared.queue.keys import worker_connection_name
from shared.queue.registry import DEAD_LETTERS, QueueRecord, QueueRegistry
from shared.settings import Settings
from shared.store import Feed, Import, ImportState, ItemLimits, JournalEntry, Stores
from tests.factories import NOON, make_letter, make_letter_of
from tests.failpoints import FailPoints
from tests.logins import MANAGED, redis_login
from tests.mongodb_features import missing_features
from tests.queue_states import lose_locks, seed_active, seed_waiting, whole_state
from tests.servers import RunningServer, start_valkey

LIMIT = RateLimit(100, 1000)
SERVICE = ServiceFacts("http://s", is_alive=True, is_ready=True, version="1")


class HurriedClock(SystemClock):
    """The real time, but waiting takes none; what happens meanwhile can be said."""

    def __init__(self) -> None:
        self.waited_s: list[float] = []
        self.meanwhile: Callable[[], None] = lambda: None

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        self.waited_s.append(timeout_s)
        self.meanwhile()
        return event.is_set()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A Valkey of its own, for its configuration is going to be spoilt."""
    server = start_valkey(tmp_path_factory.mktemp("doctor"), "--appendonly", "yes")
    yield server
    server.stop()


@pytest.fixture
def redis(server: RunningServer) -> Iterator[RedisConnection]:
    client = connect(server.url)
    client.flushdb()
    yield client
    disconnect(client)


class Patient:
    """A deployment at rest, in which all is well until a test breaks something."""

    def __init__(self, redis: RedisConnection, stores: Stores, settings: Settings) -> None:
        self.redis, self.stores, self.settings = redis, stores, settings
        self.clock = HurriedClock()
        self._by_nature: list[Finding] = []
        self.light = self._queue(settings.light_queue)
        self.dlq = self._queue(settings.dead_letter_queue)
        stores.ensure_indexes()
        self.heavy = self._queue(settings.heavy_queue)
        for queue in (self.light, self.heavy):
            queue.set_rate_limit(LIMIT)
        # What the doctor finds of a MongoDB that was named and lacks something, without a fault.
        self._by_nature = self.findings() if missing_features() else []
        self.clock.waited_s.clear()

    def _queue(self, name: str) -> JobQueue:
        return JobQueue(self.redis, name, clock=self.clock)

    def look(self) -> StoreFacts:
        return collect_store_facts(self.settings, None, self.clock)

    def findings(self) -> list[Finding]:
        """Return what is not fine."""
        facts = Facts(self.look(), SERVICE, None, "1", self.clock.now())
        found = list(diagnose(self.settings, facts))
        return [
            finding
            for finding in found
            if finding.level is not Level.OK and finding not in self._by_nature
        ]

    def finding(self) -> tuple[str, str, Level]:
        """Return the only thing that is not fine."""
        [found] = self.findings()
        return found.check, found.text, found.level


@pytest.fixture
def patient(
    redis: RedisConnection,
    server: RunningServer,
    stores: Stores,
    mongodb_url: str,
    mongo_database: Database[dict[str, Any]],
) -> Patient:
    urls = {"redis_url": server.url, "mongodb_url": f"{mongodb_url}/{mongo_database.name}"}
    return Patient(redis, stores, Settings(_env_file=None, **urls))  # type: ignore[call-arg]


def test_healthy_deployment_is_fine_at_first_sight(patient: Patient) -> None:
    assert patient.findings() == []
    assert patient.clock.waited_s == []


def test_nothing_in_redis_is_changed_by_looking(patient: Patient) -> None:
    seed_waiting(patient.light, "lwn#1")
    patient.redis.delete(patient.light.keys.job("lwn#1"))
    before = whole_state(patient.light)
    patient.findings()
    assert whole_state(patient.light) == before


@pytest.mark.parametrize(
    ("name", "broken", "check", "level"),
    [
        ("maxmemory-policy", "allkeys-lru", "eviction", Level.PROBLEM),
        ("appendonly", "no", "persistence", Level.WARNING),
    ],
)
def test_configuration_that_loses_jobs_is_found(
    patient: Patient, name: str, broken: str, check: str, level: Level
) -> None:
    [healthy] = patient.redis.config_get(name).values()
    patient.redis.config_set(name, broken)
    try:
        found, _, found_level = patient.finding()
    finally:
        patient.redis.config_set(name, healthy)
    assert (found, found_level) == (check, level)


@pytest.mark.parametrize(
    ("rules", "found"),
    [
        (MANAGED, []),
        ("~bull:* +@all -client -config", []),
        ("~bull:* +@all -scan", [("sample", Level.WARNING)]),
        ("~bull:* +@all -info", [("INFO", Level.WARNING)]),
        ("~bull:* +@all -time", [("clock", Level.WARNING)]),
        ("~bull:* +@all -zadd", [("permissions", Level.PROBLEM)]),
        ("~bull:* +@all -@scripting", [("permissions", Level.PROBLEM)]),
    ],
)
def test_what_a_managed_redis_forbids_is_a_warning_or_named(
    patient: Patient,
    redis: RedisConnection,
    server: RunningServer,
    rules: str,
    found: list[tuple[str, Level]],
) -> None:
    with redis_login(redis, server.url, "limited", rules) as url:
        patient.settings = patient.settings.model_copy(update={"redis_url": url})
        findings = patient.findings()
    assert [(finding.check, finding.level) for finding in findings] == found
    assert not any("correct REDIS_URL" in finding.advice for finding in findings)


def test_full_redis_is_found(patient: Patient) -> None:
    used = int(patient.redis.info("memory")["used_memory"])
    patient.redis.config_set("maxmemory", int(used * 1.02))
    try:
        check, _, level = patient.finding()
    finally:
        patient.redis.config_set("maxmemory", 0)
    assert check == "memory"
    assert level is Level.PROBLEM


def test_replica_is_found(patient: Patient) -> None:
    patient.redis.replicaof("127.0.0.1", 1)
    try:
        checks = [finding.check for finding in patient.findings()]
    finally:
        patient.redis.replicaof("NO", "ONE")
    assert checks == ["role"]


def test_dropped_indexes_are_named(
    patient: Patient, mongo_database: Database[dict[str, Any]]
) -> None:
    mongo_database["feeds"].drop_index([("urls", 1)])
    mongo_database["items"].drop_index([("source", 1), ("modified_at", -1), ("_id", -1)])
    check, text, _ = patient.finding()
    assert check == "indexes"
    assert text == "missing: feeds(urls), items(source, -modified_at, -_id)"


def test_write_that_mongodb_does_not_confirm_is_found(
    patient: Patient, failing: FailPoints
) -> None:
    failure = {"code": 64, "errmsg": "waiting for replication"}
    failing.fail("update", times=None, writeConcernError=failure)
    check, text, level = patient.finding()
    assert (check, level) == ("write concern", Level.PROBLEM)
    assert "waiting for replication" in text


@pytest.mark.parametrize("odd_id", ["lwn#1", "lwn#https://x.org/[a]*?é", "17"])
def test_id_in_line_without_a_job_is_named(patient: Patient, odd_id: str) -> None:
    patient.redis.lpush(patient.light.keys.wait, odd_id)
    patient.redis.client_setname(worker_connection_name("bull", patient.light.name))
    check, text, _ = patient.finding()
    assert check == "jobs"
    assert f"{patient.light.name}: 1 queued ids without a job: {odd_id}" in text


def test_job_in_no_line_is_named(patient: Patient) -> None:
    seed_waiting(patient.light, "lwn#1", "lwn#https://x.org/1")
    for job_id in ("lwn#1", "lwn#https://x.org/1"):
        patient.redis.lrem(patient.light.keys.wait, 1, job_id)
    check, text, level = patient.finding()
    assert (check, level) == ("states", Level.PROBLEM)
    assert text.endswith("never run: lwn#1, lwn#https://x.org/1")


def test_keys_that_are_no_jobs_are_not_taken_for_some(patient: Patient) -> None:
    jobs = seed_active(patient.light, "lwn#1")
    patient.redis.hset(f"{patient.light.keys.base}repeat:abc", "name", "x")
    patient.redis.hset(patient.light.keys.tally("import-1"), "new", 1)
    patient.redis.rpush(f"{patient.light.keys.base}lwn#1:logs", "line")
    assert jobs
    assert patient.findings() == []


def test_claimed_job_that_nobody_holds_is_named(patient: Patient) -> None:
    seed_active(patient.light, "lwn#1", "lwn#2")
    lose_locks(patient.light, "lwn#2")
    check, text, level = patient.finding()
    assert (check, level) == ("locks", Level.PROBLEM)
    assert text.endswith("1 active jobs without a lock: lwn#2")
    assert patient.clock.waited_s == [2.0]


def test_lock_that_is_taken_over_meanwhile_is_fine(patient: Patient) -> None:
    seed_active(patient.light, "lwn#1")
    lose_locks(patient.light, "lwn#1")

    def reclaim_and_claim() -> None:
        patient.light.reclaim_stalled(max_stalled=2)
        patient.light.claim(limit=1, lock_ms=30_000, token="t2")

    patient.clock.meanwhile = reclaim_and_claim
    assert patient.findings() == []


def test_jobs_that_wait_for_nobody_are_found(patient: Patient) -> None:
    seed_waiting(patient.light, "lwn#1")
    check, text, level = patient.finding()
    assert (check, level) == ("workers", Level.PROBLEM)
    assert "1 jobs wait and no worker is connected" in text


@pytest.mark.parametrize("suffix", ["", ":w:node"])
def test_worker_that_waits_is_seen(patient: Patient, server: RunningServer, suffix: str) -> None:
    seed_waiting(patient.light, "lwn#1")
    name = worker_connection_name("bull", patient.light.name) + suffix
    worker = connect(server.url, client_name=name)
    worker.ping()
    assert patient.findings() == []
    disconnect(worker)


def test_redis_that_reports_little_is_examined_all_the_same(
    patient: Patient, server: RunningServer
) -> None:
    rights = ["+@all", "-client", "-config", "~*"]
    patient.redis.execute_command("ACL", "SETUSER", "hosted", "on", ">pw", *rights)
    url = server.url.replace("redis://", "redis://hosted:pw@")
    patient.settings = patient.settings.model_copy(update={"redis_url": url})
    seed_waiting(patient.light, "lwn#1")
    assert patient.findings() == []
    look = patient.look()
    assert look.queues[patient.light.name].look.workers is None
    patient.redis.execute_command("ACL", "DELUSER", "hosted")


def test_rate_limit_of_other_settings_is_found(patient: Patient) -> None:
    patient.light.set_rate_limit(RateLimit(5, 2000))
    check, text, _ = patient.finding()
    assert check == "rate limit"
    assert text.endswith("the limit in Redis is 5 in 2000 ms, but should be 100 in 1000 ms")


def test_limit_that_was_changed_is_the_one_that_should_be_in_redis(patient: Patient) -> None:
    queues = [patient.light, patient.heavy]
    environment = limits_of(patient.settings)
    limiter = ItemLimiter(patient.stores.item_limits, queues, environment, patient.clock)
    limiter.change(ItemLimits(7, 500), by="no key", client="127.0.0.1")
    assert patient.findings() == []
    patient.light.set_rate_limit(RateLimit(100, 1000))
    _, text, _ = patient.finding()
    assert text.endswith("the limit in Redis is 100 in 1000 ms, but should be 7 in 500 ms")


def test_paused_queue_is_found(patient: Patient) -> None:
    patient.light.pause()
    assert patient.finding()[0] == "pause"


def test_more_jobs_than_are_looked_at_are_reported_to_be(
    patient: Patient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.doctor.collecting.MAX_JOBS", 2)
    seed_active(patient.light, "lwn#1", "lwn#2", "lwn#3")
    assert patient.finding()[0] == "sample"


def test_journal_of_an_import_that_is_gone_is_named(patient: Patient) -> None:
    entry = JournalEntry("lwn#1", 1, "h", b'{"guid":"1"}')
    patient.stores.journal.insert_chunk("gone", 1, 0, [entry])
    check, text, _ = patient.finding()
    assert check == "journal"
    assert text.endswith("still have chunks: gone")


def test_journal_of_an_open_import_is_fine(patient: Patient) -> None:
    entry = JournalEntry("lwn#1", 1, "h", b'{"guid":"1"}')
    patient.stores.journal.insert_chunk("i1", 1, 0, [entry])
    now = patient.clock.now()
    patient.stores.imports.insert(Import("i1", "lwn", [], "api", ImportState.FETCHING, now))
    assert patient.findings() == []


def test_feed_that_waits_for_an_import_that_is_gone_is_named(patient: Patient) -> None:
    patient.stores.feeds.insert(Feed("lwn", [], NOON, running_import="gone"))
    check, text, _ = patient.finding()
    assert check == "feeds"
    assert text.endswith("lwn → gone")


def test_import_that_is_inserted_meanwhile_is_fine(patient: Patient) -> None:
    patient.stores.feeds.insert(Feed("lwn", [], NOON, running_import="i1"))
    new = Import("i1", "lwn", [], "api", ImportState.QUEUED, patient.clock.now())
    patient.clock.meanwhile = lambda: patient.stores.imports.insert(new) and None
    assert patient.findings() == []


def test_import_that_nobody_looks_after_is_named(patient: Patient) -> None:
    patient.stores.imports.insert(Import("i1", "lwn", [], "api", ImportState.IMPORTING, NOON))
    patient.clock.now = lambda: NOON.replace(hour=13)  # type: ignore[method-assign]
    check, text, level = patient.finding()
    assert (check, level) == ("imports", Level.PROBLEM)
    assert text.endswith(": i1")


def test_dead_letter_that_its_queue_does_not_show_is_named(patient: Patient) -> None:
    patient.stores.dead_letters.record_many([make_letter_of("1")])
    check, text, _ = patient.finding()
    assert check == "dead letters"
    assert text.endswith("missing in the dead-letter queue: lwn#1")


def test_job_that_is_no_dead_letter_is_named(patient: Patient) -> None:
    patient.dlq.add_many([dead_job(make_letter())])
    check, text, _ = patient.finding()
    assert check == "dead letters"
    assert text.endswith("are not dead letters: lwn#1")


def test_dead_letters_that_agree_are_fine_beside_foreign_jobs(patient: Patient) -> None:
    patient.stores.dead_letters.record_many([make_letter_of("1")])
    patient.dlq.add_many([dead_job(make_letter())])
    seed_waiting(patient.dlq, "foreign")
    assert patient.findings() == []


def test_another_redis_than_the_record_knows_is_found(patient: Patient) -> None:
    patient.stores.store_incarnation("before")
    patient.light.create_incarnation("after")
    assert patient.finding()[0] == "Redis"


@pytest.mark.parametrize(
    ("variable", "url"),
    [("redis_url", "redis://127.0.0.1:1/0"), ("mongodb_url", "mongodb://127.0.0.1:1/x")],
)
def test_store_that_is_away_is_reported_and_the_other_one_still_checked(
    patient: Patient, variable: str, url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.store.database.SERVER_SELECTION_TIMEOUT_MS", 200)
    patient.settings = patient.settings.model_copy(update={variable: url})
    facts = patient.look()
    away, there = (
        (facts.redis, facts.mongodb) if variable == "redis_url" else (facts.mongodb, facts.redis)
    )
    assert isinstance(away, Unreachable)
    assert away.reason.startswith(variable.upper())
    assert not isinstance(there, Unreachable)
    [found] = [finding for finding in patient.findings() if finding.check == "reachable"]
    assert found.level is Level.PROBLEM


def test_embedded_stores_at_rest_are_no_problem(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path)  # type: ignore[call-arg]
    facts = collect_store_facts(settings, None, HurriedClock())
    for seen in (facts.redis, facts.mongodb):
        assert isinstance(seen, Unreachable)
        assert seen.is_stopped


def test_disk_is_measured_where_there_is_a_folder(tmp_path: Path) -> None:
    measured = measure_disk(tmp_path)
    assert measured is not None
    assert 0 < measured.free_bytes <= measured.total_bytes
    assert measure_disk(tmp_path / "none") is None


def test_jobs_of_an_own_queue_that_no_worker_takes_are_found(patient: Patient) -> None:
    registry = QueueRegistry(patient.redis, prefix="bull", clock=patient.clock)
    registry.register([QueueRecord("emails", "light")])
    assert patient.findings() == []
    seed_waiting(JobQueue(patient.redis, "emails", clock=patient.clock), "a")
    # Those are nobody's to take.
    registry.register([QueueRecord("emails_dead", DEAD_LETTERS)])
    seed_waiting(JobQueue(patient.redis, "emails_dead", clock=patient.clock), "emails/17")
    [found] = patient.findings()
    assert (found.check, found.level) == ("workers", Level.PROBLEM)
    assert found.text.startswith("emails: 1 jobs wait")
    assert "feedmill worker --app MODULE" in found.advice


@pytest.mark.parametrize("is_declared", [True, False])
def test_queues_of_programs_alone_need_no_mongodb_and_no_service(
    redis: RedisConnection, server: RunningServer, *, is_declared: bool
) -> None:
    modules = {} if is_declared else {"feedmill_app": "myapp.jobs"}
    settings = Settings(_env_file=None, redis_url=server.url, **modules)  # type: ignore[call-arg]
    if is_declared:
        registry = QueueRegistry(redis, prefix="bull", clock=HurriedClock())
        registry.register([QueueRecord("emails", "light")])
    stores = collect_store_facts(settings, None, HurriedClock())
    silent = ServiceFacts("http://127.0.0.1:1", is_alive=False)
    facts = Facts(stores, silent, measure_disk(Path()), "1", HurriedClock().now())
    found = list(diagnose(settings, facts))
    assert [each for each in found if each.level is not Level.OK] == []
    assert {each.group for each in found} <= {"settings", "Redis", "MongoDB", "queues"}
    assert list(stores.queues) == (["emails"] if is_declared else [])


def test_redis_without_any_queue_of_a_program_still_misses_its_mongodb(
    redis: RedisConnection, server: RunningServer
) -> None:
    settings = Settings(_env_file=None, redis_url=server.url)  # type: ignore[call-arg]
    assert not collect_store_facts(settings, None, HurriedClock()).are_for_apps_alone
