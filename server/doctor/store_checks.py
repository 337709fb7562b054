"""Whether Redis is fit for the queues, and MongoDB for the record."""

import re
from collections.abc import Iterator, Sequence

from server.doctor.facts import Unreachable
from server.doctor.findings import Finding, describe_mib, fine, name_some, problem, warn
from shared.queue import RedisReport
from shared.store import MongoReport

REDIS = "Redis"
# LPOS, which the scripts use, came with 6.0.6; Node's BullMQ asks for 6.2.
NEEDED_REDIS_VERSION = (6, 0, 6)
WANTED_REDIS_VERSION = (6, 2)
MAX_CLOCK_MS = 2_000
_FULL_SHARE = 0.95
_FILLING_SHARE = 0.8
_KEPT = {
    True: "what came since the last snapshot is lost",
    False: "all is lost",
    None: "at least what came since the last snapshot is lost",
}
_HASH_TAG = re.compile(r"\{[^}]+\}")
MONGODB = "MongoDB"
WANTED_MONGODB_VERSION = (6,)


def check_redis(
    report: RedisReport | Unreachable, queue_prefix: str, refusal: str | None = None
) -> Iterator[Finding]:
    """Yield the findings about Redis."""
    if isinstance(report, Unreachable):
        yield describe_unreachable(REDIS, "REDIS_URL", report)
        return
    yield _check_permissions(refusal)
    if report.is_told:
        yield _check_redis_version(report)
        yield _check_eviction(report)
        yield _check_persistence(report)
        yield _check_memory(report)
        yield _check_role(report)
    else:
        yield _warn_of_silence()
    yield check_clock(REDIS, report.clock_ahead_ms, report.round_trip_ms)
    if report.is_cluster:
        yield _check_cluster(queue_prefix, report.is_followed)


def describe_unreachable(group: str, variable: str, report: Unreachable) -> Finding:
    """Return the finding of a store that could not be looked at."""
    if report.is_stopped:
        return warn(group, "reachable", report.reason, "run 'feedmill up', then the doctor again")
    return problem(group, "reachable", report.reason, f"start it, or correct {variable}")


def check_clock(group: str, ahead_ms: int | None, round_trip_ms: int) -> Finding:
    """Return whether a store's clock agrees with this machine's, as far as that can be known."""
    if ahead_ms is None:
        text = "its clock could not be read: its login may not run TIME"
        return warn(group, "clock", text, "let NTP set it")
    off_ms = max(abs(ahead_ms) - round_trip_ms, 0)
    if off_ms <= MAX_CLOCK_MS:
        return fine(group, "clock", "its clock agrees with this machine's")
    way = "ahead of" if ahead_ms > 0 else "behind"
    return warn(
        group,
        "clock",
        f"its clock is {off_ms / 1000:,.1f} s {way} this machine's",
        "let NTP set the clocks of all machines: due times and ages are wrong by as much",
    )


def parse_version(text: str) -> tuple[int, ...]:
    """Return a version's numbers, for comparison."""
    return tuple(int(number) for number in re.findall(r"\d+", text.partition("-")[0]))


def _check_permissions(refusal: str | None) -> Finding:
    if refusal is None:
        return fine(REDIS, "permissions", "its login may run all commands that the queues need")
    return problem(
        REDIS,
        "permissions",
        refusal,
        "then restart server and workers: they do not start without it",
    )


def _warn_of_silence() -> Finding:
    return warn(
        REDIS,
        "INFO",
        "version, eviction policy, persistence, memory and role could not be read: "
        "its login may not run INFO",
        "make sure that it is Redis 6.2 or newer with maxmemory-policy noeviction, "
        "or grant its login INFO",
    )


def _check_redis_version(report: RedisReport) -> Finding:
    version = parse_version(report.version)
    if version < NEEDED_REDIS_VERSION:
        needed = ".".join(map(str, NEEDED_REDIS_VERSION))
        return problem(
            REDIS,
            "version",
            f"version {report.version} is too old for the scripts, which need {needed}",
            "use Redis 7 or Valkey",
        )
    if version < WANTED_REDIS_VERSION:
        return warn(
            REDIS,
            "version",
            f"version {report.version} is older than 6.2, which Node's BullMQ asks for",
            "use Redis 7 or Valkey",
        )
    return fine(REDIS, "version", f"version {report.version}")


def _check_eviction(report: RedisReport) -> Finding:
    match report.eviction_policy:
        case None:
            return warn(
                REDIS,
                "eviction",
                "its maxmemory-policy could not be read",
                "set it to noeviction: any other policy may delete jobs",
            )
        case "noeviction":
            return fine(REDIS, "eviction", "maxmemory-policy is noeviction")
        case policy:
            return problem(
                REDIS,
                "eviction",
                f"maxmemory-policy is {policy}: jobs and locks may be deleted",
                "set 'maxmemory-policy noeviction' in its configuration, now and for restarts",
            )


