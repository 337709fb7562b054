"""``feedmill doctor``: what is wrong with this deployment, and what to do about it."""

import sys
from importlib import metadata

from rich.console import Console

from server.commands.api_client import ApiClient
from server.commands.exit_codes import FAILED
from server.commands.locate import service_address
from server.commands.options import AsJson
from server.commands.output import say_json
from server.doctor.diagnosing import diagnose
from server.doctor.facts import Facts, ServiceFacts
from server.doctor.findings import Finding, Level, worst
from server.doctor.gathering import gather_stores, measure_disk
from server.doctor.report import print_findings, show_findings
from server.doctor.settings_checks import refuse_settings
from shared.clock import SystemClock
from shared.errors import ServiceError, SettingsError
from shared.running import read_running
from shared.settings import Settings, load_settings

_CALL_TIMEOUT_S = 10.0


def doctor(as_json: AsJson = False) -> None:
    """Check settings, stores, queues, journal and the running service, and say what to do.

    Works with and without a running service. Exit 1: there is a problem; warnings are none.
    """
    findings = _examine()
    if as_json:
        say_json(Console(), show_findings(findings))
    else:
        print_findings(findings, Console())
    if worst(findings) is Level.PROBLEM:
        sys.exit(FAILED)


def _examine() -> list[Finding]:
    try:
        settings = load_settings()
    except SettingsError as exc:
        return refuse_settings(exc)
    return list(diagnose(settings, _gather(settings)))


def _gather(settings: Settings) -> Facts:
    clock = SystemClock()
    running = read_running(settings.data_dir)
    is_embedded = settings.redis_url is None or settings.mongodb_url is None
    is_named = settings.feedmill_url is not None or running is not None
    return Facts(
        stores=gather_stores(settings, running, clock),
        service=_ask_service(settings, is_named=is_named),
        disk=measure_disk(settings.data_dir) if is_embedded else None,
        own_version=metadata.version("feedmill"),
        now=clock.now(),
    )


def _ask_service(settings: Settings, *, is_named: bool) -> ServiceFacts:
    url = service_address(settings)
    with ApiClient(url, api_key=settings.api_key, timeout_s=_CALL_TIMEOUT_S) as client:
        if not client.is_alive():
            return ServiceFacts(url, is_alive=False, is_named=is_named)
        version, error = None, None
        try:
            version = client.get("/openapi.json")["info"]["version"]
        except ServiceError as exc:
            error = str(exc)
        is_ready = client.is_ready()
        return ServiceFacts(
            url,
            is_alive=True,
            is_ready=is_ready,
            failing_threads=_failing_threads(client) if is_ready else (),
            version=version,
            error=error,
            is_named=is_named,
        )


def _failing_threads(client: ApiClient) -> tuple[str, ...]:
    try:
        return tuple(client.failing_threads())
    except ServiceError:
        return ()  # it was ready a moment ago: that it is not any more is no thread's fault
