"""A loopback proxy between a client and a store: it passes, refuses, stays silent, or cuts."""

import contextlib
import socket
import struct
import threading
from collections.abc import Callable
from enum import StrEnum
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

_CHUNK_BYTES = 1 << 16
# With this a close sends a reset instead of an orderly end.
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class Mode(StrEnum):
    """What the proxy does with connections, those that exist and new ones."""

    PASS = "pass"
    """Forwards everything."""
    REFUSE = "refuse"
    """Nobody listens: the store's process is gone."""
    SILENT = "silent"
    """Accepts and forwards nothing until it passes again: the store is frozen."""
    CUT = "cut"
    """Accepts and resets: something between the two is broken."""


class TcpProxy:
    """Forwards a port of its own to the store at ``url``; its own address is :attr:`url`.

    As a context manager: closed behind it, with all connections and threads.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._changed = threading.Condition()
        self._mode = Mode.PASS
        self._is_closed = False
        self._sockets: set[socket.socket] = set()
        self._trap: tuple[bytes, Callable[[], None], bool] | None = None
        self._on_reply: dict[socket.socket, Callable[[], None]] = {}
        self._listener: socket.socket | None = _bound(0)
        self.port = int(self._listener.getsockname()[1])
        self._listen()
        credentials = parts.netloc.rpartition("@")[0]
        netloc = f"{credentials}@" if credentials else ""
        self.url = urlunsplit(parts._replace(netloc=f"{netloc}127.0.0.1:{self.port}"))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    @property
    def mode(self) -> Mode:
        return self._mode

    def set_mode(self, mode: Mode) -> None:
        """Change what happens from now on, also to the connections that exist."""
        with self._changed:
            before, self._mode = self._mode, mode
            self._changed.notify_all()
        if mode in (Mode.REFUSE, Mode.CUT):
            self._reset_all()
        if mode is Mode.REFUSE:
            self._stop_listening()
        elif before is Mode.REFUSE:
            self._listen()

    def when_sent(self, words: bytes, act: Callable[[], None], *, after: bool = False) -> None:
        """Call ``act`` once when a client sends ``words``, before they are forwarded or after.

        After: the store has executed what was sent; its answer comes only if the mode still allows.
        """
        with self._changed:
            self._trap = (words, act, after)

    @property
    def is_armed(self) -> bool:
        """Whether :meth:`when_sent` still waits for its words."""
        return self._trap is not None

    def close(self) -> None:
        """End all connections and threads. Safe to call twice."""
        with self._changed:
            self._is_closed = True
            self._changed.notify_all()
        self._stop_listening()
        self._reset_all()

    def _listen(self) -> None:
        if self._listener is None:
            self._listener = _bound(self.port)
        self._listener.listen(128)
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is None:
            return
        # Unlike close, this wakes the thread that accepts.
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        if not self._is_closed:
            # Bound and not listening: connections are refused, and nobody else takes the port.
            self._listener = _bound(self.port)

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._connect, args=(client,), daemon=True).start()

    def _connect(self, client: socket.socket) -> None:
        if self._mode in (Mode.CUT, Mode.REFUSE) or not self._wait_until_passing():
            _reset(client)
            return
        try:
            store = socket.create_connection(self._target, timeout=10)
        except OSError:
            _reset(client)
            return
        store.settimeout(None)
        with self._changed:
            self._sockets |= {client, store}
        pump = threading.Thread(target=self._pump, args=(store, client, False), daemon=True)
        pump.start()
        self._pump(client, store, True)

    def _pump(self, source: socket.socket, target: socket.socket, is_from_client: bool) -> None:
        # One side is gone then, and so is the other in a moment.
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK_BYTES):
                if is_from_client:
                    self._look_at(data, target)
                else:
                    self._on_reply.pop(source, _nothing)()
                if not self._wait_until_passing():
                    break
                target.sendall(data)
        for one in (source, target):
            with self._changed:
                self._sockets.discard(one)
            _reset(one)

    def _look_at(self, data: bytes, store: socket.socket) -> None:
        """Act if these are the words that are waited for, or see to it that their answer does."""
        with self._changed:
            if self._trap is None or self._trap[0] not in data:
                return
            (_, act, after), self._trap = self._trap, None
            if after:
                self._on_reply[store] = act
        if not after:
            act()

    def _wait_until_passing(self) -> bool:
        """Wait while the proxy is silent; False when nothing may be forwarded any more."""
        with self._changed:
            self._changed.wait_for(lambda: self._is_closed or self._mode is not Mode.SILENT)
            return not self._is_closed and self._mode is Mode.PASS

    def _reset_all(self) -> None:
        with self._changed:
            sockets, self._sockets = self._sockets, set()
        for one in sockets:
            _reset(one)


def _nothing() -> None:
    """Nobody waits for this answer."""


def _bound(port: int) -> socket.socket:
    bound = socket.socket()
    bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    bound.bind(("127.0.0.1", port))
    return bound


def _reset(one: socket.socket) -> None:
    # It may be closed already.
    with contextlib.suppress(OSError):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        # Wakes a thread that reads from it; close alone would not.
        one.shutdown(socket.SHUT_RDWR)
    one.close()
