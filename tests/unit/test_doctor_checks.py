"""What the doctor makes of facts: pure, so that every fact can be had."""

import io
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from rich.console import Console

from server.commands.doctor import print_findings, show_findings
from server.doctor.content_checks import (
    check_queues,
    check_record,
    check_worker_threads,
    is_work_left,
)
from server.doctor.deployment_checks import (
    adopt_settings,
    check_disk,
    check_private_addresses,
    check_queue_settings,
    check_service,
    check_setting_names,
    check_settings,
    refuse_settings,
)
from server.doctor.facts import DiskFacts, QueueFacts, RecordLook, ServiceFacts, Unreachable
from server.doctor.findings import Finding, Level, fine, name_some, problem, warn, worst
from server.doctor.store_checks import check_mongodb, check_redis
from shared.errors import SettingsError
from shared.item_limits import CurrentLimits
from shared.queue import JobState, QueueLook, RateLimit, RedisReport, WorkerSign
from shared.setting_names import Misspelt
from shared.settings import Settings
from shared.store import Import, ImportState, ItemLimits, MongoReport
from shared.store.indexes import IndexConflict, WantedIndex
from tests.factories import NOON

MIB = 1024**2
REDIS = RedisReport(
    version="7.2.4",
    role="master",
    is_cluster=False,
    eviction_policy="noeviction",
    is_append_only=True,
    is_append_ok=True,
    has_snapshots=False,
    is_snapshot_ok=True,
    used_bytes=10 * MIB,
    max_bytes=0,
    clock_ahead_ms=0,
    round_trip_ms=1,
)
MONGODB = MongoReport(
    version="7.0.2",
    set_name="rs0",
    is_sharded=False,
    is_writable=True,
    clock_ahead_ms=0,
    round_trip_ms=1,
    missing_indexes=[],
)
LOOK = QueueLook(
    counts=dict.fromkeys(JobState, 0),
    is_paused=False,
    rate_limit=None,
    workers=1,
    without_hash=frozenset(),
    without_state=frozenset(),
    without_lock=frozenset(),
    is_whole=True,
)


def make_settings(**values: Any) -> Settings:
    return Settings(_env_file=None, **values)  # type: ignore[call-arg]


def make_open(state: ImportState, **times: Any) -> Import:
    values: dict[str, Any] = {"requested_at": NOON, **times}
    return Import("i1", "lwn", [], "api", state, **values)


def bad(findings: Iterable[Finding]) -> list[tuple[str, Level]]:
    """Return what is not fine; each of these says what to do."""
    found = [finding for finding in findings if finding.level is not Level.OK]
    assert all(finding.advice for finding in found)
    return [(finding.check, finding.level) for finding in found]


def only(findings: Iterable[Finding]) -> Finding:
    """Return the one finding that is not fine."""
    [found] = [finding for finding in findings if finding.level is not Level.OK]
    return found


def test_default_settings_are_fine() -> None:
    assert bad(check_settings(make_settings())) == []


@pytest.mark.parametrize(
    ("values", "check", "level"),
    [
        ({"host": "0.0.0.0", "allow_unauthenticated": True}, "API_KEY", Level.WARNING),
        (
            {"worker_rate_limit_max": 1, "worker_rate_limit_duration_ms": 60_000},
            "WORKER_RATE_LIMIT_MAX",
            Level.WARNING,
        ),
        ({"worker_lock_ms": 1000}, "WORKER_LOCK_MS", Level.WARNING),
        ({"worker_stalled_ms": 40_000}, "WORKER_STALLED_MS", Level.WARNING),
        ({"port": 9000, "metrics_port": 9000}, "METRICS_PORT", Level.PROBLEM),
    ],
)
def test_settings_that_are_dangerous_together_are_named(
    values: dict[str, Any], check: str, level: Level
) -> None:
    assert bad(check_settings(make_settings(**values))) == [(check, level)]


def test_key_on_an_open_address_and_no_rate_limit_are_fine() -> None:
    values: dict[str, Any] = {"host": "0.0.0.0", "api_key": "k" * 40, "worker_rate_limit_max": 0}
    assert bad(check_settings(make_settings(**values))) == []


def test_read_only_keys_are_counted_and_not_shown() -> None:
    settings = make_settings(api_key="k" * 40, api_read_keys="s3cr3t-a,s3cr3t-b")
    texts = [finding.text for finding in check_settings(settings)]
    assert any("or one of 2 read-only keys (API_READ_KEYS)" in text for text in texts)
    assert not any("s3cr3t" in text for text in texts)


