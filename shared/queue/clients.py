"""The clients of Redis: made from URLs, named for those who list them, compared, and closed."""

import threading
import weakref
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.exceptions import ResponseError
from redis.retry import Retry
from redis.sentinel import MasterNotFoundError, Sentinel, SentinelConnectionPool

from shared.errors import QueueError
from shared.queue.addresses import Deployment, RedisAddress, read_address
from shared.queue.clusters import join_cluster, nodes_of, settings_of
from shared.queue.connection import MAX_BLOCK_S, RedisConnection, redis_errors

# Each Sentinel of several that do not answer holds up everybody who looks for the primary.
_SENTINEL_TIMEOUT_S = 2.0

_waiters: weakref.WeakKeyDictionary[RedisConnection, dict[str, RedisConnection]] = (
    weakref.WeakKeyDictionary()
)
_waiters_lock = threading.Lock()


def connect(
    url: str, *, client_name: str | None = None, socket_timeout_s: float = 5.0
) -> RedisConnection:
    """Return a client for a URL; it connects at first use, but to a Cluster at once.

    ``redis://``, ``rediss://`` and ``unix://`` name one Redis;
    ``redis+sentinel://HOST:PORT,HOST:PORT/NAME/DB`` the Sentinels that know which one is the
    primary called NAME. Its login is that of Redis; ``?sentinel_username=…&sentinel_password=…``
    is that of the Sentinels. ``rediss+sentinel://`` is TLS for both.
    ``redis+cluster://HOST:PORT,HOST:PORT`` are nodes of a Cluster, that know the others.

    The driver's own retries are off, those of connecting too: after a lost reply it would repeat
    a call whose effect nobody knows. Repeating is for callers, whose calls are safe to repeat.
    Safe to share between threads. Answers come as bytes.

    Raises:
        QueueError: not such a URL.
        QueueUnavailable: no node of a Cluster answers.
    """
    try:
        return _open(url, _settings_of_ours(client_name, socket_timeout_s))
    except (ValueError, TypeError) as exc:
        # The second one: an option that no connection has.
        raise QueueError(f"not a Redis URL: {exc}") from exc


def _open(url: str, settings: dict[str, Any]) -> RedisConnection:
    address = read_address(url)
    if url.startswith("unix://"):
        # Only of a network there is such a thing.
        del settings["socket_keepalive"]
    if address is None:
        client = redis.Redis.from_url(url, **settings)
    elif address.deployment is Deployment.CLUSTER:
        # The driver's own client of a Cluster overlooks what it does not know.
        redis.Redis(**address.options)
        return _join(address.nodes, {**settings, **address.options})
    else:
        client = _ask_sentinels(address, settings)
    pool = client.connection_pool
    # Made, not used: an unknown option is to be met here, not by the first command.
    pool.connection_class(**pool.connection_kwargs)
    return client


def _settings_of_ours(client_name: str | None, socket_timeout_s: float) -> dict[str, Any]:
    return {
        "socket_timeout": socket_timeout_s,
        "socket_connect_timeout": socket_timeout_s,
        "socket_keepalive": True,
        "health_check_interval": 30,
        "retry": _no_retry(),
        "retry_on_error": [],
        "protocol": 2,
        "client_name": client_name,
        "redis_connect_func": _greet,
    }


def check_client(client: RedisConnection) -> None:
    """Refuse a client that answers or repeats otherwise than one of :func:`connect`.

    A repeated call is a second job, and answers that are text already cannot be read.

    Raises:
        QueueError: what is wrong with it, and what to do.
    """
    if isinstance(client, RedisCluster):
        settings = {**settings_of(client), "retry": client.retry}
    else:
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


def connection_named(client: RedisConnection, name: str) -> RedisConnection:
    """Return a client like ``client`` whose connections carry ``name`` and may block.

    BullMQ finds workers by the names of their connections, so these are not mixed with others.
    The same one is returned as long as ``client`` lives.
    """
    with _waiters_lock:
        found = _waiters.setdefault(client, {}).get(name)
    if found is not None:
        return found
    # Not under the lock: a Cluster is asked for its nodes, and may be long in answering.
    made = _copy_of(client, client_name=name, socket_timeout=MAX_BLOCK_S + 5.0)
    with _waiters_lock:
        kept = _waiters.setdefault(client, {}).setdefault(name, made)
    if kept is not made:
        made.close()
    return kept


