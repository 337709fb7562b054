"""The stores that are measured with: Redis, the embedded store, and the same in Rust."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from benchmarks.processes import cpu_s, running, wait_until
from tests.servers import (
    RunningServer,
    find_free_port,
    find_redis_server,
    mongodb_answers,
    start_mongodb,
    start_redis,
    start_valkey,
)

_START_TIMEOUT_S = 60.0
# What the embedded store is started with by ``feedmill up``.
_EMBEDDED_OPTIONS = ("--cache-size", "256M", "--sync-on-commit")


class StoreKind(StrEnum):
    """The MongoDB-compatible stores."""

    EMBEDDED = "embedded"
    """The wheel that ``feedmill up`` runs, in Python."""
    RUST = "rust"
    """The same store as a server in Rust: nearer to what a mongod costs."""


@dataclass(frozen=True, slots=True)
class RunningStore:
    """A store that answers at ``url``."""

    url: str
    pid: int

    def cpu_s(self) -> float:
        """Return the CPU seconds it has used."""
        return cpu_s(self.pid)


def find_rust_store() -> str | None:
    """Return the store's server in Rust: ``SECANTUS_MDB``, or ``secantusd-rs`` on the path."""
    named = os.environ.get("SECANTUS_MDB")
    return shutil.which(named or "secantusd-rs")


def available_stores() -> list[StoreKind]:
    """Return the stores that can be measured here, the Rust one first."""
    return [StoreKind.RUST, StoreKind.EMBEDDED] if find_rust_store() else [StoreKind.EMBEDDED]


@contextmanager
def running_redis(folder: Path) -> Iterator[RunningStore]:
    """Run the machine's Redis, or the embedded Valkey where it has none; nothing is kept."""
    start = start_redis if find_redis_server() else start_valkey
    with _stopping(start(folder)) as store:
        yield store


@contextmanager
def running_store(kind: StoreKind, folder: Path) -> Iterator[RunningStore]:
    """Run an empty store on a free port."""
    folder.mkdir(parents=True, exist_ok=True)
    if kind is StoreKind.RUST:
        with _running_rust_store(folder) as store:
            yield store
        return
    with _stopping(start_mongodb(folder, *_EMBEDDED_OPTIONS)) as store:
        yield store


@contextmanager
def _stopping(server: RunningServer) -> Iterator[RunningStore]:
    try:
        yield RunningStore(server.url, server.pid)
    finally:
        server.stop()


@contextmanager
def _running_rust_store(folder: Path) -> Iterator[RunningStore]:
    program, port = find_rust_store(), find_free_port()
    assert program is not None
    options = ["--port", str(port), "--storage-path", str(folder / "data"), "--standalone"]
    with running([program, *options], folder, "store") as process:
        store = RunningStore(f"mongodb://127.0.0.1:{port}", process.pid)
        wait_until(
            lambda: mongodb_answers(store.url), "the Rust store answers", _START_TIMEOUT_S, 0.05
        )
        yield store
