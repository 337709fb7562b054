"""``feedmill status``: the running service on one screen."""

import sys
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from server.commands.api_client import ApiClient, find_service
from server.commands.options import AsJson
from server.commands.output import FAILED, messages, print_json, print_text
from server.commands.service_status import Counts, ServiceStatus, find_troubles
from server.commands.status_report import print_status, show_status
from server.doctor.findings import Level, worst
from shared.clock import SystemClock
from shared.errors import ServiceError
from shared.running import read_running
from shared.settings import Settings, load_settings
from shared.urls import without_login

NO_SERVICE = 2
# Running imports are among the newest; the counts are exact whatever their number.
_IMPORTS = 100

Read = TypeVar("Read")


def status(as_json: AsJson = False) -> None:
    """Show the running service on one screen.

    Stores, queues, workers, feeds, imports, and what needs attention. Exit 0: it works; warnings
    may be shown. 1: something is wrong. 2: no service runs.
    """
    settings = load_settings()
    client = _find_client(settings)
    with client:
        seen = read_status(client, _read_stores(settings, client.url))
    findings = find_troubles(seen)
    if as_json:
        print_json(Console(), show_status(seen, findings))
    else:
        print_status(seen, findings, Console(), SystemClock().now())
    if worst(findings) is Level.PROBLEM:
        sys.exit(FAILED)


def _find_client(settings: Settings) -> ApiClient:
    try:
        client = find_service(settings)
        reason = f"no Feedmill runs at {settings.service_url}: start it with 'feedmill up'"
    except ServiceError as exc:
        client, reason = None, str(exc)
    if client is None:
        print_text(messages(), f"feedmill: {reason}", style="red")
        sys.exit(NO_SERVICE)
    return client


def _read_stores(settings: Settings, url: str) -> dict[str, str]:
    """Return where the stores are, without logins, if this folder's service is the one at ``url``.

    Of any other service nobody but itself knows that.
    """
    running = read_running(settings.data_dir)
    if running is None or running.url != url:
        return {}
    return {
        "Redis": without_login(running.redis_url),
        "MongoDB": without_login(running.mongodb_url),
    }


@dataclass(slots=True)
class _Answers:
    """What a service answers, part by part; ``unread`` is what it could not, with the reason."""

    client: ApiClient
    unread: dict[str, str] = field(default_factory=dict)

    def read(self, part: str, ask: Callable[[], Read], otherwise: Read) -> Read:
        try:
            return ask()
        except ServiceError as exc:
            if exc.http_status in (401, 403):
                raise
            self.unread[part] = str(exc)
            return otherwise

    def read_list(self, path: str, **parameters: str | int | None) -> Sequence[Any]:
        return self.read(path, lambda: self.client.get(path, **parameters)["items"], [])

    def read_version(self) -> str | None:
        path = "/openapi.json"
        return self.read(path, lambda: str(self.client.get(path)["info"]["version"]), None)

    def read_counts(self) -> Counts | None:
        return self.read("/metrics", lambda: _read_counts(self.client), None)


def read_status(client: ApiClient, stores: dict[str, str]) -> ServiceStatus:
    """Ask the service for everything; what it cannot answer now is in ``unread``, with the reason.

    Raises:
        ServiceError: it wants a key, or another one.
    """
    answers = _Answers(client)
    return ServiceStatus(
        url=client.url,
        version=answers.read_version(),
        stores=stores,
        failing_threads=answers.read("/readyz", client.failing_threads, []),
        queues=answers.read_list("/queues"),
        workers=answers.read_list("/workers"),
        counts=answers.read_counts(),
        next_feeds=answers.read_list("/feeds", sort="next_fetch", enabled="true", limit=1),
        imports=answers.read_list("/imports", limit=_IMPORTS),
        backfills=answers.read_list("/backfills"),
        unread=answers.unread,
    )


def _read_counts(client: ApiClient) -> Counts:
    counts: Counter[str] = Counter()
    for family in text_string_to_metric_families(client.get_text("/metrics")):
        for sample in family.samples:
            if sample.labels.get("kind") != "removed":
                counts[sample.name] += int(sample.value)
    return Counts(
        feeds=counts["feedmill_feeds"],
        scheduled=counts["feedmill_feeds_scheduled"],
        failing=counts["feedmill_feeds_failing"],
        dead_letters=counts["feedmill_dead_letters"],
        open_imports=counts["feedmill_open_imports"],
    )
