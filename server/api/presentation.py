"""Turns what is stored into what the interface shows: times as text, secrets masked."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Literal

import orjson

from server.api.answers import (
    CauseAnswer,
    CauseExample,
    Counts,
    DeadLetterAnswer,
    DeathAnswer,
    DiscoveryAnswer,
    FeedAnswer,
    FetchAnswer,
    ImportAnswer,
    JobAnswer,
    JobDetailAnswer,
    NamedFeedAnswer,
    StartedImport,
    WorkerAnswer,
)
from server.feeds.discovery import Discovery
from server.feeds.history import FeedHistory
from server.fetching.addresses import mask_url
from server.importing.counts import live_counts
from shared.clock import datetime_from_ms
from shared.masking import mask_secrets
from shared.models import format_time
from shared.queue import JobView, WorkerSign
from shared.store import Cause, DeadLetter, Feed, Import

# As deep as what requests may hold; not much more can be written as an answer.
_MAX_DEPTH = 100
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels"


def show_import(shown: Import, tally: Mapping[str, int]) -> ImportAnswer:
    """Return an import; ``tally`` is what its settled jobs have counted so far."""
    fetches = [_show_fetch(fetch) for fetch in shown.fetches]
    return ImportAnswer(
        id=shown.import_id,
        source=shown.source,
        url=_first_url(shown),
        trigger=shown.trigger,
        state=shown.state,
        http_status=fetches[0].http_status if fetches else None,
        not_modified=bool(fetches) and all(fetch.not_modified for fetch in fetches),
        error=_import_error(shown),
        error_kind=shown.error_kind,
        warnings=[show_text(warning) for warning in shown.warnings],
        fetches=fetches,
        requested_at=format_time(shown.requested_at),
        started_at=show_time(shown.started_at),
        finished_at=show_time(shown.finished_at),
        counts=Counts(**live_counts(shown, tally)),
    )


def show_started(started: Import) -> StartedImport:
    """Return an import as the answer to its start."""
    return StartedImport(
        id=started.import_id,
        source=started.source,
        url=_first_url(started),
        state=started.state,
    )


def show_feed(feed: Feed) -> FeedAnswer:
    """Return a feed: ``url`` or ``urls``, headers by name only."""
    urls = [mask_url(url) for url in feed.urls]
    place: dict[str, Any] = {"urls": urls} if len(urls) > 1 else {"url": urls[0] if urls else None}
    moved_to = {
        mask_url(url): target
        for url, entry in FeedHistory.read(feed.history).urls.items()
        if (target := entry.moved_to or entry.said_moved_to) is not None
    }
    if moved_to:
        place["moved_to"] = moved_to
    disbelieved = [
        mask_url(url)
        for url, entry in FeedHistory.read(feed.history).urls.items()
        if entry.is_disbelieved
    ]
    if disbelieved:
        place["disbelieved"] = disbelieved
    if feed.window is not None:
        place["window"] = show_value(feed.window)
    return FeedAnswer(
        **place,
        source=feed.source,
        enabled=feed.enabled,
        interval_s=feed.interval_s,
        cron=feed.cron,
        headers=list(feed.headers),
        weight=_show_weight(feed.weight),
        next_fetch_at=show_time(feed.next_fetch_at) if feed.enabled else None,
        next_fetch_reason=feed.next_fetch_reason,
        last_import=feed.last_import,
        consecutive_failures=feed.consecutive_failures,
        error=show_text(feed.error) if feed.error else None,
    )


def show_discovery(discovery: Discovery) -> DiscoveryAnswer:
    """Return what was found behind an address.

    Only the address that was asked for is masked: what a page names is no secret of ours, and could
    not be added without its query.
    """
    feeds = [
        NamedFeedAnswer(
            url=mask_url(found.url) if discovery.is_feed else printable(found.url),
            title=show_text(found.title) if found.title else None,
            type=printable(found.type) if found.type else None,
        )
        for found in discovery.feeds
    ]
    return DiscoveryAnswer(feeds=feeds, is_feed=discovery.is_feed)


def show_item(document: Mapping[str, Any]) -> dict[str, Any]:
    """Return an item's document with JSON's types; ``id`` is its ``_id`` once more.

    The hash of its counters is nobody's business but the comparison's.
    """
    shown: dict[str, Any] = {"id": document["_id"]}
    fields = (item for item in document.items() if item[0] != "counters_hash")
    shown.update((name, show_value(value)) for name, value in fields)
    return shown


def show_dead_letter(letter: DeadLetter) -> DeadLetterAnswer:
    """Return a dead letter, its data decoded where that is possible."""
    return DeadLetterAnswer(
        id=letter.item_id,
        queue=letter.queue,
        source=letter.source,
        guid=letter.guid,
        kind=letter.kind,
        revision=letter.revision,
        reason=show_text(letter.reason),
        error_type=letter.error_type,
        cause=letter.cause,
        attempts=letter.attempts,
        failed_at=format_time(letter.failed_at),
        import_id=letter.import_id,
        data=show_json(letter.data),
        stacktrace=show_text(letter.stacktrace),
        history=[_show_death(death) for death in letter.history],
    )


def show_cause(cause: Cause) -> CauseAnswer:
    """Return a cause and its example."""
    return CauseAnswer(
        cause=cause.cause,
        error_type=cause.error_type,
        count=cause.count,
        sources=cause.sources,
        source_count=cause.source_count,
        latest_failed_at=format_time(cause.latest_failed_at),
        example=CauseExample(id=cause.example_id, reason=show_text(cause.example_reason)),
    )


def show_job(job: JobView) -> JobAnswer:
    """Return a job, its data decoded where that is possible."""
    return JobAnswer(
        id=job.id,
        name=printable(job.name),
        state=job.state,
        data=show_json(job.data),
        opts=show_json(job.opts),
        revision=job.revision,
        added_at=_show_ms(job.timestamp_ms),
        processed_at=_show_ms(job.processed_ms),
        finished_at=_show_ms(job.finished_ms),
        attempts_made=job.attempts_made,
        stalled_count=job.stalled_count,
        failed_reason=show_text(job.failed_reason) if job.failed_reason is not None else None,
        stacktrace=[show_text(str(trace)) for trace in job.stacktrace],
        result=show_json(job.result),
    )


def show_worker(sign: WorkerSign) -> WorkerAnswer:
    """Return a worker as it last described itself."""
    reason = sign.breaker_reason
    return WorkerAnswer(
        id=printable(sign.worker_id),
        queues=list(sign.queues),
        held_jobs=sign.held_jobs,
        up_s=sign.up_s,
        breaker_reason=show_text(reason) if reason is not None else None,
        breaker_open_s=sign.breaker_open_s,
        failing_threads=[show_text(thread) for thread in sign.failing_threads],
    )


def show_job_detail(job: JobView, logs: Sequence[str]) -> JobDetailAnswer:
    """Return a job with what its handlers logged."""
    lines = [show_text(line) for line in logs]
    return JobDetailAnswer(**dict(show_job(job)), logs=lines)


def show_time(moment: datetime | None) -> str | None:
    """Return a time as RFC 3339 in UTC."""
    return format_time(moment) if moment is not None else None


def show_text(text: str) -> str:
    """Return a message that people will see: no secrets, nothing that UTF-8 cannot hold."""
    return mask_secrets(printable(text))


def printable(text: str) -> str:
    """Return text without lone surrogates, which no JSON answer could carry."""
    return text.encode("utf-8", "replace").decode()


def show_json(raw: object) -> Any:
    """Return JSON text decoded; as it is where it is no JSON that an answer could carry."""
    if raw is None:
        return None
    if not isinstance(raw, str):
        return show_value(raw) if _is_shallow(raw) else _TOO_DEEP
    text = printable(raw)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if _is_shallow(value) else text


def show_value(value: Any) -> Any:
    """Return a stored value with JSON's types, whatever it is."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return printable(value)
        case float():
            # JSON knows neither infinity nor "not a number".
            return value if value - value == 0 else None
        case datetime():
            return format_time(value if value.tzinfo else value.replace(tzinfo=UTC))
        case Mapping():
            return {printable(str(name)): show_value(held) for name, held in value.items()}
        case list() | tuple():
            return [show_value(held) for held in value]
        case _:
            return printable(str(value))


