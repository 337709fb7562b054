"""Processes that never outlive the one that started them, not even after its SIGKILL."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

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
        held = [*hold_fds, *(process._pipe for process in depends_on)]
        try:
            # By its path, which is safe for an isolated interpreter only: it leaves the script's
            # folder, and the one we are in, off the import path.
            self._process = subprocess.Popen(
                [sys.executable, "-I", _WATCHER, str(grace_s), *command],
                stdin=read_end,
                stdout=log,
                stderr=log,
                pass_fds=held,
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
