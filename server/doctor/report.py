"""Findings for people and for programs."""

from collections import Counter
from collections.abc import Sequence
from itertools import groupby
from typing import Any

from rich.console import Console

from server.commands.output import say
from server.doctor.findings import Finding, Level, worst

_STYLES = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
_WIDTH = max(len(level) for level in Level)


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print one line a finding, grouped, the advice below what is not fine, and a last word."""
    for group, found in groupby(findings, key=lambda finding: finding.group):
        say(console, group, style="bold")
        for finding in found:
            line = f"  {finding.level:<{_WIDTH}}  {finding.check}: {finding.text}"
            say(console, line, style=_STYLES[finding.level])
            if finding.advice:
                say(console, f"  {'':<{_WIDTH}}  → {finding.advice}")
    say(console, _sum_up(findings), style=_STYLES[worst(findings)])


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
