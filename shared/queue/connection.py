"""The connection to Redis, and calls of the scripts: one call, many jobs.

No hidden retries, and no driver error leaves this package.
"""

import hashlib
import re
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import resources
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterDownError,
    MasterDownError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    RedisError,
    ResponseError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError
from redis.retry import Retry

from shared.errors import QueueError, QueueFull, QueueRefused, QueueUnavailable

RedisConnection = redis.Redis

# Longest single blocking call: a frozen Redis is noticed soon after it, and stop is not held up.
MAX_BLOCK_S = 5.0
_LAYOUT = ("layout",)
_USES = re.compile(r"^-- Uses: (.+)$", re.MULTILINE)
_TRANSIENT = (
    "LOADING",
    "READONLY",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "TRYAGAIN",
    "UNBLOCKED",
    "BUSY ",
    "MISCONF",
    "NOREPLICAS",
)

# What a script meets comes under the code ERR; only these words tell it from a fault of ours.
_SCRIPT_REFUSALS = ("ACL failure in script", "nknown command", "nknown Redis command")
_REFUSED_COMMAND = re.compile(r"'([^'\s]{1,40})' command|command '([^'\s]{1,40})'")

_waiters: weakref.WeakKeyDictionary[RedisConnection, dict[str, RedisConnection]] = (
    weakref.WeakKeyDictionary()
)
_waiters_lock = threading.Lock()


def connect(
    url: str, *, client_name: str | None = None, socket_timeout_s: float = 5.0
) -> RedisConnection:
    """Return a client for ``redis://``, ``rediss://`` or ``unix://``; it connects at first use.

    The driver's own retries are off, those of connecting too: after a lost reply it would repeat
    a call whose effect nobody knows. Repeating is for callers, whose calls are safe to repeat.
    Safe to share between threads. Answers come as bytes.

    Raises:
        QueueError: not such a URL.
    """
    try:
        return redis.Redis.from_url(
            url,
            client_name=client_name,
            socket_timeout=socket_timeout_s,
            socket_connect_timeout=socket_timeout_s,
            socket_keepalive=True,
            health_check_interval=30,
            retry=Retry(NoBackoff(), 0),
            retry_on_error=[],
            protocol=2,
            redis_connect_func=_greet,
        )
    except ValueError as exc:
        raise QueueError(f"not a Redis URL: {exc}") from exc


def check_client(client: RedisConnection) -> None:
    """Refuse a client that answers or repeats otherwise than one of :func:`connect`.

    A repeated call is a second job, and answers that are text already cannot be read.

    Raises:
        QueueError: what is wrong with it, and what to do.
    """
    settings = client.connection_pool.connection_kwargs
    retry = settings.get("retry")
    faults = {
        "decodes answers": settings.get("decode_responses"),
        "repeats calls by itself": retry is None or retry.get_retries() != 0,
        "speaks RESP 3": settings.get("protocol") != 2,
    }
    found = [fault for fault, is_there in faults.items() if is_there]
    if found:
        raise QueueError(f"this client {' and '.join(found)}: give a URL, or a client of connect()")


def _greet(connection: Any) -> None:
    """Log in on a new connection; do without its name where Redis forbids CLIENT."""
    name, connection.client_name = connection.client_name, None
    try:
        connection.on_connect()
    finally:
        connection.client_name = name
    if name is not None:
        connection.send_command("CLIENT", "SETNAME", name)
        # Names are for those who list the clients: BullMQ's getWorkers, Bull Board.
        with suppress(ResponseError):
            connection.read_response()


def disconnect(client: RedisConnection) -> None:
    """Close a client and the blocking connections that were made for it."""
    with _waiters_lock:
        waiters = _waiters.pop(client, {})
    for one in (*waiters.values(), client):
        one.close()


@contextmanager
def redis_errors() -> Iterator[None]:
    """Turn whatever redis-py raises inside into the errors of ``shared.errors``."""
    try:
        yield
    except (RedisConnectionError, RedisTimeoutError) as exc:
        raise QueueUnavailable(f"Redis does not answer: {exc}") from exc
    except OutOfMemoryError as exc:
        raise QueueFull(f"Redis is full: {exc}") from exc
    except RedisError as exc:
        raise map_error(exc) from exc


def map_error(error: RedisError) -> QueueError:
    """Return the error to raise for an answer by which Redis refuses a command."""
    text = str(error)
    if isinstance(error, AskError | MovedError):
        reason = f"the keys are on another node of its Cluster: {error.host}:{error.port}"
        return QueueRefused(reason, what="keys of another node of its Cluster", is_cluster=True)
    if isinstance(error, ClusterCrossSlotError):
        reason = "it is a Redis Cluster, and the keys of a script are in several of its slots"
        return QueueRefused(reason, what="keys in several slots of its Cluster", is_cluster=True)
    if isinstance(error, NoPermissionError) or any(word in text for word in _SCRIPT_REFUSALS):
        return QueueRefused(f"Redis refused: {text}", what=_refused_command(text))
    # The driver cuts these codes off the text.
    if isinstance(error, ClusterDownError | MasterDownError | TryAgainError):
        return QueueUnavailable(f"Redis cannot serve now: {text}")
    return _error_of_text(text)


def _refused_command(text: str) -> str:
    found = _REFUSED_COMMAND.search(text)
    if found is None:
        return "access to a key"
    return (found[1] or found[2]).replace("|", " ").upper()


