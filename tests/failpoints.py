"""Faults on demand: MongoDB's fail points, replies of Redis that get lost, a Redis that is full."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import redis
from pymongo import MongoClient
from pymongo.database import Database

from shared.queue import RedisConnection
from tests.mongodb_features import Feature, require

# Errors of MongoDB's. The driver tries again by itself where a server goes away, not without disk.
NOT_PRIMARY, SHUTTING_DOWN, WRITE_CONCERN, NO_DISK, UNAUTHORIZED = 10107, 11600, 64, 14031, 13


class FailPoints:
    """MongoDB's own ``failCommand``: the next commands of some names fail as told."""

    def __init__(self, client: MongoClient[dict[str, Any]]) -> None:
        self._client = client

    def fail(self, *commands: str, times: int | None, **how: Any) -> None:
        """Let the next ``times`` commands fail, or all of them for None, until :meth:`off`."""
        mode: Any = "alwaysOn" if times is None else {"times": times}
        data = {"failCommands": list(commands), **how}
        self._client.admin.command("configureFailPoint", "failCommand", mode=mode, data=data)

    def off(self) -> None:
        self._client.admin.command("configureFailPoint", "failCommand", mode="off")


def refuse_titles(database: Database[dict[str, Any]], beginning: str | None) -> None:
    """Let MongoDB refuse items whose title begins so, each with a write error of its own.

    As a schema of the operator's would; None lets it take all again.
    """
    require(Feature.VALIDATORS)
    if "items" not in database.list_collection_names():
        database.create_collection("items")
    validator = {"title": {"$not": {"$regex": f"^{beginning}"}}} if beginning else {}
    database.command("collMod", "items", validator=validator)


@contextmanager
def lost_reply(client: RedisConnection, *, which: int = 1) -> Iterator[None]:
    """Let Redis execute the ``which``-th command from now on, and lose its answer."""
    execute: Callable[..., Any] = client.execute_command
    sent = 0

    def losing(*args: Any, **options: Any) -> Any:
        nonlocal sent
        sent += 1
        answer = execute(*args, **options)
        if sent == which:
            raise redis.exceptions.ConnectionError("the answer was lost")
        return answer

    client.execute_command = losing  # type: ignore[method-assign]
    try:
        yield
    finally:
        del client.execute_command
    assert sent >= which


@contextmanager
def full_redis(client: RedisConnection) -> Iterator[None]:
    """Let Redis be over its limit, with the policy that refuses what needs room."""
    client.config_set("maxmemory-policy", "noeviction")
    client.config_set("maxmemory", client.info("memory")["used_memory"] // 2)
    try:
        yield
    finally:
        client.config_set("maxmemory", 0)
