"""What redis-py's client of a Cluster needs beside what its client of one Redis does.

Raises the driver's errors; who calls turns them into ours.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import ClusterError


def join_cluster(nodes: Iterable[tuple[str, int]], settings: Mapping[str, Any]) -> RedisCluster:
    """Return a client that knows a Cluster by some of its nodes, and follows its redirections.

    That slots of others are without a node does no harm.
    """
    known = [ClusterNode(host, port) for host, port in nodes]  # type: ignore[no-untyped-call]
    return RedisCluster(startup_nodes=known, require_full_coverage=False, **settings)


def is_cluster_client(client: object) -> bool:
    """Return whether a client follows the keys of a Cluster."""
    return isinstance(client, RedisCluster)


def nodes_of(client: RedisCluster) -> list[tuple[str, int]]:
    """Return the nodes that a client knows."""
    nodes = client.get_nodes()  # type: ignore[no-untyped-call]
    return [(str(node.host), int(node.port)) for node in nodes]


def settings_of(client: RedisCluster) -> dict[str, Any]:
    """Return what a client's connections are made with."""
    return dict(client.get_connection_kwargs())  # type: ignore[no-untyped-call]


def ask_node(client: RedisCluster, key: str, command: tuple[Any, ...]) -> Any:
    """Send a command to the node where ``key`` is, and return its answer."""
    node = client.get_node_from_key(key)  # type: ignore[no-untyped-call]
    if node is None:
        raise ClusterError(f"no node of the Cluster holds {key}")
    answer: Any = client.execute_command(*command, target_nodes=node)  # type: ignore[no-untyped-call]
    if command[0] == "SCAN":
        # Of several nodes each would have its cursor.
        cursors, keys = answer
        return cursors[node.name], keys
    return answer


def is_one_slot(client: RedisCluster, base: str) -> bool:
    """Return whether all keys that begin with ``base`` are in one slot, by a hash tag in it."""
    names = ("wait", "active", "meta")
    slots = {client.keyslot(base + name) for name in names}  # type: ignore[no-untyped-call]
    return len(slots) == 1