def is_same_database(client: RedisConnection, other: RedisConnection) -> bool:
    """Return whether two clients are of one database of one Redis.

    By what they were made with: two names of one host are two hosts. Two lists of Sentinels, or of
    nodes of a Cluster, are of one deployment where any of them is in both. Nothing is sent.
    """
    if client is other:
        return True
    nodes, named = _place_of(client)
    other_nodes, other_named = _place_of(other)
    return named == other_named and not nodes.isdisjoint(other_nodes)


def disconnect(client: RedisConnection) -> None:
    """Close a client and the blocking connections that were made for it."""
    with _waiters_lock:
        waiters = _waiters.pop(client, {})
    for one in (*waiters.values(), client):
        one.close()
    if isinstance(client, redis.Redis) and isinstance(
        client.connection_pool, SentinelConnectionPool
    ):
        client.connection_pool.sentinel_manager.close()


class _Sentinels(Sentinel):
    """Asks for the primary one thread at a time.

    The driver reorders its list of Sentinels as it asks: two threads at once may lose one of it.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]], **options: Any) -> None:
        super().__init__(addresses, **options)  # type: ignore[no-untyped-call]
        self._names = ", ".join(f"{host}:{port}" for host, port in addresses)
        self._asking = threading.Lock()

    def discover_master(self, service_name: str) -> tuple[str, int]:
        with self._asking:
            try:
                host, port = super().discover_master(service_name)  # type: ignore[no-untyped-call]
            except MasterNotFoundError:
                # The driver's text shows all that the connections are made with, passwords too.
                text = f"No master found for {service_name!r} by the Sentinels at {self._names}"
                raise MasterNotFoundError(text) from None
            return str(host), int(port)


def _ask_sentinels(address: RedisAddress, settings: dict[str, Any]) -> redis.Redis:
    timeouts = dict.fromkeys(("socket_timeout", "socket_connect_timeout"), _SENTINEL_TIMEOUT_S)
    options = {**timeouts, "retry": _no_retry(), "protocol": 2, **address.sentinel_options}
    sentinels = _Sentinels(address.nodes, sentinel_kwargs=options)
    options = {**settings, **address.options}
    client: redis.Redis = sentinels.master_for(address.service, **options)  # type: ignore[no-untyped-call]
    return client


def _join(nodes: Iterable[tuple[str, int]], settings: Mapping[str, Any]) -> RedisConnection:
    # The driver logs in by itself, and calls this then.
    own = {"client_name": None, "redis_connect_func": partial(_name, settings["client_name"])}
    with redis_errors():
        return join_cluster(nodes, {**settings, **own, "retry": _no_retry()})


def _place_of(client: RedisConnection) -> tuple[set[tuple[str, int]], tuple[object, ...]]:
    """Return the nodes that a client asks, a socket as one; and what it wants of them."""
    if isinstance(client, RedisCluster):
        return set(nodes_of(client)), ("cluster",)
    pool = client.connection_pool
    database = int(pool.connection_kwargs.get("db") or 0)
    if isinstance(pool, SentinelConnectionPool):
        sentinels = {_node_of(each) for each in pool.sentinel_manager.sentinels}
        return sentinels, (pool.service_name, database)
    return {_node_of(client)}, (database,)


def _node_of(client: redis.Redis) -> tuple[str, int]:
    settings = client.connection_pool.connection_kwargs
    if "path" in settings:
        return str(settings["path"]), 0
    return str(settings.get("host") or "localhost"), int(settings.get("port") or 6379)


def _copy_of(client: RedisConnection, **changed: Any) -> RedisConnection:
    if isinstance(client, RedisCluster):
        return _join(nodes_of(client), {**settings_of(client), **changed})
    pool = client.connection_pool
    settings = {**pool.connection_kwargs, **changed, "connection_class": pool.connection_class}
    if isinstance(pool, SentinelConnectionPool):
        # Such a pool gives itself to its connections.
        del settings["connection_pool"]
        watched = (pool.service_name, pool.sentinel_manager)
        return redis.Redis.from_pool(SentinelConnectionPool(*watched, **settings))  # type: ignore[no-untyped-call]
    return redis.Redis.from_pool(type(pool)(**settings))


def _greet(connection: Any) -> None:
    """Log in on a new connection; do without its name where Redis forbids CLIENT."""
    name, connection.client_name = connection.client_name, None
    try:
        connection.on_connect()
    finally:
        connection.client_name = name
    _name(name, connection)


def _name(name: str | None, connection: Any) -> None:
    if name is not None:
        connection.send_command("CLIENT", "SETNAME", name)
        # Names are for those who list the clients: BullMQ's getWorkers, Bull Board.
        with suppress(ResponseError):
            connection.read_response()


def _no_retry() -> Retry:
    return Retry(NoBackoff(), 0)
