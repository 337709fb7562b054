"""The line between one role and its stores: counted call by call, and cut where a test says.

A cut line is a crash of the role: the call that meets it, and every call after it, raises
:class:`Crash`, so that no ``finally`` of the role can still do anything to the stores. A line may
also break for one call only: the role meets the driver's error and lives on.
"""

from collections.abc import Callable
from types import TracebackType
from typing import Any

from pymongo.collection import Collection
from pymongo.errors import AutoReconnect
from redis.exceptions import ConnectionError as RedisConnectionError

from shared.queue import RedisConnection
from shared.store import Database


class Crash(BaseException):
    """The role is gone, as after a kill -9: no handler of errors may catch it."""


class Line:
    """All calls of one role to Redis and MongoDB, in order."""

    def __init__(self) -> None:
        self.calls = 0
        self.is_cut = False
        self.was_met = False
        self._fault_at: int | None = None
        self._is_executed = False
        self._is_passing = False

    def cut_at(self, call: int, *, executed: bool, is_passing: bool = False) -> None:
        """Cut at the ``call``-th call from now: before it, or after it with its reply lost.

        ``is_passing``: only that call fails, with the error of a lost connection.
        """
        self._fault_at = self.calls + call
        self._is_executed = executed
        self._is_passing = is_passing

    def cut(self) -> None:
        """Cut now: the next call does not get through."""
        self.is_cut = True

    def fix(self) -> None:
        """Plan no fault any more."""
        self._fault_at = None

    def send(self, call: Callable[[], Any], lost: Callable[[], Exception]) -> Any:
        """Let one call through, unless the line is cut; ``lost`` makes its driver's error."""
        if self.is_cut:
            raise Crash
        self.calls += 1
        if self.calls != self._fault_at:
            return call()
        self.was_met = True
        self.is_cut = not self._is_passing
        if self._is_executed:
            call()
        raise lost() if self._is_passing else Crash


class LinedRedis:
    """A Redis client behind a line, as far as ``shared.queue`` uses one."""

    def __init__(self, client: RedisConnection, line: Line) -> None:
        self._client = client
        self._line = line

    def execute_command(self, *command: Any) -> Any:
        execute: Callable[..., Any] = self._client.execute_command
        return self._line.send(lambda: execute(*command), RedisConnectionError)

    @property
    def connection_pool(self) -> Any:
        """The pool of connections, for what goes round the line: the API's limits."""
        return self._client.connection_pool

    def pipeline(self, *, transaction: bool) -> "_LinedPipeline":
        return _LinedPipeline(self._client.pipeline(transaction=transaction), self._line)


class _LinedPipeline:
    def __init__(self, pipeline: Any, line: Line) -> None:
        self._pipeline = pipeline
        self._line = line

    def __enter__(self) -> "_LinedPipeline":
        self._pipeline.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._pipeline.__exit__(kind, value, traceback)

    def execute_command(self, *command: Any) -> Any:
        return self._pipeline.execute_command(*command)

    def execute(self, raise_on_error: bool = True) -> Any:
        return self._line.send(lambda: self._pipeline.execute(raise_on_error), RedisConnectionError)


class LinedDatabase:
    """A database behind a line, as far as the stores use one."""

    def __init__(self, database: Database, line: Line) -> None:
        self._database = database
        self._line = line
        self.name = database.name

    def collection(self, name: str) -> "_LinedCollection":
        return _LinedCollection(self._database.collection(name), self._line)


class _LinedCollection:
    def __init__(self, collection: Collection[dict[str, Any]], line: Line) -> None:
        self._collection = collection
        self._line = line

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method: Callable[..., Any] = getattr(self._collection, name)
        return lambda *args, **options: self._line.send(
            lambda: method(*args, **options), AutoReconnect
        )
