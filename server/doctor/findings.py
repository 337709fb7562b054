"""What is found in a deployment, good or bad, and how it is put."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

# So many names say which ones are meant; all of them would hide the advice.
_SHOWN = 3
_MAX_NAME_LENGTH = 80


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works; a risk, or something that heals by itself."""
    PROBLEM = "problem"
    """Somebody has to act."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of the report; ``advice`` says what to do, and is empty where all is well."""

    group: str
    check: str
    level: Level
    text: str
    advice: str = ""


def fine(group: str, check: str, text: str) -> Finding:
    """Return the finding that all is well."""
    return Finding(group, check, Level.OK, text)


def warn(group: str, check: str, text: str, advice: str) -> Finding:
    """Return a risk, or something that heals by itself."""
    return Finding(group, check, Level.WARNING, text, advice)


def problem(group: str, check: str, text: str, advice: str) -> Finding:
    """Return something that somebody has to do something about."""
    return Finding(group, check, Level.PROBLEM, text, advice)


def worst(findings: Sequence[Finding]) -> Level:
    """Return the worst level among findings."""
    levels = {finding.level for finding in findings}
    return next(level for level in reversed(Level) if level in levels or level is Level.OK)


def name_some(names: Iterable[str]) -> str:
    """Return a few names, in order, and how many there are besides."""
    ordered = sorted(names)
    shown = ", ".join(name[:_MAX_NAME_LENGTH] for name in ordered[:_SHOWN])
    more = len(ordered) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown


def describe_mib(size_bytes: int) -> str:
    """Return a size in MiB."""
    return f"{size_bytes / 1024**2:,.0f} MiB"
