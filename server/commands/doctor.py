"""``feedmill doctor``: what is wrong with this deployment, and what to do about it."""

import sys
from collections import Counter
from collections.abc import Sequence
from importlib import metadata
from itertools import groupby
from typing import Any

from rich.console import Console

from server.commands.api_client import ApiClient, locate_service
from server.commands.options import AsJson
from server.commands.output import FAILED, print_json, print_text
from server.doctor.collecting import collect_store_facts, measure_disk
from server.doctor.deployment_checks import adopt_settings, refuse_settings
from server.doctor.diagnosis import diagnose
from server.doctor.facts import Facts, ServiceFacts
from server.doctor.findings import Finding, Level, worst
from shared.clock import SystemClock
from shared.errors import ServiceError, SettingsError
from shared.running import read_running
from shared.settings import Settings, find_misspelt_settings, load_settings

_CALL_TIMEOUT_S = 10.0
_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
_WIDTH = max(len(level) for level in Level)


def doctor(as_json: AsJson = False) -> None:
    """Check the whole deployment; name what to fix.

    Settings, stores, queues, record and the running service; works without one, too. Exit 1: there
    is a problem; warnings are not problems.
    """
    findings = _examine()
    if as_json:
        print_json(Console(), show_findings(findings))
    else:
        print_findings(findings, Console())
    if worst(findings) is Level.PROBLEM:
        sys.exit(FAILED)


def _examine() -> list[Finding]:
    try:
        settings = load_settings()
    except SettingsError as exc:
        return refuse_settings(exc)
    return list(diagnose(settings, _collect(settings)))


def _collect(settings: Settings) -> Facts:
    clock = SystemClock()
    running = read_running(settings.data_dir)
    is_embedded = settings.redis_url is None or settings.mongodb_url is None
    is_named = settings.feedmill_url is not None or running is not None
    service = _ask_service(settings, is_named=is_named)
    return Facts(
        stores=collect_store_facts(adopt_settings(settings, service), running, clock),
        service=service,
        disk=measure_disk(settings.data_dir) if is_embedded else None,
        own_version=metadata.version("feedmill"),
        now=clock.now(),
        misspelt=find_misspelt_settings(),
    )


def _ask_service(settings: Settings, *, is_named: bool) -> ServiceFacts:
    url = locate_service(settings).url
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
            settings=_read_settings(client) if is_ready else {},
        )


def _read_settings(client: ApiClient) -> dict[str, Any]:
    """Return the service's own settings, by variable; none where it does not report them."""
    try:
        groups = client.get("/settings")["groups"]
    except ServiceError:
        return {}  # of an earlier version, or it needs a key: other checks report that
    settings = (setting for group in groups for setting in group["settings"])
    return {setting["name"]: setting["value"] for setting in settings}


def _failing_threads(client: ApiClient) -> tuple[str, ...]:
    try:
        return tuple(client.failing_threads())
    except ServiceError:
        return ()  # it was ready a moment ago: that it is not any more is no thread's fault


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print one line a finding, grouped, the advice below what is not fine, and a last word."""
    for group, found in groupby(findings, key=lambda finding: finding.group):
        print_text(console, group, style="bold")
        for finding in found:
            line = f"  {finding.level:<{_WIDTH}}  {finding.check}: {finding.text}"
            print_text(console, line, style=_STYLES[finding.level])
            if finding.advice:
                print_text(console, f"  {'':<{_WIDTH}}  → {finding.advice}")
    print_text(console, _sum_up(findings), style=_STYLES[worst(findings)])


def show_findings(findings: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as JSON shows them."""
    return {
        "status": worst(findings),
        "findings": [
            {
                "group": finding.group,
                "check": finding.check,
                "level": finding.level,
                "text": finding.text,
                "advice": finding.advice or None,
            }
            for finding in findings
        ],
    }


def _sum_up(findings: Sequence[Finding]) -> str:
    counts = Counter(finding.level for finding in findings)
    if counts[Level.OK] == len(findings):
        return f"all {len(findings)} checks are fine"
    parts = [
        f"{counts[level]} {level}{'s' if counts[level] > 1 else ''}"
        for level in (Level.PROBLEM, Level.WARNING)
        if counts[level]
    ]
    return f"{' and '.join(parts)} in {len(findings)} checks"
