"""Who works on a data folder: its lock, and ``feedmill.json``, which tells where the service is."""

import contextlib
import fcntl
import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from shared.errors import EmbeddedStoreError, SettingsError

RUNNING_FILE = "feedmill.json"
LOCK_FILE = "feedmill.lock"
_RETRY_S = 0.1


@dataclass(frozen=True, slots=True)
class Running:
    """The running service of a data folder. The store URLs hold passwords."""

    pid: int
    url: str
    redis_url: str
    mongodb_url: str


def write_running(data_dir: Path, running: Running) -> None:
    """Write ``feedmill.json`` in one step, readable by its owner only."""
    write_private(data_dir / RUNNING_FILE, json.dumps(asdict(running), indent=2) + "\n")


def read_running(data_dir: Path) -> Running | None:
    """Return the running service of a data folder, None if its process is dead or there is none."""
    try:
        running = Running(**json.loads((data_dir / RUNNING_FILE).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return running if _is_alive(running.pid) else None


def remove_running(data_dir: Path) -> None:
    """Remove ``feedmill.json``: the service of this folder has stopped."""
    (data_dir / RUNNING_FILE).unlink(missing_ok=True)


@contextmanager
def locked_data_dir(data_dir: Path) -> Iterator[None]:
    """Hold a data folder for this process; the folder is made if need be.

    Raises:
        EmbeddedStoreError: another process holds it.
        SettingsError: it cannot be written to.
    """
    make_data_dir(data_dir)
    lock = take_lock(data_dir / LOCK_FILE, wait_s=0)
    if lock is None:
        raise EmbeddedStoreError(_taken_text(data_dir))
    try:
        yield
    finally:
        os.close(lock)


def make_data_dir(data_dir: Path) -> None:
    """Make the folder, with its parents, and make sure that it can be written to.

    Raises:
        SettingsError: it cannot.
    """
    probe = data_dir / f".probe-{os.getpid()}"
    try:
        data_dir.mkdir(parents=True, exist_ok=True)
        probe.touch()
        probe.unlink()
    except OSError as exc:
        raise SettingsError(
            f"DATA_DIR={data_dir} is not writable: {exc.strerror}; make it writable, or set another"
            " DATA_DIR"
        ) from exc


def take_lock(path: Path, *, wait_s: float) -> int | None:
    """Take an exclusive lock; answers its descriptor, None if others hold it beyond ``wait_s``.

    The lock lasts as long as any process has the descriptor open, and never longer.
    """
    lock = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    give_up_at = time.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= give_up_at:
                os.close(lock)
                return None
            time.sleep(_RETRY_S)
        else:
            return lock


def write_private(path: Path, text: str) -> None:
    """Replace a file in one step, durably; only its owner may read it."""
    fresh = path.with_name(f"{path.name}.{os.getpid()}.new")
    fresh.unlink(missing_ok=True)
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


def _taken_text(data_dir: Path) -> str:
    running = read_running(data_dir)
    where = f" at {running.url} (process {running.pid})" if running is not None else ""
    return f"Feedmill already runs on DATA_DIR={data_dir}{where}; stop it or set another DATA_DIR"


def _is_alive(pid: int) -> bool:
    with contextlib.suppress(PermissionError):
        try:
            os.kill(pid, 0)
        except (ProcessLookupError, OverflowError):
            return False
    return True
