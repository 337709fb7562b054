"""Whether a MongoDB is fit to be the record."""

from collections.abc import Iterator, Sequence

from server.doctor.facts import Unseen
from server.doctor.findings import Finding, blame, fine, warn
from server.doctor.redis_checks import check_clock, describe_unseen, parse_version
from shared.store import MongoReport

GROUP = "MongoDB"
WANTED_VERSION = (6,)


def check_mongodb(seen: MongoReport | Unseen, write_error: str | None) -> Iterator[Finding]:
    """Yield what is to be said of MongoDB."""
    if isinstance(seen, Unseen):
        yield describe_unseen(GROUP, "MONGODB_URL", seen)
        return
    yield _check_version(seen)
    yield _check_topology(seen)
    yield _check_writes(write_error)
    yield from _check_indexes(seen)
    yield check_clock(GROUP, seen.clock_ahead_ms, seen.round_trip_ms)


def _check_version(seen: MongoReport) -> Finding:
    if parse_version(seen.version) < WANTED_VERSION:
        return warn(
            GROUP,
            "version",
            f"version {seen.version} is older than anything Feedmill is tested with",
            "use MongoDB 7 or newer",
        )
    return fine(GROUP, "version", f"version {seen.version}")


def _check_topology(seen: MongoReport) -> Finding:
    if not seen.is_writable:
        return blame(
            GROUP,
            "topology",
            "it is no primary: it takes no writes",
            "name all members of the replica set in MONGODB_URL, with replicaSet=NAME",
        )
    if seen.is_sharded:
        return fine(GROUP, "topology", "a sharded cluster")
    if seen.set_name is not None:
        return fine(GROUP, "topology", f"the primary of replica set {seen.set_name}")
    return fine(GROUP, "topology", "standalone: its disk has the only copy")


def _check_writes(write_error: str | None) -> Finding:
    if write_error is None:
        text = "a write was acknowledged with w: majority, j: true"
        return fine(GROUP, "write concern", text)
    return blame(
        GROUP,
        "write concern",
        f"a write with w: majority, j: true failed: {write_error}",
        "look at its disk, its login's rights and the members of its replica set: "
        "nothing is settled until such writes succeed",
    )


def _check_indexes(seen: MongoReport) -> Iterator[Finding]:
    for conflict in seen.index_conflicts:
        advice = f"drop it with {conflict.remedy}, then start a server: it makes the right one"
        yield blame(GROUP, "indexes", str(conflict), advice)
    if seen.missing_indexes is None:
        yield warn(
            GROUP,
            "indexes",
            "they could not be looked at: its login may not list them",
            "grant it listIndexes, as the role readWrite does",
        )
    elif seen.missing_indexes:
        yield _warn_of_missing(seen.missing_indexes)
    elif not seen.index_conflicts:
        yield fine(GROUP, "indexes", "every index is there")


def _warn_of_missing(missing: Sequence[str]) -> Finding:
    return warn(
        GROUP,
        "indexes",
        f"missing: {', '.join(missing)}",
        "start a server, or restart one: it makes them; without them lists and audits are slow",
    )
