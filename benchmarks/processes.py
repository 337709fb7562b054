"""Processes that a benchmark starts, and the CPU time that they and their children use."""

import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.servers import ending_with_us

Seen = TypeVar("Seen")

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_STOP_TIMEOUT_S = 15.0
# Fields of /proc/PID/stat behind the name, from 0: parent, own time, time of children waited for.
_PARENT, _TIMES = 1, slice(11, 15)


class BenchmarkError(Exception):
    """A measurement that could not be made; the text says why."""


@contextmanager
def running(
    command: Sequence[str], folder: Path, name: str, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process until the block ends; its output goes to ``NAME.log`` in ``folder``."""
    with (folder / f"{name}.log").open("ab") as output:
        process = subprocess.Popen(
            [*ending_with_us(), *command], cwd=folder, env=environment, stdout=output, stderr=output
        )
    try:
        yield process
    finally:
        stop(process)


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process, politely first."""
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(_STOP_TIMEOUT_S)


def cpu_s(pid: int) -> float:
    """Return the CPU seconds that a process and all its descendants have used, in 10 ms steps."""
    stats = {int(path.name): stat for path in Path("/proc").glob("[0-9]*") if (stat := _stat(path))}
    return sum(_ticks(stats[each]) for each in _family(pid, stats)) / _TICKS_PER_S


def _stat(folder: Path) -> list[str]:
    try:
        text = (folder / "stat").read_text()
    except OSError:
        return []  # It ended meanwhile.
    return text.rpartition(")")[2].split()


def _family(pid: int, stats: Mapping[int, list[str]]) -> Iterator[int]:
    if pid in stats:
        yield pid
    for child, stat in stats.items():
        if int(stat[_PARENT]) == pid:
            yield from _family(child, stats)


def _ticks(stat: list[str]) -> int:
    return sum(map(int, stat[_TIMES]))


def wait_until(look: Callable[[], Seen | None], what: str, within_s: float, every_s: float) -> Seen:
    """Look again and again until there is a true answer; return it.

    Raises:
        BenchmarkError: it did not come in time.
    """
    never = threading.Event()
    deadline_s = time.monotonic() + within_s
    while not (seen := look()):
        if time.monotonic() > deadline_s:
            raise BenchmarkError(f"not within {within_s:g} s: {what}")
        never.wait(every_s)
    return seen