def _is_shallow(value: object) -> bool:
    """Tell whether a decoded value is nested so little that it can be encoded again."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            held
            for container in level
            if isinstance(container, Mapping | list)
            for held in (container.values() if isinstance(container, Mapping) else container)
        ]
        if not level:
            return True
    return False


def _show_weight(weight: str | None) -> Literal["light", "heavy"] | None:
    match weight:
        case "light" | "heavy":
            return weight
        case _:
            return None


def _first_url(shown: Import) -> str | None:
    return mask_url(shown.urls[0]) if shown.urls and not shown.has_document else None


def _show_fetch(fetch: Mapping[str, Any]) -> FetchAnswer:
    url, error = fetch.get("url"), fetch.get("error")
    return FetchAnswer(
        url=mask_url(url) if url else None,
        http_status=fetch.get("http_status"),
        not_modified=bool(fetch.get("not_modified")),
        error=show_text(str(error)) if error else None,
    )


def _import_error(shown: Import) -> str | None:
    """Return what went wrong and of which kind it is, as one text."""
    if shown.error is None:
        return None
    text = show_text(shown.error)
    if shown.error_kind is None or text.startswith(f"{shown.error_kind}:"):
        return text
    return f"{shown.error_kind}: {text}"


def _show_death(death: Mapping[str, Any]) -> DeathAnswer:
    return DeathAnswer(
        revision=death["revision"],
        import_id=death["import_id"],
        content_hash=death["content_hash"],
        kind=death["kind"],
        at=format_time(death["at"]),
    )


def _show_ms(epoch_ms: int | None) -> str | None:
    if epoch_ms is None:
        return None
    try:
        return format_time(datetime_from_ms(epoch_ms))
    except (OverflowError, ValueError, OSError):
        return None  # a foreign producer may have written any number
