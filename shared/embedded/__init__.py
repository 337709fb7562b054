"""Real stores without an installation: Valkey and SecantusDB from wheels, each a process.

They run under watchers (:mod:`shared.embedded.watched`), on loopback, with a random password, their
data in folders of ``data_dir``. MongoDB's port and password stay the same from start to start.
Neither is ever imported: Valkey is a program, and SecantusDB, which is GPL, is run as the command
that it installs.
"""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Self

from shared.embedded.secantusdb import find_secantusdb, start_secantusdb
from shared.embedded.valkey import find_valkey, start_valkey
from shared.embedded.watched import STOP_GRACE_S, WatchedProcess
from shared.errors import EmbeddedStoreError
from shared.running import (
    Running,
    locked_data_dir,
    make_data_dir,
    read_running,
    remove_running,
    take_lock,
    write_running,
)

__all__ = [
    "EmbeddedStores",
    "Running",
    "WatchedProcess",
    "find_secantusdb",
    "find_valkey",
    "locked_data_dir",
    "read_running",
    "remove_running",
    "start_embedded_stores",
    "write_running",
]

# After a kill, how long the watchers of the last run may take to stop their stores.
_HANDOVER_S = STOP_GRACE_S + 5


class EmbeddedStores:
    """The stores that were started; a context manager that stops them.

    ``redis_url`` and ``mongodb_url`` are None for a store that was not asked for. ``processes``
    are what must outlive everything that uses the stores (``depends_on`` of a WatchedProcess).
    """

    def __init__(self, lock: int) -> None:
        self.redis_url: str | None = None
        self.mongodb_url: str | None = None
        self.processes: list[WatchedProcess] = []
        self._lock = lock

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def failed(self) -> WatchedProcess | None:
        """Return a store that has ended though nobody asked it to."""
        return next((process for process in self.processes if process.poll() is not None), None)

    def stop(self) -> None:
        """Stop the stores and wait until they are gone. Safe to repeat."""
        while self.processes:
            self.processes.pop().stop()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def start_embedded_stores(
    data_dir: Path, *, redis: bool, mongodb: bool, mongodb_port: int = 0
) -> EmbeddedStores:
    """Start the stores asked for and wait until they serve what earlier runs left in ``data_dir``.

    MongoDB listens at ``mongodb_port``, or the next free one; 0, and Redis always: any free port.

    They stop with :meth:`EmbeddedStores.stop` or with this process, however it ends; a start that
    comes while the stores of a killed run are still stopping waits for them.

    Raises:
        EmbeddedStoreError: one line that says what is wrong and what to do.
    """
    data_dir = data_dir.absolute()
    make_data_dir(data_dir)
    # The watchers hold it too: it is free only when no store writes into the folder any more.
    lock = take_lock(data_dir / "stores.lock", wait_s=_HANDOVER_S)
    if lock is None:
        raise EmbeddedStoreError(f"the stores in DATA_DIR={data_dir} are in use by another process")
    stores = EmbeddedStores(lock)
    try:
        stores.redis_url = _started(start_valkey, data_dir, stores, lock) if redis else None
        start_mongodb = partial(start_secantusdb, first_port=mongodb_port)
        stores.mongodb_url = _started(start_mongodb, data_dir, stores, lock) if mongodb else None
    except BaseException:
        stores.stop()
        raise
    return stores


def _started(
    start: Callable[[Path, list[int]], tuple[WatchedProcess, str]],
    data_dir: Path,
    stores: EmbeddedStores,
    lock: int,
) -> str:
    process, url = start(data_dir, [lock])
    stores.processes.append(process)
    return url