def test_every_wrong_value_is_a_problem_of_its_own() -> None:
    findings = refuse_settings(SettingsError("PORT=x: must be …\nHOST=?: must be …"))
    assert [finding.text for finding in findings] == ["PORT=x: must be …", "HOST=?: must be …"]
    assert worst(findings) is Level.PROBLEM


def test_healthy_redis_is_fine() -> None:
    assert bad(check_redis(REDIS, "bull")) == []


@pytest.mark.parametrize(
    ("fields", "check", "level"),
    [
        ({"version": "6.0.5"}, "version", Level.PROBLEM),
        ({"version": "6.0.16"}, "version", Level.WARNING),
        ({"eviction_policy": "allkeys-lru"}, "eviction", Level.PROBLEM),
        ({"eviction_policy": None}, "eviction", Level.WARNING),
        ({"is_append_only": False}, "persistence", Level.WARNING),
        ({"is_append_only": False, "has_snapshots": None}, "persistence", Level.WARNING),
        ({"is_append_ok": False}, "persistence", Level.PROBLEM),
        ({"is_snapshot_ok": False}, "persistence", Level.PROBLEM),
        ({"used_bytes": 81, "max_bytes": 100}, "memory", Level.WARNING),
        ({"used_bytes": 96, "max_bytes": 100}, "memory", Level.PROBLEM),
        ({"role": "slave"}, "role", Level.PROBLEM),
        ({"clock_ahead_ms": -9_000}, "clock", Level.WARNING),
        ({"is_cluster": True}, "cluster", Level.PROBLEM),
    ],
)
def test_unfit_redis_gets_a_finding_that_names_what_is_wrong(
    fields: dict[str, Any], check: str, level: Level
) -> None:
    assert bad(check_redis(replace(REDIS, **fields), "bull")) == [(check, level)]


def test_cluster_with_a_hash_tag_is_a_warning_unless_it_is_followed() -> None:
    cluster = replace(REDIS, is_cluster=True)
    assert bad(check_redis(cluster, "{bull}")) == [("cluster", Level.WARNING)]
    assert not bad(check_redis(replace(cluster, is_followed=True), "{bull}"))


def test_redis_that_reports_nothing_of_itself_is_a_warning_about_that() -> None:
    silent = replace(REDIS, is_told=False, version="unknown", role="unknown", eviction_policy=None)
    found = only(check_redis(silent, "bull"))
    assert (found.check, found.level) == ("INFO", Level.WARNING)
    assert "could not be read" in found.text
    assert "start it" not in found.advice
    assert "REDIS_URL" not in found.advice


def test_clock_that_redis_hides_is_a_warning() -> None:
    hidden = replace(REDIS, clock_ahead_ms=None)
    assert bad(check_redis(hidden, "bull")) == [("clock", Level.WARNING)]


def test_commands_that_redis_refuses_are_a_problem() -> None:
    found = only(check_redis(REDIS, "bull", "REDIS_URL: Redis refuses its login ZADD"))
    assert (found.check, found.level) == ("permissions", Level.PROBLEM)
    assert "ZADD" in found.text


def test_slow_answer_is_no_finding_about_the_clock() -> None:
    slow = replace(REDIS, clock_ahead_ms=2_900, round_trip_ms=1_000)
    assert bad(check_redis(slow, "bull")) == []


@pytest.mark.parametrize(
    ("seen", "level"),
    [
        (Unreachable("REDIS_URL: Redis does not answer"), Level.PROBLEM),
        (Unreachable("not running", is_stopped=True), Level.WARNING),
    ],
)
def test_store_that_cannot_be_reached_is_a_problem_unless_it_is_stopped(
    seen: Unreachable, level: Level
) -> None:
    assert bad(check_redis(seen, "bull")) == [("reachable", level)]
    assert bad(check_mongodb(seen, None)) == [("reachable", level)]


@pytest.mark.parametrize("fields", [{}, {"set_name": None}, {"is_sharded": True, "set_name": None}])
def test_healthy_mongodb_is_fine(fields: dict[str, Any]) -> None:
    assert bad(check_mongodb(replace(MONGODB, **fields), None)) == []


