"""On which Redis declared queues live: one for a process, and one client for all of them."""

import os
import threading
from dataclasses import dataclass
from pathlib import Path

from feedmill.base import Connection
from shared.clock import Clock, SystemClock
from shared.errors import QueueError
from shared.queue import RedisConnection, check_client, connect, disconnect
from shared.running import read_running


@dataclass(frozen=True, slots=True, eq=False)
class Place:
    """Where declared queues are: a connected client, and what their keys begin with."""

    client: RedisConnection
    prefix: str
    clock: Clock
    is_own: bool


@dataclass(frozen=True, slots=True)
class _Configuration:
    connection: Connection = None
    prefix: str | None = None
    clock: Clock | None = None


class _Process:
    """What this process has configured, and the place it has opened for that."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._configuration = _Configuration()
        self._place: Place | None = None

    def configure(self, configuration: _Configuration) -> None:
        with self._lock:
            self._close()
            self._configuration = configuration

    def place(self) -> Place:
        with self._lock:
            if self._place is None:
                self._place = _open(self._configuration)
            return self._place

    def close(self) -> None:
        with self._lock:
            self._close()

    def _close(self) -> None:
        place, self._place = self._place, None
        if place is not None and place.is_own:
            disconnect(place.client)


_process = _Process()


def configure(
    connection: Connection = None, *, prefix: str | None = None, clock: Clock | None = None
) -> None:
    """Say on which Redis declared queues live, for all of this process, and from now on.

    ``connection`` is a URL or a client of ``connect``. What is not given is ``REDIS_URL`` and
    ``QUEUE_PREFIX`` of the environment, else the prefix ``bull``; they are read at the first use.
    Without ``REDIS_URL`` it is the embedded Redis of a ``feedmill up`` that runs on ``DATA_DIR``
    ("data"). ``feedmill worker`` has configured what its settings name before it imports an app.

    Raises:
        QueueError: a client that :func:`connect` has not made.
    """
    if isinstance(connection, RedisConnection):
        check_client(connection)
    _process.configure(_Configuration(connection, prefix, clock))


def current_place() -> Place:
    """Return where declared queues live; connects at the first call that needs Redis.

    Raises:
        QueueError: no Redis is named, or not by a URL.
    """
    return _process.place()


def close_place() -> None:
    """Close the client of all declared queues, if it is their own; the next use opens another."""
    _process.close()


def _open(configuration: _Configuration) -> Place:
    prefix = configuration.prefix or os.environ.get("QUEUE_PREFIX") or "bull"
    clock = configuration.clock or SystemClock()
    connection = configuration.connection or os.environ.get("REDIS_URL") or _find_embedded()
    if isinstance(connection, RedisConnection):
        return Place(connection, prefix, clock, is_own=False)
    if not connection:
        raise QueueError("no Redis is named: set REDIS_URL, or call feedmill.configure(url)")
    return Place(connect(connection), prefix, clock, is_own=True)


def _find_embedded() -> str | None:
    running = read_running(Path(os.environ.get("DATA_DIR") or "data"))
    return None if running is None else running.redis_url
