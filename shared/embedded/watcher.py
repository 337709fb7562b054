"""Runs one command and stops it when whoever holds the other end of standard input is gone.

Run as a file by an isolated interpreter (``python -I watcher.py GRACE_S COMMAND…``) in a session of
its own, so that neither Ctrl-C in a terminal nor the death of the starting process reaches it; it
needs nothing but the standard library, and nothing of the folder it is started in. SIGTERM stops
the command too. Exits with the command's code, or 128 + the number of the signal that ended it.
"""

import contextlib
import os
import select
import signal
import subprocess
import sys

READ_BYTES = 4096
CANNOT_RUN = 127


def main(arguments: list[str]) -> int:
    """Run the command until it ends, standard input closes, or SIGTERM comes."""
    grace_s, command = float(arguments[0]), arguments[1:]
    wake_read, stop_signals = _catch_signals()
    try:
        child = subprocess.Popen(command, stdin=subprocess.DEVNULL)
    except OSError as exc:
        print(f"{command[0]} cannot be run: {exc}", file=sys.stderr)  # noqa: T201
        return CANNOT_RUN
    while child.poll() is None and not stop_signals and not _parent_is_gone(wake_read):
        continue
    _stop(child, grace_s)
    return child.returncode if child.returncode >= 0 else 128 - child.returncode


def _catch_signals() -> tuple[int, list[int]]:
    """Return a descriptor that is readable after a signal, and the list of stop signals so far."""
    wake_read, wake_write = os.pipe()
    os.set_blocking(wake_write, False)
    signal.set_wakeup_fd(wake_write)
    stop_signals: list[int] = []
    signal.signal(signal.SIGCHLD, lambda *_: None)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda caught, _: stop_signals.append(caught))
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    return wake_read, stop_signals


def _parent_is_gone(wake_read: int) -> bool:
    """Wait for the parent's end of the pipe to close, or for a signal (answers False)."""
    readable, _, _ = select.select([0, wake_read], [], [])
    if wake_read in readable:
        os.read(wake_read, READ_BYTES)
    return 0 in readable and os.read(0, READ_BYTES) == b""


def _stop(child: "subprocess.Popen[bytes]", grace_s: float) -> None:
    if child.poll() is not None:
        return
    child.terminate()
    with contextlib.suppress(subprocess.TimeoutExpired):
        child.wait(grace_s)
    if child.poll() is None:
        child.kill()
        child.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