@pytest.mark.parametrize(
    ("fields", "check", "level"),
    [
        ({"version": "4.4.29"}, "version", Level.WARNING),
        ({"is_writable": False}, "topology", Level.PROBLEM),
        ({"missing_indexes": ["feeds(urls)"]}, "indexes", Level.WARNING),
        ({"missing_indexes": None}, "indexes", Level.WARNING),
        ({"clock_ahead_ms": 60_000}, "clock", Level.WARNING),
    ],
)
def test_unfit_mongodb_gets_a_finding_that_names_what_is_wrong(
    fields: dict[str, Any], check: str, level: Level
) -> None:
    assert bad(check_mongodb(replace(MONGODB, **fields), None)) == [(check, level)]


def test_index_with_other_options_is_a_problem_with_the_command_that_drops_it() -> None:
    wanted = WantedIndex("feeds", (("urls", 1),), {})
    conflict = IndexConflict(wanted, "odd", {"unique": True})
    found = only(check_mongodb(replace(MONGODB, index_conflicts=[conflict]), None))
    assert (found.check, found.level) == ("indexes", Level.PROBLEM)
    assert found.text == 'index "odd" on feeds(urls) is unique, but Feedmill needs it plain'
    assert 'db.feeds.dropIndex("odd")' in found.advice


def test_write_that_was_not_acknowledged_is_a_problem() -> None:
    found = only(check_mongodb(MONGODB, "MongoDB cannot serve: waiting for replication timed out"))
    assert (found.check, found.level) == ("write concern", Level.PROBLEM)
    assert "timed out" in found.text


def check_queue(worked_by: str | None = "worker", **fields: Any) -> list[Finding]:
    facts = QueueFacts(replace(LOOK, **fields), worked_by, None)
    return list(check_queues({"items": facts}))


def test_healthy_queue_is_fine() -> None:
    assert bad(check_queue()) == []


@pytest.mark.parametrize(
    ("fields", "check", "level"),
    [
        ({"without_hash": frozenset({"lwn#1"})}, "jobs", Level.WARNING),
        ({"without_state": frozenset({"lwn#1"})}, "states", Level.PROBLEM),
        ({"without_lock": frozenset({"lwn#1"})}, "locks", Level.PROBLEM),
        ({"rate_limit": RateLimit(5, 1000)}, "rate limit", Level.WARNING),
        ({"is_paused": True}, "pause", Level.WARNING),
        ({"is_whole": False}, "sample", Level.WARNING),
        ({"counts": {JobState.WAITING: 3}, "workers": 0}, "workers", Level.PROBLEM),
    ],
)
def test_broken_queue_is_reported_by_name(fields: dict[str, Any], check: str, level: Level) -> None:
    found = only(check_queue(**fields))
    assert (found.check, found.level) == (check, level)
    assert found.text.startswith("items: ")


@pytest.mark.parametrize(
    ("worked_by", "fields"),
    [
        ("worker", {"workers": None}),
        ("worker", {"workers": 0, "counts": {JobState.WAITING: 3, JobState.ACTIVE: 1}}),
        ("worker", {"workers": 0, "counts": {JobState.DELAYED: 3}}),
        (None, {"workers": 0}),
    ],
)
def test_worker_is_not_missed_where_none_is_needed_or_known(
    worked_by: str | None, fields: dict[str, Any]
) -> None:
    values = {"counts": {JobState.WAITING: 3}, **fields}
    assert bad(check_queue(worked_by, **values)) == []


def test_limit_of_a_queue_that_is_not_ours_is_no_finding() -> None:
    assert bad(check_queue("server", rate_limit=RateLimit(5, 1000))) == []


def test_record_without_anything_is_fine() -> None:
    assert bad(check_record(RecordLook(), NOON)) == []


@pytest.mark.parametrize(
    ("fields", "check", "named"),
    [
        ({"stray_journals": frozenset({"i9"})}, "journal", "i9"),
        ({"lost_imports": {"lwn": "i9"}}, "feeds", "lwn → i9"),
        ({"missing_letters": frozenset({"lwn#1"})}, "dead letters", "lwn#1"),
        ({"stray_letters": frozenset({"lwn#2"})}, "dead letters", "lwn#2"),
        ({"is_redis_matched": False}, "Redis", "another one"),
    ],
)
def test_record_that_disagrees_is_reported_with_names(
    fields: dict[str, Any], check: str, named: str
) -> None:
    found = only(check_record(RecordLook(**fields), NOON))
    assert (found.check, found.level) == (check, Level.WARNING)
    assert named in found.text


