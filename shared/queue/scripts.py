"""Runs the Lua scripts: one call, many jobs; answers in words."""

import hashlib
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from shared.queue.connection import RedisConnection, raw, redis_errors

_SHARED_PARTS = ("layout", "flows", "deduplication")


@cache
def script_text(name: str) -> str:
    """Return a script as it is sent: what the scripts share, then the script itself."""
    return "\n".join(read_lua(part) for part in (*_SHARED_PARTS, name))


def read_lua(name: str) -> str:
    """Return one file of ``shared/queue/lua``."""
    return resources.files("shared.queue").joinpath("lua", f"{name}.lua").read_text("utf-8")


def script_names() -> list[str]:
    """Return the names of all scripts, without the parts that they share."""
    folder = resources.files("shared.queue").joinpath("lua")
    names = [entry.name.removesuffix(".lua") for entry in folder.iterdir()]
    return sorted(name for name in names if name not in _SHARED_PARTS)


@cache
def script_digest(name: str) -> str:
    """Return what Redis knows a script by."""
    return hashlib.sha1(script_text(name).encode(), usedforsecurity=False).hexdigest()


def call(
    client: RedisConnection, name: str, bases: tuple[str, ...], arguments: list[str | int | bytes]
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
    client: RedisConnection, name: str, bases: tuple[str, ...], arguments: list[str | int | bytes]
) -> Any:
    """Run a script as if Redis did not know it; it knows it afterwards. Raises as :func:`call`."""
    execute: Callable[..., Any] = client.execute_command
    with redis_errors():
        return execute("EVAL", script_text(name), len(bases), *_encode(bases, arguments))


def _encode(bases: tuple[str, ...], arguments: list[str | int | bytes]) -> list[int | bytes]:
    return [raw(a) if isinstance(a, str) else a for a in (*bases, *arguments)]