def _check_persistence(report: RedisReport) -> Finding:
    failing = [
        name
        for name, is_ok in (
            ("append-only file", report.is_append_ok),
            ("snapshot", report.is_snapshot_ok),
        )
        if not is_ok
    ]
    if failing:
        return problem(
            REDIS,
            "persistence",
            f"the last write of its {name_some(failing)} failed",
            "see its log; usually its disk is full. Until then it may refuse writes",
        )
    if report.is_append_only:
        return fine(REDIS, "persistence", "the append-only file is on, its last write was fine")
    return warn(
        REDIS,
        "persistence",
        f"the append-only file is off: {_KEPT[report.has_snapshots]} at a restart",
        "set 'appendonly yes': items come back from the record, but jobs of other programs do not",
    )


def _check_memory(report: RedisReport) -> Finding:
    used = describe_mib(report.used_bytes)
    if report.max_bytes == 0:
        return fine(REDIS, "memory", f"{used} used, no maxmemory set")
    share = report.used_bytes / report.max_bytes
    text = f"{used} of {describe_mib(report.max_bytes)} used ({share:.0%})"
    advice = "raise maxmemory, or find what fills it; when full it accepts no more jobs"
    if share >= _FULL_SHARE:
        return problem(REDIS, "memory", text, advice)
    return (
        warn(REDIS, "memory", text, advice)
        if share >= _FILLING_SHARE
        else fine(REDIS, "memory", text)
    )


def _check_role(report: RedisReport) -> Finding:
    if report.role == "master":
        return fine(REDIS, "role", "it accepts writes")
    return problem(
        REDIS,
        "role",
        f"it is a {'replica' if report.role == 'slave' else report.role}: it accepts no writes",
        "point REDIS_URL at the primary",
    )


def _check_cluster(queue_prefix: str, is_followed: bool) -> Finding:
    if _HASH_TAG.search(queue_prefix):
        text = f"it is a Redis Cluster; all keys of QUEUE_PREFIX={queue_prefix} are on one node"
        if is_followed:
            return fine(REDIS, "cluster", text)
        return warn(
            REDIS,
            "cluster",
            f"{text}, and are not followed when they move to another",
            "name the Cluster's nodes, as REDIS_URL=redis+cluster://HOST:PORT,HOST:PORT",
        )
    return problem(
        REDIS,
        "cluster",
        f"it is a Redis Cluster, and QUEUE_PREFIX={queue_prefix} has no hash tag",
        f"set QUEUE_PREFIX={{{queue_prefix}}}: a script's keys must be on one node",
    )


def check_mongodb(report: MongoReport | Unreachable, write_error: str | None) -> Iterator[Finding]:
    """Yield the findings about MongoDB."""
    if isinstance(report, Unreachable):
        yield describe_unreachable(MONGODB, "MONGODB_URL", report)
        return
    yield _check_mongodb_version(report)
    yield _check_topology(report)
    yield _check_writes(write_error)
    yield from _check_indexes(report)
    yield check_clock(MONGODB, report.clock_ahead_ms, report.round_trip_ms)


def _check_mongodb_version(report: MongoReport) -> Finding:
    if parse_version(report.version) < WANTED_MONGODB_VERSION:
        return warn(
            MONGODB,
            "version",
            f"version {report.version} is older than the versions that Feedmill is tested with",
            "use MongoDB 7 or newer",
        )
    return fine(MONGODB, "version", f"version {report.version}")


def _check_topology(report: MongoReport) -> Finding:
    if not report.is_writable:
        return problem(
            MONGODB,
            "topology",
            "it is not the primary: it accepts no writes",
            "name all members of the replica set in MONGODB_URL, with replicaSet=NAME",
        )
    if report.is_sharded:
        return fine(MONGODB, "topology", "a sharded cluster")
    if report.set_name is not None:
        return fine(MONGODB, "topology", f"the primary of replica set {report.set_name}")
    return fine(MONGODB, "topology", "standalone: its disk has the only copy")


def _check_writes(write_error: str | None) -> Finding:
    if write_error is None:
        text = "a write was acknowledged with w: majority, j: true"
        return fine(MONGODB, "write concern", text)
    return problem(
        MONGODB,
        "write concern",
        f"a write with w: majority, j: true failed: {write_error}",
        "check its disk, its login's rights and the members of its replica set: "
        "no item is stored until such writes succeed",
    )


def _check_indexes(report: MongoReport) -> Iterator[Finding]:
    for conflict in report.index_conflicts:
        advice = f"drop it with {conflict.remedy}, then start a server: it makes the right one"
        yield problem(MONGODB, "indexes", str(conflict), advice)
    if report.missing_indexes is None:
        yield warn(
            MONGODB,
            "indexes",
            "they could not be read: its login may not list them",
            "grant it listIndexes, as the role readWrite does",
        )
    elif report.missing_indexes:
        yield _warn_of_missing(report.missing_indexes)
    elif not report.index_conflicts:
        yield fine(MONGODB, "indexes", "every index is there")


def _warn_of_missing(missing: Sequence[str]) -> Finding:
    return warn(
        MONGODB,
        "indexes",
        f"missing: {', '.join(missing)}",
        "restart a server: it makes them. Without them lists and audits are slow",
    )
