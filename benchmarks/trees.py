"""Checkouts of Feedmill that are measured, each with the Python of its own environment."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import BenchmarkError

ROOT = Path(__file__).resolve().parent.parent
_PROBES = Path(__file__).resolve().parent / "probes"
_PROBE_TIMEOUT_S = 600


@dataclass(frozen=True, slots=True)
class Tree:
    """A checkout in ``folder``, shown under ``name``."""

    name: str
    folder: Path

    @property
    def python(self) -> Path:
        """The Python that has the checkout installed."""
        return self.folder / ".venv" / "bin" / "python"

    def commit(self) -> str:
        """Return what is checked out, with ``-dirty`` where files differ from it."""
        command = ["git", "-C", str(self.folder), "describe", "--always", "--dirty", "--abbrev=9"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        return done.stdout.strip() or "unknown"

    def probe(self, name: str, *arguments: str | int) -> dict[str, float]:
        """Run a probe in the checkout's Python; return its figures.

        Raises:
            BenchmarkError: the probe failed.
        """
        command = [str(self.python), str(_PROBES / f"{name}.py"), *map(str, arguments)]
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=_PROBE_TIMEOUT_S, check=False
        )
        if done.returncode != 0:
            raise BenchmarkError(f"{name} in {self.folder}: {done.stderr[-600:]}")
        figures: dict[str, float] = json.loads(done.stdout)
        return figures


def open_tree(name: str, folder: Path) -> Tree:
    """Return the checkout in a folder.

    Raises:
        BenchmarkError: it is not set up.
    """
    tree = Tree(name, folder.resolve())
    if not tree.python.exists():
        raise BenchmarkError(f"{tree.python} is missing: run 'make install' in {tree.folder}")
    return tree
