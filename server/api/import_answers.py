"""Imports as the API shows them: the record, and the live counters of those in progress."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, Field

from server.api.values import Time, show_text, show_time, show_value
from server.fetching.addresses import mask_url
from server.importing.deriving import live_counts
from shared.errors import QueueUnavailable
from shared.models import format_time
from shared.queue import JobQueue
from shared.store import Import, ImportState, ImportStore, Trigger


class Counts(BaseModel):
    """Where an import's items are; `fetched` is always the sum of all others."""

    fetched: int
    new: int
    updated: int
    unchanged: int
    duplicate: int
    superseded: int
    dead: int
    removed: int
    pending: int


class FetchAnswer(BaseModel):
    """How one URL of an import answered."""

    url: str | None
    http_status: int | None
    not_modified: bool
    error: str | None


class StartedImport(BaseModel):
    """An import that was started, or that was running already."""

    id: str
    source: str
    url: str | None
    state: ImportState


class StartedImports(BaseModel):
    """The imports of a start, one a feed."""

    imports: list[StartedImport]


class ImportAnswer(BaseModel):
    """An import."""

    id: str
    source: str
    url: str | None = Field(description="the first URL; null for an uploaded document")
    trigger: Trigger
    state: ImportState
    http_status: int | None
    not_modified: bool
    error: str | None
    error_kind: str | None
    warnings: list[str]
    fetches: list[FetchAnswer]
    requested_at: Time
    started_at: Time | None
    finished_at: Time | None
    counts: Counts
    indexer: str | None = Field(
        None, description="only for an import of an interval, as are `epoch` and `interval`"
    )
    epoch: int | None = None
    interval: dict[str, Any] | None = Field(None, description="`start` and `ended`")


class ImportReader:
    """Shows imports. Without Redis they are shown as the record has them, all work pending."""

    def __init__(self, imports: ImportStore, item_queues: Sequence[JobQueue]) -> None:
        self._imports = imports
        self._item_queues = item_queues

    def show_many(self, imports: Sequence[Import]) -> list[ImportAnswer]:
        """Return imports in the order given; one call to Redis a queue, if any is in progress."""
        tallies = self._read_tallies(imports)
        return [show_import(shown, tallies.get(shown.import_id, {})) for shown in imports]

    def read_many(self, import_ids: Iterable[str]) -> dict[str, ImportAnswer]:
        """Return those of these imports that exist."""
        found = self._imports.read_many(import_ids)
        return {shown.id: shown for shown in self.show_many(list(found.values()))}

    def _read_tallies(self, imports: Sequence[Import]) -> dict[str, dict[str, int]]:
        open_ids = [shown.import_id for shown in imports if shown.state is ImportState.IMPORTING]
        tallies: dict[str, dict[str, int]] = {import_id: {} for import_id in open_ids}
        if not open_ids:
            return tallies
        # Jobs of one import may be settled in either queue: another program may have moved some.
        for queue in self._item_queues:
            try:
                counted = queue.read_tallies(open_ids)
            except QueueUnavailable:
                continue
            for import_id, tally in zip(open_ids, counted, strict=True):
                for name, count in tally.items():
                    tallies[import_id][name] = tallies[import_id].get(name, 0) + count
        return tallies


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
        **_show_interval(shown),
    )


def _show_interval(shown: Import) -> dict[str, Any]:
    if shown.indexer is None:
        return {}
    interval = {name: show_value(value) for name, value in (shown.interval or {}).items()}
    return {"indexer": shown.indexer, "epoch": shown.epoch, "interval": interval}


def show_started(started: Import) -> StartedImport:
    """Return an import as the answer to its start."""
    return StartedImport(
        id=started.import_id,
        source=started.source,
        url=_first_url(started),
        state=started.state,
    )


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
