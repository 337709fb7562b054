"""What is sent to Redis: commands, and calls of the scripts: one call, many jobs.

No hidden retries, and no driver error leaves this package.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import resources
from typing import Any

import redis
from redis.cluster import RedisCluster
from redis.exceptions import (
    AskError,
    ClusterCrossSlotError,
    ClusterError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    RedisClusterException,
    RedisError,
    TryAgainError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from shared.errors import QueueError, QueueFull, QueueRefused, QueueUnavailable
from shared.queue.clusters import ask_all, ask_node, is_one_slot

RedisConnection = redis.Redis | RedisCluster

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
_OF_A_NODE = ("name", "redis_connection")
_REFUSED_COMMAND = re.compile(r"'([^'\s]{1,40})' command|command '([^'\s]{1,40})'")


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
    except RedisClusterException as exc:
        raise _error_of_cluster(exc) from exc
    except AttributeError as exc:
        # The driver looks for a node that it does not know: one without slots, which is given some.
        if exc.obj is not None or exc.name not in _OF_A_NODE:
            raise
        raise QueueUnavailable("Redis moves the keys to a node that is new to the Cluster") from exc
    except IndexError as exc:
        # The driver looks for the first of the nodes that hold a slot.
        raise QueueUnavailable("no node of the Cluster holds a slot") from exc


def map_error(error: RedisError) -> QueueError:
    """Return the error to raise for an answer by which Redis refuses a command."""
    text = str(error)
    if isinstance(error, AskError | MovedError):
        reason = f"the keys are on another node of its Cluster: {error.host}:{error.port}"
        return QueueRefused(reason, what="keys of another node of its Cluster", is_cluster=True)
    if isinstance(error, ClusterCrossSlotError):
        return _several_slots()
    if isinstance(error, NoPermissionError) or any(word in text for word in _SCRIPT_REFUSALS):
        return QueueRefused(f"Redis refused: {text}", what=_refused_command(text))
    # The driver cuts these codes off the text.
    if type(error) is ClusterError:
        return QueueUnavailable(f"Redis cannot serve now: its Cluster moves the keys ({text})")
    if isinstance(error, ClusterError | TryAgainError):
        return QueueUnavailable(f"Redis cannot serve now: {text}")
    return _error_of_text(text)


def _several_slots() -> QueueRefused:
    reason = "it is a Redis Cluster, and the keys of a script are in several of its slots"
    return QueueRefused(reason, what="keys in several slots of its Cluster", is_cluster=True)


def _error_of_cluster(error: RedisClusterException) -> QueueError:
    """Return the error for what the driver itself finds wrong with a Cluster."""
    if "same key slot" in str(error):
        return _several_slots()
    if "not enabled" in str(error):
        return QueueError("Redis is no Cluster: name it by redis:// or rediss://")
    return QueueUnavailable(f"Redis does not answer: {error}")


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


def run_at(client: RedisConnection, key: str, *command: Any) -> Any:
    """Send one command that names no key, to the node where ``key`` is; return its answer."""
    if not isinstance(client, RedisCluster):
        return run(client, *command)
    with redis_errors():
        return ask_node(client, key, command)


def check_hash_tag(client: RedisConnection, base: str) -> None:
    """Refuse a queue of a Cluster whose keys, that all begin with ``base``, have no slot in common.

    Raises:
        QueueRefused: the text says what to do.
    """
    if isinstance(client, RedisCluster) and not is_one_slot(client, base):
        raise QueueRefused(
            f"{base} has no hash tag, and Redis is a Cluster: put the prefix in braces, "
            "as prefix='{bull}' or QUEUE_PREFIX={bull}",
            what="keys in several slots of its Cluster",
            is_cluster=True,
        )


def run_all(client: RedisConnection, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Send reading commands in one round trip, not as a transaction; return their answers."""
    if not commands:
        return []
    if isinstance(client, RedisCluster):
        with redis_errors():
            return list(map(_unless_refused, ask_all(client, commands)))
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
    if isinstance(client, RedisCluster):
        with redis_errors():
            return list(map(_unless_of_another_type, ask_all(client, commands)))
    with redis_errors(), client.pipeline(transaction=False) as pipeline:
        queue_up: Callable[..., Any] = pipeline.execute_command
        for command in commands:
            queue_up(*command)
        return [_unless_of_another_type(answer) for answer in pipeline.execute(False)]


def _unless_refused(answer: Any) -> Any:
    if isinstance(answer, RedisError):
        raise answer
    return answer


def _unless_of_another_type(answer: Any) -> Any:
    if isinstance(answer, RedisError):
        if "WRONGTYPE" in str(answer):
            return None
        raise answer
    return answer


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
    keys = _keys_of(client, bases)
    with redis_errors():
        try:
            return execute("EVALSHA", script_digest(name), len(keys), *_encode(keys, arguments))
        except NoScriptError:
            return execute("EVAL", script_text(name), len(keys), *_encode(keys, arguments))


def call_unloaded(
    client: RedisConnection,
    name: str,
    bases: tuple[str, ...],
    arguments: Sequence[str | int | bytes],
) -> Any:
    """Run a script as if Redis did not know it; it knows it afterwards. Raises as :func:`call`."""
    execute: Callable[..., Any] = client.execute_command
    keys = _keys_of(client, bases)
    with redis_errors():
        return execute("EVAL", script_text(name), len(keys), *_encode(keys, arguments))


def _keys_of(client: RedisConnection, bases: tuple[str, ...]) -> tuple[str, ...]:
    """Return the keys that a script is called with; none of them is ever there.

    A Cluster that moves a slot sends a call whose only key is not there on to the new node, where
    the script would find half of the queue. Of two keys it refuses the call until all is moved.
    """
    if len(bases) > 1 or not isinstance(client, RedisCluster):
        return bases
    return (*bases, f"{bases[0]}own:slot")


def _encode(bases: tuple[str, ...], arguments: Sequence[str | int | bytes]) -> list[int | bytes]:
    everything = (*bases, *arguments)
    try:
        return [value.encode() if isinstance(value, str) else value for value in everything]
    except UnicodeEncodeError:
        # Ids of a foreign producer, of any bytes.
        return [raw(value) if isinstance(value, str) else value for value in everything]
