"""A primary, its replica and the Sentinel that makes the one out of the other."""

from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis

from tests.processes import wait_until
from tests.servers import RunningServer, start_sentinel, start_valkey

_NAME = "main"
# What the Sentinel does every second or ten, it does here so often. Not oftener: a replica that was
# not heard of for five of these is passed over, and this machine is busy.
_EVERY_MS = 300
_PERIODS = ("info-period", "ping-period", "ask-period", "publish-period")


class SentinelDeployment:
    """Two servers, of which one is the primary; ``url`` names the Sentinel."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self._stack = ExitStack()
        self._starts = 0
        self._servers = [self._start()]
        self._servers.append(self._start("--replicaof", f"127.0.0.1 {self._servers[0].port}"))
        self._left: RunningServer | None = None
        self.sentinel = start_sentinel(directory / "sentinel", _NAME, self._servers[0].port)
        self._stack.callback(self.sentinel.stop)
        self.url = self.sentinel.url
        self._asked = redis.Redis(port=self.sentinel.port, decode_responses=True)
        self._stack.callback(self._asked.close)
        self._ask("SENTINEL", "DEBUG", *(word for one in _PERIODS for word in (one, _EVERY_MS)))
        self._wait_for_replica()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    @property
    def primary(self) -> RunningServer:
        """The server that the Sentinel names: on a busy machine it may choose another by itself."""
        _, port = self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _NAME)
        return next(server for server in self._servers if server.port == int(port))

    @property
    def replica(self) -> RunningServer:
        primary = self.primary
        return next(server for server in self._servers if server is not primary)

    def cut_replication(self) -> None:
        """Let the replica get nothing any more of what the primary is given from now on."""
        with redis.Redis(port=self.primary.port) as primary:
            primary.execute_command("ACL", "SETUSER", "default", "-psync", "-sync")
            primary.execute_command("CLIENT", "KILL", "TYPE", "replica")
        wait_until(lambda: not self._is_following(), "the replica has lost its primary")

    def begin_failover(self) -> None:
        """Let the Sentinel make a replica of the primary that lives."""
        self._left = self.primary
        self._ask("SENTINEL", "FAILOVER", _NAME)

    def kill_primary(self) -> None:
        """End the primary as a power cut would."""
        self._left = self.primary
        self._left.kill()

    def wait_for_failover(self) -> None:
        """Wait until another one than was left is the primary for all who ask."""

        def is_over() -> bool:
            primary = self.primary
            return primary is not self._left and self._role_of(primary) == "master"

        wait_until(is_over, "the Sentinel names another primary")

    def bring_back_replica(self) -> None:
        """Have a replica again, a new one in place of a dead one, that may become the primary."""
        living = [server for server in self._servers if server.process.poll() is None]
        if len(living) < len(self._servers):
            self._servers = living
            self._servers.append(self._start_replica())
        self._wait_for_replica()

    def _wait_for_replica(self) -> None:
        def is_ready() -> bool:
            return any(
                one["port"] == str(self.replica.port)
                and one["flags"] == "slave"
                and one["master-link-status"] == "ok"
                for one in map(_fields, self._ask("SENTINEL", "REPLICAS", _NAME))
            )

        wait_until(is_ready, "the Sentinel knows a replica that follows")

    def _start(self, *more: str) -> RunningServer:
        self._starts += 1
        options = ("--repl-diskless-sync-delay", "0", *self._options, *more)
        server = start_valkey(self._directory / f"server{self._starts}", *options)
        self._stack.callback(server.stop)
        return server

    def _start_replica(self) -> RunningServer:
        return self._start("--replicaof", f"127.0.0.1 {self.primary.port}")

    def _ask(self, *command: Any) -> Any:
        return self._asked.execute_command(*command)

    def _is_following(self) -> bool:
        with redis.Redis(port=self.replica.port, decode_responses=True) as client:
            return client.info("replication").get("master_link_status") == "up"

    def _role_of(self, server: RunningServer) -> str:
        with redis.Redis(port=server.port, decode_responses=True) as client:
            return str(client.info("replication")["role"])


def _fields(answer: Any) -> dict[str, str]:
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