@pytest.mark.parametrize(
    ("state", "minutes", "expected"),
    [
        (ImportState.QUEUED, 29, []),
        (ImportState.FETCHING, 31, [("fetches", Level.WARNING)]),
        (ImportState.IMPORTING, 9, []),
        (ImportState.IMPORTING, 11, [("imports", Level.PROBLEM)]),
    ],
)
def test_import_that_nobody_works_on_is_reported(
    state: ImportState, minutes: int, expected: list[tuple[str, Level]]
) -> None:
    look = RecordLook(open_imports=[make_open(state)])
    assert bad(check_record(look, NOON + timedelta(minutes=minutes))) == expected


def test_import_that_still_has_jobs_is_not_audited_and_fine() -> None:
    look = RecordLook(open_imports=[make_open(ImportState.IMPORTING)])
    assert bad(check_record(look, NOON + timedelta(hours=3), is_work_left=True)) == []


@pytest.mark.parametrize(
    ("state", "worked_by", "is_left"),
    [
        (JobState.WAITING, "worker", True),
        (JobState.DELAYED, "worker", True),
        (JobState.ACTIVE, "worker", True),
        (JobState.COMPLETED, "worker", False),
        (JobState.WAITING, "server", False),
        (JobState.WAITING, None, False),
    ],
)
def test_work_is_left_while_item_queues_hold_jobs_that_will_run(
    state: JobState, worked_by: str | None, is_left: bool
) -> None:
    facts = QueueFacts(replace(LOOK, counts={state: 1}), worked_by, None)
    assert is_work_left({"items": facts}) is is_left


def test_long_import_that_is_audited_is_fine() -> None:
    audited = make_open(ImportState.IMPORTING, audited_at=NOON + timedelta(hours=9))
    look = RecordLook(open_imports=[audited])
    assert bad(check_record(look, NOON + timedelta(hours=9, minutes=5))) == []


URL = "http://127.0.0.1:8000"


@pytest.mark.parametrize(
    ("seen", "expected"),
    [
        (ServiceFacts(URL, is_alive=True, is_ready=True, version="1"), []),
        (ServiceFacts(URL, is_alive=False), [("answers", Level.WARNING)]),
        (ServiceFacts(URL, is_alive=False, is_named=True), [("answers", Level.PROBLEM)]),
        (ServiceFacts(URL, is_alive=True, version="1"), [("answers", Level.PROBLEM)]),
        (
            ServiceFacts(URL, is_alive=True, is_ready=True, version="2"),
            [("version", Level.WARNING)],
        ),
        (
            ServiceFacts(URL, is_alive=True, is_ready=True, error="the service wants a key"),
            [("version", Level.PROBLEM)],
        ),
        (
            ServiceFacts(
                URL, is_alive=True, is_ready=True, version="1", failing_threads=("auditor",)
            ),
            [("threads", Level.PROBLEM)],
        ),
    ],
)
def test_service_is_judged_by_its_answers(
    seen: ServiceFacts, expected: list[tuple[str, Level]]
) -> None:
    assert bad(check_service(seen, "1")) == expected


@pytest.mark.parametrize(
    ("free_bytes", "level"),
    [(100 * MIB, Level.PROBLEM), (500 * MIB, Level.WARNING), (2000 * MIB, Level.OK)],
)
def test_room_on_the_disk_is_judged(free_bytes: int, level: Level) -> None:
    assert check_disk(DiskFacts("data", free_bytes, 10_000 * MIB)).level is level


def test_a_few_of_many_names_are_shown_with_their_number() -> None:
    assert name_some(["b", "a"]) == "a, b"
    assert name_some(f"lwn#{number}" for number in range(9)) == "lwn#0, lwn#1, lwn#2 and 6 more"


FINDINGS = [
    fine("Redis", "version", "version 7"),
    warn("Redis", "clock", "off", "use NTP"),
    problem("queues", "locks", "x", "start a worker"),
]


def test_report_is_grouped_with_the_advice_below_what_is_not_fine() -> None:
    output = io.StringIO()
    print_findings(FINDINGS, Console(file=output, width=30))
    assert output.getvalue().splitlines() == [
        "Redis",
        "  ok       version: version 7",
        "  warning  clock: off",
        "           → use NTP",
        "queues",
        "  problem  locks: x",
        "           → start a worker",
        "1 problem and 1 warning in 3 checks",
    ]


