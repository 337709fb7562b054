"""Runs the Lua scripts: one call, many jobs; answers in words."""

import hashlib
import re
from collections.abc import Callable
from functools import cache
from importlib import resources
from typing import Any

from redis.exceptions import NoScriptError

from shared.queue.connection import RedisConnection, raw, redis_errors

_LAYOUT = ("layout",)
_USES = re.compile(r"^-- Uses: (.+)$", re.MULTILINE)


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
