"""Listeners that nobody may ever reach: they count who connects."""

import contextlib
import select
import socket
import threading

HOSTS = ("127.0.0.1", "::1")


class Listeners:
    """Listens on every loopback address there is, for use as a context manager.

    On one free port, the same for all addresses, and on those of ``ports`` that may be had.
    """

    def __init__(self, *ports: int) -> None:
        first = _listen(HOSTS[0], 0)
        assert first is not None
        self.port = int(first.getsockname()[1])
        places = [(HOSTS[1], self.port), *((host, port) for port in ports for host in HOSTS)]
        others = [_listen(host, port) for host, port in places]
        self._listeners = [first, *(listener for listener in others if listener is not None)]
        self._end, self._ended = socket.socketpair()
        self._thread = threading.Thread(target=self._watch)
        self.connections: list[str] = []

    @property
    def places(self) -> list[str]:
        """The addresses and ports that it listens on."""
        return [f"{host} port {port}" for host, port, *_ in map(_name, self._listeners)]

    def __enter__(self) -> "Listeners":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.close()
        self._thread.join()
        for listener in (*self._listeners, self._ended):
            listener.close()

    def _watch(self) -> None:
        while True:
            readable, _, _ = select.select([*self._listeners, self._ended], [], [])
            for listener in readable:
                if listener is self._ended:
                    return
                connection, _ = listener.accept()
                self.connections.append(str(_name(listener)))
                connection.close()


def _listen(host: str, port: int) -> socket.socket | None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    with contextlib.suppress(OSError):  # no IPv6 here, or a port that is another's
        listener.bind((host, port))
        listener.listen(64)
        return listener
    listener.close()
    return None


def _name(listener: socket.socket) -> tuple[str, int]:
    host, port, *_ = listener.getsockname()
    return str(host), int(port)
