"""What every object on queues stands on: a connection, and for most a name and the queue below."""

import os
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from shared.clock import Clock, SystemClock
from shared.errors import QueueError
from shared.queue import JobQueue, RedisConnection, check_client, connect, disconnect
from shared.queue.option_readers import RATES, Readers, read_option, read_rate
from shared.queue.options import read_options

_READERS: Readers = {"add_limit": (read_rate, RATES)}

Connection = str | RedisConnection | None


class Connected:
    """What holds a connection to Redis: its own, or one that it was given. Safe for threads.

    ``connection`` is a URL, whose connections are this object's own and end with :meth:`close`; or
    a client of :func:`connect`, which stays open; or None for the URL in ``REDIS_URL``. Nothing is
    sent before the first call, but a Cluster is asked for its nodes at once.

    Raises:
        QueueError: no such URL, none at all, or another client.
        QueueUnavailable: no node of a Cluster answers.
    """

    def __init__(self, connection: Connection = None) -> None:
        self._own_client: RedisConnection | None = None
        if isinstance(connection, RedisConnection):
            check_client(connection)
        else:
            connection = self._own_client = _open(connection)
        self.client = connection

    def close(self) -> None:
        """Close the connections that are this object's own. Safe to call twice."""
        client, self._own_client = self._own_client, None
        if client is not None:
            disconnect(client)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class QueueBase(Connected):
    """A queue by its name; its connection as :class:`Connected` says.

    ``default_job_options`` are those of jobs that are added without them. ``add_limit``: so many
    jobs each caller may add in so many ms, through this object and others that have a limit.

    Raises:
        QueueError: a name that BullMQ refuses, no such URL, none at all, or another client.
        InvalidJobOptions: a default that no job can have, or a limit that is none or lets none
            pass.
    """

    def __init__(
        self,
        name: str,
        connection: Connection = None,
        *,
        prefix: str = "bull",
        default_job_options: Mapping[str, object] | None = None,
        add_limit: tuple[int, int] | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.default_job_options = dict(default_job_options or {})
        read_options(self.default_job_options, {})
        self.add_limit: tuple[int, int] | None = read_option(_READERS, "add_limit", add_limit)
        super().__init__(connection)
        try:
            self.core = JobQueue(self.client, name, prefix=prefix, clock=clock or SystemClock())
        except QueueError:
            self.close()
            raise

    @property
    def name(self) -> str:
        """The queue's name."""
        return self.core.name

    @property
    def prefix(self) -> str:
        """What the keys of this queue and its neighbours begin with."""
        return self.core.prefix

    @property
    def qualified_name(self) -> str:
        """Prefix and name, as children name their parent's queue."""
        return f"{self.prefix}:{self.name}"


def _open(url: str | None) -> RedisConnection:
    url = url or os.environ.get("REDIS_URL")
    if url is None:
        raise QueueError("no Redis is named: give a connection, or set REDIS_URL")
    return connect(url)