def test_report_without_problems_has_one_line_about_that() -> None:
    output = io.StringIO()
    print_findings(FINDINGS[:1], Console(file=output, width=30))
    assert output.getvalue().splitlines()[-1] == "all 1 checks are fine"


def test_report_for_programs_has_the_worst_level_and_every_finding() -> None:
    shown = show_findings(FINDINGS)
    assert shown["status"] == "problem"
    assert shown["findings"][0] == {
        "group": "Redis",
        "check": "version",
        "level": "ok",
        "text": "version 7",
        "advice": None,
    }
    assert [finding["advice"] for finding in shown["findings"][1:]] == ["use NTP", "start a worker"]
    assert show_findings(FINDINGS[:2])["status"] == "warning"


def test_worker_whose_thread_fails_is_a_problem_that_says_which_and_of_what() -> None:
    sound = WorkerSign("w1", ("items",), 0, 1.0)
    failing = replace(sound, worker_id="w2", failing_threads=("flush-0 failed once: OSError: no",))
    found = only(check_worker_threads([sound, failing]))
    assert found.level is Level.PROBLEM
    assert found.text == "worker w2: flush-0 failed once: OSError: no"


def test_documents_that_cannot_be_read_are_problems_a_few_of_them_in_words() -> None:
    look = RecordLook(misfits=[f"feeds: document '{number}'" for number in range(7)])
    found = bad(check_record(look, NOON))
    assert found == [("documents", Level.PROBLEM)] * 6


@pytest.mark.parametrize(
    ("here", "there", "whose"),
    [
        (False, True, "the service runs with"),
        (True, None, "FETCH_ALLOW_PRIVATE=true here"),
        (True, False, None),
        (False, None, None),
    ],
)
def test_private_addresses_are_those_of_the_running_service(
    here: bool, there: bool | None, whose: str | None
) -> None:
    settings = Settings(_env_file=None, fetch_allow_private=here)  # type: ignore[call-arg]
    service = ServiceFacts(
        "http://s", is_alive=True, settings={} if there is None else {"FETCH_ALLOW_PRIVATE": there}
    )
    found = [each.text for each in check_private_addresses(settings, service)]
    assert [text[: len(whose or "")] for text in found] == ([whose] if whose else [])


def test_private_addresses_are_those_of_the_settings_while_nothing_runs() -> None:
    settings = Settings(_env_file=None, fetch_allow_private=True)  # type: ignore[call-arg]
    silent = ServiceFacts("http://s", is_alive=False)
    [found] = check_private_addresses(settings, silent)
    assert found.level is Level.WARNING


def test_access_and_queues_are_those_of_the_running_service() -> None:
    key = "k" * 32
    settings = Settings(_env_file=None, api_key=key, queue_prefix="bull")  # type: ignore[call-arg]
    reported = {"HOST": "0.0.0.0", "API_KEY": None, "QUEUE_PREFIX": "{bull}"}
    service = ServiceFacts("http://s", is_alive=True, settings=reported)
    adopted = adopt_settings(settings, service)
    assert (adopted.host, adopted.api_key, adopted.queue_prefix) == ("0.0.0.0", None, "{bull}")
    assert adopt_settings(settings, ServiceFacts("http://s", is_alive=False)) == settings
    [found] = check_queue_settings(settings, service)
    assert found.level is Level.WARNING
    assert found.text.startswith("QUEUE_PREFIX=bull here, but {bull} in the running service")
    assert list(check_queue_settings(adopted, service)) == []


def test_misspelt_settings_are_warnings_with_the_nearest_name() -> None:
    misspelt = Misspelt("WORKER_BATCHSIZE", "WORKER_BATCH_SIZE", ".env")
    [found] = check_setting_names([misspelt])
    assert found.level is Level.WARNING
    assert found.text == "WORKER_BATCHSIZE in .env is not a setting and is not read"
    assert found.advice == "rename it to WORKER_BATCH_SIZE, or remove it"


def test_rate_limit_that_was_changed_is_the_one_that_is_reported() -> None:
    settings = Settings(_env_file=None)  # type: ignore[call-arg]
    changed = CurrentLimits(ItemLimits(1, 3_600_000), is_changed=True)
    [found] = [
        each for each in check_settings(settings, changed) if each.check == "WORKER_RATE_LIMIT_MAX"
    ]
    assert found.level is Level.WARNING
    assert found.text.startswith("items started in each item queue: 1 item per hour (changed")
