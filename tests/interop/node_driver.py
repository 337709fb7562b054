"""Lets tests run JavaScript against Node's BullMQ."""

import fcntl
import json
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

FOLDER = Path(__file__).parent
_INSTALL_TIMEOUT_S = 100
_STOP_TIMEOUT_S = 10


class NodeMissing(Exception):
    """Node, or the packages it needs, cannot be had here; the text says why."""


def install_packages(folder: Path = FOLDER) -> str:
    """Install what a folder's package.json names, unless it is there; return the path of ``node``.

    Raises:
        NodeMissing: no Node on this machine, or npm could not install.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        raise NodeMissing("Node and npm are not installed")
    with (Path(tempfile.gettempdir()) / "feedmill-interop.lock").open("w") as lock:
        # Several test processes may come at the same time.
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_installed(folder):
            _install(npm, folder)
    return node


def _is_installed(folder: Path) -> bool:
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    return all(_installed_version(folder, name) == version for name, version in wanted.items())


def _installed_version(folder: Path, name: str) -> str | None:
    manifest = folder / "node_modules" / name / "package.json"
    return json.loads(manifest.read_text())["version"] if manifest.exists() else None


def _install(npm: str, folder: Path) -> None:
    command = [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts"]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_INSTALL_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as exc:
        raise NodeMissing("npm install took too long") from exc
    if done.returncode != 0 or not _is_installed(folder):
        raise NodeMissing(f"npm install failed: {done.stderr[-300:]}")


class NodeDriver:
    """One Node process; :meth:`run` evaluates a snippet in it and waits for its answer."""

    def __init__(self, node: str, redis_url: str) -> None:
        parts = urlsplit(redis_url)
        self._process = subprocess.Popen(
            [node, "driver.mjs", str(parts.hostname), str(parts.port)],
            cwd=FOLDER,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def run(self, code: str, **args: Any) -> Any:
        """Evaluate the body of an async function; ``args`` is what it sees under that name."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"code": code, "args": args}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        assert "error" not in answer, answer["error"]
        return answer["value"]

    def stop(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(_STOP_TIMEOUT_S)
        self._process.stdout.close()
