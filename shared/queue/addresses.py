"""Where a URL says that Redis is: one server, Sentinels that know it, or the nodes of a Cluster."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import unquote

from redis.connection import parse_url

_MANY_NODES = re.compile(
    r"(?P<scheme>rediss?)\+(?P<kind>sentinel|cluster)://(?P<login>[^/?]*@)?(?P<nodes>[^@/?]+)"
    r"(?P<path>/[^?]*)?(?P<query>\?.*)?",
    re.IGNORECASE | re.DOTALL,
)
_SENTINEL_PORT = 26_379
_CLUSTER_PORT = 6_379


class Deployment(StrEnum):
    """How a Redis of several nodes is run."""

    SENTINEL = "sentinel"
    CLUSTER = "cluster"


@dataclass(frozen=True, slots=True)
class RedisAddress:
    """The nodes that a URL names, and what connections to them are made with.

    ``options`` are redis-py's, read as it reads those of its own URLs; ``sentinel_options`` those
    for the Sentinels. ``service`` is the name of the primary that the Sentinels watch, "" for a
    Cluster.
    """

    deployment: Deployment
    nodes: tuple[tuple[str, int], ...]
    service: str
    options: Mapping[str, Any]
    sentinel_options: Mapping[str, Any]


def read_address(url: str) -> RedisAddress | None:
    """Return the nodes that ``redis+sentinel://`` or ``redis+cluster://`` names, else None.

    Raises:
        ValueError: it names them wrongly; the text says what is accepted.
    """
    found = _MANY_NODES.fullmatch(url)
    if found is None:
        return None
    deployment = Deployment(found["kind"].lower())
    # Of the login and the options redis-py makes what it would make of those of one server.
    one_server = (
        f"{found['scheme'].lower()}://{found['login'] or ''}localhost{found['query'] or ''}"
    )
    options = _parse(one_server)
    has_tls = options.pop("connection_class", None) is not None
    options = {name: value for name, value in options.items() if name not in ("host", "port")}
    if has_tls:
        options["ssl"] = True
    is_cluster = deployment is Deployment.CLUSTER
    nodes = _read_nodes(found["nodes"], _CLUSTER_PORT if is_cluster else _SENTINEL_PORT)
    path = [unquote(part) for part in (found["path"] or "").split("/") if part]
    if is_cluster:
        return _of_cluster(nodes, path, options)
    return _of_sentinels(nodes, path, options)


def _read_nodes(text: str, default_port: int) -> tuple[tuple[str, int], ...]:
    parsed = [_parse(f"redis://{node.strip()}") for node in text.split(",")]
    nodes = tuple((node.get("host", ""), node.get("port") or default_port) for node in parsed)
    if not all(host for host, _ in nodes):
        raise ValueError(f"{text} are not nodes, as HOST:PORT,HOST:PORT")
    return nodes


def _parse(url: str) -> dict[str, Any]:
    return dict(parse_url(url))  # type: ignore[no-untyped-call]


def _of_cluster(
    nodes: tuple[tuple[str, int], ...], path: list[str], options: dict[str, Any]
) -> RedisAddress:
    if path not in ([], ["0"]) or options.pop("db", 0) != 0:
        raise ValueError("a Cluster has one database only: redis+cluster://HOST:PORT,HOST:PORT")
    return RedisAddress(Deployment.CLUSTER, nodes, "", options, {})


def _of_sentinels(
    nodes: tuple[tuple[str, int], ...], path: list[str], options: dict[str, Any]
) -> RedisAddress:
    service, *database = path or [""]
    if not service or len(database) > 1 or not all(one.isdecimal() for one in database):
        raise ValueError(
            "it names no primary to ask the Sentinels for: redis+sentinel://HOST:PORT,HOST:PORT/NAME"
            " or …/NAME/DB"
        )
    if database:
        options["db"] = int(database[0])
    login = {name: options.pop(f"sentinel_{name}", None) for name in ("username", "password")}
    tls = {name: value for name, value in options.items() if name.startswith("ssl")}
    return RedisAddress(Deployment.SENTINEL, nodes, service, options, {**tls, **login})
