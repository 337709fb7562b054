"""What redis-py's client of a Cluster needs beside what its client of one Redis does.

Raises the driver's errors; who calls turns them into ours.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from redis.cluster import ClusterNode, RedisCluster
from redis.exceptions import AskError, ClusterError, RedisError, TryAgainError
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError


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
    node = _node_of(client, key)
    answer: Any = client.execute_command(*command, target_nodes=node)  # type: ignore[no-untyped-call]
    if command[0] == "SCAN":
        # Of several nodes each would have its cursor.
        cursors, keys = answer
        return cursors[node.name], keys
    return answer


def ask_all(client: RedisCluster, commands: Sequence[Sequence[Any]]) -> list[Any]:
    """Send commands, each on the key behind its name, in one round trip a node; errors are answers.

    The driver's own pipeline asks for each command once more when a node does not answer: a look at
    a hundred jobs would wait as many times for one that is frozen.
    """
    places: dict[ClusterNode, list[int]] = {}
    for place, command in enumerate(commands):
        places.setdefault(_node_of(client, command[1]), []).append(place)
    answers: list[Any] = [None] * len(commands)
    for node, asked in places.items():
        answered = _ask_at_once(client, node, [commands[place] for place in asked])
        for place, answer in zip(asked, answered, strict=True):
            answers[place] = _followed(client, commands[place], answer)
    return answers


def _ask_at_once(
    client: RedisCluster, node: ClusterNode, commands: Sequence[Sequence[Any]]
) -> list[Any]:
    with client.get_redis_connection(node).pipeline(transaction=False) as pipeline:
        for command in commands:
            pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
        try:
            return list(pipeline.execute(raise_on_error=False))
        except (RedisConnectionError, RedisTimeoutError):
            # As the driver does for a single command: the next one may find another node.
            client.nodes_manager.initialize()
            raise


def _followed(client: RedisCluster, command: Sequence[Any], answer: Any) -> Any:
    """Return an answer; where it is that the key is elsewhere, the answer from there."""
    if not isinstance(answer, AskError | TryAgainError):
        return answer
    try:
        return client.execute_command(*command)  # type: ignore[no-untyped-call]
    except RedisError as exc:
        return exc


def _node_of(client: RedisCluster, key: str | bytes) -> ClusterNode:
    node: ClusterNode | None = client.get_node_from_key(key)  # type: ignore[no-untyped-call]
    if node is None:
        raise ClusterError(f"no node of the Cluster holds {key!r}")
    return node


def is_one_slot(client: RedisCluster, base: str) -> bool:
    """Return whether all keys that begin with ``base`` are in one slot, by a hash tag in it."""
    names = ("wait", "active", "meta")
    slots = {client.keyslot(base + name) for name in names}  # type: ignore[no-untyped-call]
    return len(slots) == 1
