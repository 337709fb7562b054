"""A Redis Cluster of three nodes and a spare one, that tests may reshard and break."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis

from tests.processes import wait_until
from tests.servers import RunningServer, find_free_port, start_valkey

SLOTS = 16_384
SPARE = 3


class ClusterDeployment:
    """Nodes by number; the last, ``SPARE``, holds no slot at first. ``url`` names the first two."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._stack = ExitStack()
        self.nodes: list[RunningServer] = []
        self.clients: list[redis.Redis] = []
        for number in range(SPARE + 1):
            bus = ("--cluster-enabled", "yes", "--cluster-port", str(find_free_port()))
            quick = ("--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0")
            # A node that gives its last slot away would become a replica.
            stay = ("--cluster-allow-replica-migration", "no")
            server = start_valkey(directory / f"node{number}", *bus, *quick, *stay, *options)
            self._stack.callback(server.stop)
            client = redis.Redis(port=server.port, decode_responses=True)
            self._stack.callback(client.close)
            self.nodes.append(server)
            self.clients.append(client)
        self._form()
        names = ",".join(f"127.0.0.1:{node.port}" for node in self.nodes[:2])
        self.url = f"redis+cluster://{names}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def give_replica(self, number: int) -> None:
        """Let the spare node follow another one, and wait until it could take its place."""
        spare = self.clients[SPARE]
        primary = self.clients[number].execute_command("CLUSTER", "MYID")
        spare.execute_command("CLUSTER", "REPLICATE", primary)

        def follows() -> bool:
            return spare.info("replication").get("master_link_status") == "up"

        wait_until(follows, "the spare node follows")

    def is_primary(self, number: int) -> bool:
        """Return whether a node takes writes."""
        return str(self.clients[number].info("replication")["role"]) == "master"

    def serves(self, key: str) -> bool:
        """Return whether all nodes agree that the Cluster is well, and who holds a key's slot."""
        holder = self.holder_of(key)
        return all(map(self._is_whole, self.clients)) and self._agree_on(key, holder)

    def forget_all(self) -> None:
        """Delete all keys."""
        for client in self.clients:
            client.flushall()

    def empty(self, number: int) -> None:
        """Give the slots of a node away, so that it is new to clients."""
        low_to_high = [
            (low, high)
            for low, high, (_, port, *_), *_ in self.clients[0].execute_command("CLUSTER SLOTS")
            if port == self.nodes[number].port
        ]
        to = (number + 1) % len(self.nodes)
        new = self.clients[to].execute_command("CLUSTER", "MYID")
        for low, high in low_to_high:
            self.clients[number].execute_command(
                "CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", low, high, "NODE", new
            )
            wait_until(lambda: self._holds_none(number), "the node is empty")

    def _holds_none(self, number: int) -> bool:
        port = self.nodes[number].port
        return all(
            port != held[2][1]
            for client in self.clients
            for held in client.execute_command("CLUSTER SLOTS")
        )

    def holder_of(self, key: str) -> int:
        """Return the number of the node that holds a key's slot."""
        return self._holder_seen_by(self.clients[0], key)

    def begin_move(self, key: str, to: int) -> None:
        """Let a slot be on its way to another node; its keys go by :meth:`move_keys`."""
        slot, source = self.slot_of(key), self.holder_of(key)
        ids = [client.execute_command("CLUSTER", "MYID") for client in self.clients]
        self.clients[to].execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        self.clients[source].execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[to])

    def move_keys(self, key: str, to: int, count: int) -> int:
        """Move some keys of a slot that is on its way; return how many there were."""
        slot, source = self.slot_of(key), self.clients[self.holder_of(key)]
        keys = source.execute_command("CLUSTER", "GETKEYSINSLOT", slot, count)
        if keys:
            port = self.nodes[to].port
            source.execute_command("MIGRATE", "127.0.0.1", port, "", 0, 5000, "KEYS", *keys)
        return len(keys)

    def end_move(self, key: str, to: int) -> None:
        """Move the rest, and let all nodes know who holds the slot."""
        while self.move_keys(key, to, 100):
            pass
        new = self.clients[to].execute_command("CLUSTER", "MYID")
        others = [client for client in self.clients if client is not self.clients[to]]
        for client in (self.clients[to], *others):
            client.execute_command("CLUSTER", "SETSLOT", self.slot_of(key), "NODE", new)

    def move_at_once(self, key: str, to: int) -> None:
        """Move a slot as Valkey does from 9 on: all of it changes hands in one moment."""
        slot, new = self.slot_of(key), self.clients[to].execute_command("CLUSTER", "MYID")
        source = self.clients[self.holder_of(key)]
        source.execute_command("CLUSTER", "MIGRATESLOTS", "SLOTSRANGE", slot, slot, "NODE", new)
        wait_until(lambda: self._agree_on(key, to), "the slot is on its new node")

    def _agree_on(self, key: str, holder: int) -> bool:
        return all(self._holder_seen_by(each, key) == holder for each in self.clients)

    def _holder_seen_by(self, client: redis.Redis, key: str) -> int:
        slot = self.slot_of(key)
        for low, high, (_, port, *_), *_ in client.execute_command("CLUSTER SLOTS"):
            if low <= slot <= high:
                return [node.port for node in self.nodes].index(port)
        raise AssertionError(f"nobody holds slot {slot}")

    def slot_of(self, key: str) -> int:
        return int(self.clients[0].execute_command("CLUSTER", "KEYSLOT", key))

    def _form(self) -> None:
        starts = [SLOTS * number // SPARE for number in range(SPARE + 1)]
        for client, low, end in zip(self.clients, starts, starts[1:], strict=False):
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", low, end - 1)
        for number, (node, client) in enumerate(zip(self.nodes, self.clients, strict=True)):
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            bus = client.config_get("cluster-port")["cluster-port"]
            self.clients[0].execute_command("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        wait_until(lambda: all(map(self._is_whole, self.clients)), "the nodes are a Cluster")

    def _is_whole(self, client: redis.Redis) -> bool:
        info: dict[str, Any] = client.execute_command("CLUSTER INFO")
        known = len(client.execute_command("CLUSTER NODES"))
        return info["cluster_state"] == "ok" and known == len(self.nodes)