def _error_of_text(text: str) -> QueueError:
    # Inside a script the code may stand behind other words, and redis-py cuts it off for some.
    if "OOM " in text or "used memory > 'maxmemory'" in text:
        return QueueFull(f"Redis is full: {text}")
    if any(code in text for code in _TRANSIENT) or "read only replica" in text:
        return QueueUnavailable(f"Redis cannot serve now: {text}")
    return QueueError(f"Redis refused: {text}")


def run(client: RedisConnection, *command: Any) -> Any:
    """Send one command and return its answer."""
    execute: Callable[..., Any] = client.execute_command
    with redis_errors():
        return execute(*command)


def run_all(client: RedisConnection, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Send reading commands in one round trip, not as a transaction; return their answers."""
    if not commands:
        return []
    with redis_errors(), client.pipeline(transaction=False) as pipeline:
        queue_up: Callable[..., Any] = pipeline.execute_command
        for command in commands:
            queue_up(*command)
        return list(pipeline.execute())


def run_on_any_type(client: RedisConnection, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Send reading commands as :func:`run_all`; one whose key is of another type answers None.

    For keys of single jobs and counters, which anybody may have written: one of them must not
    hide the others.
    """
    if not commands:
        return []
    with redis_errors(), client.pipeline(transaction=False) as pipeline:
        queue_up: Callable[..., Any] = pipeline.execute_command
        for command in commands:
            queue_up(*command)
        return [_unless_of_another_type(answer) for answer in pipeline.execute(False)]


def _unless_of_another_type(answer: Any) -> Any:
    if isinstance(answer, RedisError):
        if "WRONGTYPE" in str(answer):
            return None
        raise answer
    return answer


def connection_named(client: RedisConnection, name: str) -> RedisConnection:
    """Return a client like ``client`` whose connections carry ``name`` and may block.

    BullMQ finds workers by the names of their connections, so these are not mixed with others.
    The same one is returned as long as ``client`` lives.
    """
    with _waiters_lock:
        by_name = _waiters.setdefault(client, {})
        if name not in by_name:
            settings = dict(client.connection_pool.connection_kwargs)
            settings |= {"client_name": name, "socket_timeout": MAX_BLOCK_S + 5.0}
            pool_class = type(client.connection_pool)
            connection_class = client.connection_pool.connection_class
            pool = pool_class(connection_class=connection_class, **settings)
            by_name[name] = redis.Redis.from_pool(pool)
        return by_name[name]


def text(value: bytes | str) -> str:
    """Decode an id or a name so that :func:`raw` gives back the same bytes."""
    return value if isinstance(value, str) else value.decode("utf-8", "surrogateescape")


def readable(value: bytes | None) -> str | None:
    """Decode for reading: always valid text, whatever bytes a foreign producer wrote."""
    return None if value is None else value.decode("utf-8", "replace")


def raw(value: str) -> bytes:
    """Encode any text at all; what UTF-8 cannot hold is written as an escape."""
    try:
        return value.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return value.encode("utf-8", "backslashreplace")


@cache
def script_text(name: str) -> str:
    """Return a script as it is sent: the shared parts that its header names, then the script."""
    return "\n".join(map(read_lua, (*parts_of(name), name)))


def parts_of(name: str) -> tuple[str, ...]:
    """Return the parts that a script shares with others, each before those that build on it."""
    named = _USES.search(read_lua(name))
    return tuple(named[1].split(", ")) if named else _LAYOUT


def read_lua(name: str) -> str:
    """Return one file of ``shared/queue/lua``."""
    return resources.files("shared.queue").joinpath("lua", f"{name}.lua").read_text("utf-8")


def script_names() -> list[str]:
    """Return the names of all scripts; what is no script, but part of some, does not begin so."""
    folder = resources.files("shared.queue").joinpath("lua")
    names = [entry.name.removesuffix(".lua") for entry in folder.iterdir()]
    return sorted(name for name in names if read_lua(name).startswith(f"-- {name}: "))


@cache
def script_digest(name: str) -> str:
    """Return what Redis knows a script by."""
    return hashlib.sha1(script_text(name).encode(), usedforsecurity=False).hexdigest()


def call(
    client: RedisConnection,
    name: str,
    bases: tuple[str, ...],
    arguments: Sequence[str | int | bytes],
) -> Any:
    """Run a script on the queues whose keys start with ``bases``; return its answer.

    One round trip; a second one only when Redis does not know the script (restart, flush).

    Raises:
        QueueUnavailable: Redis cannot serve now; the script may have run or not.
        QueueFull: Redis is at ``maxmemory`` and the script needs memory; nothing changed.
    """
    execute: Callable[..., Any] = client.execute_command
    with redis_errors():
        try:
            return execute("EVALSHA", script_digest(name), len(bases), *_encode(bases, arguments))
        except NoScriptError:
            return execute("EVAL", script_text(name), len(bases), *_encode(bases, arguments))


def call_unloaded(
    client: RedisConnection,
    name: str,
    bases: tuple[str, ...],
    arguments: Sequence[str | int | bytes],
) -> Any:
    """Run a script as if Redis did not know it; it knows it afterwards. Raises as :func:`call`."""
    execute: Callable[..., Any] = client.execute_command
    with redis_errors():
        return execute("EVAL", script_text(name), len(bases), *_encode(bases, arguments))


def _encode(bases: tuple[str, ...], arguments: Sequence[str | int | bytes]) -> list[int | bytes]:
    everything = (*bases, *arguments)
    try:
        return [value.encode() if isinstance(value, str) else value for value in everything]
    except UnicodeEncodeError:
        # Ids of a foreign producer, of any bytes.
        return [raw(value) if isinstance(value, str) else value for value in everything]
