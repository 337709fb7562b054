"""Other queues, measured with the same jobs on the same Redis.

Each peer is a program in this folder that is called with a Redis URL and a number of jobs and
prints ``{"add": jobs per second, "drain": jobs per second}``, or such rates by kinds of jobs; it
adds and empties as its own documentation recommends for many jobs.
"""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from benchmarks.rows import KINDS
from benchmarks.trees import ROOT
from tests.interop.node_driver import FOLDER as NODE_FOLDER
from tests.interop.node_driver import NodeMissing, install_packages

_HERE = Path(__file__).parent
_ENVIRONMENT = ROOT / ".cache" / "peers"
_INSTALL_TIMEOUT_S = 300
_TIMEOUT_S = 300
_KIND_TIMEOUT_S = 60

Figures = Mapping[str, float]


class PeerMissing(Exception):
    """A peer that cannot be measured here; the text says why."""


def peer_python() -> Path:
    """Return the Python that has the peers, set up at the first call.

    Raises:
        PeerMissing: they cannot be installed.
    """
    python, wanted = _ENVIRONMENT / "bin" / "python", _HERE / "requirements.txt"
    done = _ENVIRONMENT / "installed.txt"
    if not done.exists() or done.read_text() != wanted.read_text():
        _run([sys.executable, "-m", "venv", "--clear", str(_ENVIRONMENT)], _INSTALL_TIMEOUT_S)
        install = [str(python), "-m", "pip", "install", "--quiet", "-r", str(wanted)]
        _run(install, _INSTALL_TIMEOUT_S)
        shutil.copyfile(wanted, done)
    return python


def run_peer(program: str, *arguments: str, timeout_s: float = _TIMEOUT_S) -> Figures:
    """Run a peer written in Python and return its figures.

    Raises:
        PeerMissing: it is not there, or it failed.
    """
    return _figures([str(peer_python()), str(_HERE / program), *arguments], timeout_s=timeout_s)


def _measure_in_python(program: str, redis_url: str, jobs: int) -> Figures:
    return run_peer(program, redis_url, str(jobs))


def _measure_kinds_in_python(redis_url: str, jobs: int) -> Figures:
    """Return what could be measured; a kind that does not end in time is left out."""
    figures: dict[str, float] = {}
    failures: list[PeerMissing] = []
    for kind in KINDS:
        try:
            figures |= run_peer(
                "python_kinds.py", redis_url, str(jobs), kind, timeout_s=_KIND_TIMEOUT_S
            )
        except PeerMissing as missing:
            failures.append(missing)
    if not figures:
        raise failures[0]
    return figures


def _measure_in_node(name: str, redis_url: str, jobs: int) -> Figures:
    try:
        node = install_packages()
    except NodeMissing as exc:
        raise PeerMissing(str(exc)) from exc
    # A module is looked for from where the program lies: it is handed in, not run from here.
    program = (_HERE / name).read_text()
    command = [node, "--input-type=module", "--eval", program, redis_url, str(jobs)]
    return _figures(command, NODE_FOLDER)


def _figures(
    command: Sequence[str], folder: Path | None = None, timeout_s: float = _TIMEOUT_S
) -> Figures:
    figures: Figures = json.loads(_run(command, timeout_s, folder))
    return figures


def _run(command: Sequence[str], timeout_s: float, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=timeout_s, check=True
        )
    except subprocess.CalledProcessError as exc:
        raise PeerMissing(exc.stderr.strip()[-300:]) from exc
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise PeerMissing(str(exc)) from exc
    return done.stdout


PEERS: Mapping[str, Callable[[str, int], Figures]] = {
    "Node BullMQ": partial(_measure_in_node, "node_bullmq.mjs"),
    "Python bullmq": partial(_measure_in_python, "python_bullmq.py"),
    "dramatiq": partial(_measure_in_python, "dramatiq_redis.py"),
    "huey": partial(_measure_in_python, "huey_redis.py"),
}
OWN_QUEUE_PEERS: Mapping[str, Callable[[str, int], Figures]] = {
    "Node BullMQ": partial(_measure_in_node, "node_kinds.mjs"),
    "Python bullmq": _measure_kinds_in_python,
}
