"""A primary, its replica and the Sentinel that makes the one out of the other."""

from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from tests.processes import wait_until
from tests.servers import RunningServer, start_sentinel, start_valkey

_NAME = "main"
# What the Sentinel does every second or ten, it does here so often.
_EVERY_MS = 100
_PERIODS = ("info-period", "ping-period", "ask-period", "publish-period")


class SentinelDeployment:
    """Two servers, of which one is the primary; ``url`` names the Sentinel."""

    def __init__(self, directory: Path, *options: str) -> None:
        self._directory = directory
        self._options = options
        self._stack = ExitStack()
        self._starts = 0
        self.primary = self._start()
        self.replica = self._start_replica()
        self.sentinel = start_sentinel(directory / "sentinel", _NAME, self.primary.port)
        self._stack.callback(self.sentinel.stop)
        self.url = self.sentinel.url
        self._asked = redis.Redis(port=self.sentinel.port, decode_responses=True)
        self._stack.callback(self._asked.close)
        self._ask("SENTINEL", "DEBUG", *(word for one in _PERIODS for word in (one, _EVERY_MS)))
        self._wait_for_replica()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def kill_primary(self) -> None:
        """End the primary as a power cut would."""
        self.primary.kill()

    def begin_failover(self) -> None:
        """Let the Sentinel make a replica of the primary that lives."""
        self._ask("SENTINEL", "FAILOVER", _NAME)

    def wait_for_failover(self) -> None:
        """Wait until the replica is the primary for all who ask."""
        wait_until(self._is_failed_over, "the Sentinel names the replica as the primary")
        self.primary, self.replica = self.replica, self.primary

    def bring_back_replica(self) -> None:
        """Have a replica again, a new one in place of a dead one, that may become the primary."""
        if self.replica.process.poll() is not None:
            self.replica = self._start_replica()
        self._wait_for_replica()

    def _is_failed_over(self) -> bool:
        _, port = self._ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", _NAME)
        return int(port) == self.replica.port and self._role_of(self.replica) == "master"

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

    def _role_of(self, server: RunningServer) -> str:
        with redis.Redis(port=server.port, decode_responses=True) as client:
            return str(client.info("replication")["role"])


def _fields(answer: Any) -> dict[str, str]:
    return answer if isinstance(answer, dict) else dict(zip(answer[::2], answer[1::2], strict=True))
