"""Starting imports through the API and following them to their end."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from server.commands.api_client import ApiClient, quote_id
from shared.errors import InvalidRequestError, ServiceError

ENDED_STATES = ("completed", "failed")
POLL_S = 0.25
# A service that restarts in the middle is waited for; what it accepted, it keeps.
_SILENCE_S = 60.0
_BUSY_TRIES = 120
_BUSY_PAUSE_S = 0.5

Import = dict[str, Any]


class Startable(Protocol):
    """What an import can be started of; ``text`` is what people call it."""

    @property
    def text(self) -> str:
        """Return its name."""

    @property
    def is_document(self) -> bool:
        """Return whether the document itself is handed in."""

    def start_body(self, *, force: bool) -> dict[str, Any]:
        """Return the body of ``/imports/start``; InvalidRequestError when there can be none."""


class Progress(Protocol):
    """Where an import's progress is shown."""

    def show(self, imports: Sequence[Import]) -> None:
        """Show how far they are; called at each round, the last time when all have ended."""


@dataclass(slots=True)
class ImportRun:
    """What came of one ``feedmill import``: the imports, and feeds whose import did not start."""

    imports: list[Import] = field(default_factory=list)
    errors: list[tuple[str, str]] = field(default_factory=list)

    @property
    def is_clean(self) -> bool:
        """Whether every import completed and no item is dead."""
        return not self.errors and all(
            each["state"] == "completed" and each["counts"]["dead"] == 0 for each in self.imports
        )


def run_imports(
    client: ApiClient,
    feeds: Sequence[Startable],
    *,
    force: bool,
    progress: Progress,
    check: Callable[[], None] = lambda: None,
) -> ImportRun:
    """Start an import of each feed and wait until all have ended.

    A feed whose import cannot be started does not keep the others from it. ``check`` is called at
    each round and may raise to give up.

    Raises:
        ServiceError: the service went away and did not come back within a minute.
    """
    run = ImportRun()
    for feed in feeds:
        try:
            run.imports += _start(client, feed, force=force)
        except (ServiceError, InvalidRequestError) as exc:
            check()
            run.errors.append((feed.text, str(exc)))
    follow_imports(client, run, progress=progress, check=check)
    return run


def follow_imports(
    client: ApiClient,
    run: ImportRun,
    *,
    progress: Progress,
    check: Callable[[], None] = lambda: None,
) -> None:
    """Wait until the imports of a run have ended, each counted once; as :func:`run_imports`."""
    run.imports = _distinct(run.imports)
    answered_at = time.monotonic()
    while True:
        progress.show(run.imports)
        if all(each["state"] in ENDED_STATES for each in run.imports):
            return
        time.sleep(POLL_S)
        check()
        try:
            run.imports = [_refreshed(client, each) for each in run.imports]
            answered_at = time.monotonic()
        except ServiceError as exc:
            if not exc.retryable or time.monotonic() - answered_at > _SILENCE_S:
                raise


def _start(client: ApiClient, feed: Startable, *, force: bool) -> list[Import]:
    body = feed.start_body(force=force)
    for _ in range(_BUSY_TRIES):
        try:
            started: list[Import] = client.post("/imports/start", body)["imports"]
            return [client.get(f"/imports/{quote_id(each['id'])}") for each in started]
        except ServiceError as exc:
            pause_s = _pause_before_retry(exc, feed)
            if pause_s is None:
                raise
            time.sleep(pause_s)
    raise ServiceError(f"the service is still busy with an earlier import of {feed.text}")


def _pause_before_retry(error: ServiceError, feed: Startable) -> float | None:
    if error.http_status == 429:
        return error.retry_after_s or _BUSY_PAUSE_S
    if error.http_status == 409 and feed.is_document:
        # An earlier document of this source is still being read.
        return _BUSY_PAUSE_S
    return None


def _refreshed(client: ApiClient, each: Import) -> Import:
    if each["state"] in ENDED_STATES:
        return each
    fresh: Import = client.get(f"/imports/{quote_id(each['id'])}")
    return fresh


def _distinct(imports: Sequence[Import]) -> list[Import]:
    return list({each["id"]: each for each in imports}.values())
