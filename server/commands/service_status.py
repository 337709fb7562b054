"""What is known of a running service, and what is wrong with it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from server.commands.output import describe_span
from server.doctor.findings import Finding, name_some, problem, warn

Json = dict[str, Any]

SERVICE, WORKERS, QUEUES = "service", "workers", "queues"
FEEDS, DEAD_LETTERS, BACKFILLS = "feeds", "dead letters", "back-fills"
_READINESS = "/readyz"


@dataclass(frozen=True, slots=True)
class Counts:
    """How many there are. ``scheduled`` feeds are fetched by themselves."""

    feeds: int
    scheduled: int
    failing: int
    dead_letters: int
    open_imports: int


@dataclass(frozen=True, slots=True)
class ServiceStatus:
    """The service at ``url`` as its API answered; lists hold what the API shows.

    ``stores``: where they are, empty when only the service knows. ``imports``: the newest.
    ``unread``: what could not be asked, by path, and why.
    """

    url: str
    version: str | None = None
    stores: Mapping[str, str] = field(default_factory=dict)
    failing_threads: Sequence[str] = ()
    queues: Sequence[Json] = ()
    workers: Sequence[Json] = ()
    counts: Counts | None = None
    next_feeds: Sequence[Json] = ()
    imports: Sequence[Json] = ()
    backfills: Sequence[Json] = ()
    unread: Mapping[str, str] = field(default_factory=dict)


def find_troubles(seen: ServiceStatus) -> list[Finding]:
    """Return what is wrong, problems first; an empty list when nothing is."""
    found = [
        *_find_service_troubles(seen),
        *_find_worker_troubles(seen),
        *_find_queue_troubles(seen),
        *_find_feed_troubles(seen),
    ]
    return sorted(found, key=lambda each: each.level != "problem")


def _find_service_troubles(seen: ServiceStatus) -> Iterator[Finding]:
    if _READINESS in seen.unread:
        yield problem(SERVICE, "stores", seen.unread[_READINESS], "run 'feedmill doctor'")
    else:
        # With a store away the rest cannot answer: that needs no line of its own.
        for path, reason in seen.unread.items():
            yield problem(SERVICE, path, f"{path}: {reason}", "run 'feedmill doctor'")
    if seen.failing_threads:
        text = f"the server's {name_some(seen.failing_threads)} keeps failing"
        yield problem(SERVICE, "threads", text, "see 'thread_failed' in its log")


def _find_worker_troubles(seen: ServiceStatus) -> Iterator[Finding]:
    if not seen.workers and not seen.unread:
        yield problem(WORKERS, "running", "no worker is running", "start one: feedmill worker")
    for worker in seen.workers:
        if worker["breaker_reason"] is not None:
            span = describe_span(round(worker["breaker_open_s"]))
            text = f"worker {worker['id']} stores nothing for {span}: {worker['breaker_reason']}"
            yield problem(WORKERS, "breaker", text, "it goes on when MongoDB accepts writes")
        if worker["failing_threads"]:
            text = f"worker {worker['id']}: {name_some(worker['failing_threads'])}"
            yield problem(WORKERS, "threads", text, "see 'thread_failed' in its log")


def _find_queue_troubles(seen: ServiceStatus) -> Iterator[Finding]:
    for queue in seen.queues:
        name = queue["name"]
        if queue["limited_by"] == "no_worker" and seen.workers:
            text = f"{name}: {queue['limited_by_text']}"
            yield problem(QUEUES, "workers", text, "start a worker that takes it: feedmill worker")
        if queue["is_paused"]:
            yield warn(QUEUES, "pause", f"{name} is paused", f"feedmill queue resume {name}")


def _find_feed_troubles(seen: ServiceStatus) -> Iterator[Finding]:
    if seen.counts is not None and seen.counts.failing:
        text = f"{_count(seen.counts.failing, 'feed')} failed last time"
        yield warn(FEEDS, "failing", text, "feedmill feeds list --failing")
    if seen.counts is not None and seen.counts.dead_letters:
        text = _count(seen.counts.dead_letters, "dead letter")
        yield warn(DEAD_LETTERS, "count", text, "feedmill dlq list --by-cause")
    for backfill in seen.backfills:
        failing, source = backfill["intervals"]["failing"], backfill["source"]
        if failing:
            text = f"{source}: {_count(failing, 'interval')} of its back-fill failed last time"
            yield warn(BACKFILLS, "failing", text, f"feedmill feeds backfill {source}")


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
