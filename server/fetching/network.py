"""Connections of the fetcher: only to vetted addresses, and never beyond a request's deadline.

A name is resolved once for each connection, every one of its addresses is vetted, and the
connection is made to a vetted address itself, so that a second answer of the resolver cannot move
it. Host header and TLS keep the name.

Trusted are the certificates of the system's store, and what the environment adds to it:
``SSL_CERT_FILE`` (a file of certificates) and ``SSL_CERT_DIR`` (folders of them, separated as in
``PATH``) are the names that OpenSSL has always read. They add, so that a network's own authority
does not take away all others.
"""

import os
import re
import socket
import ssl
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import httpcore2
import httpx2

from server.fetching.addresses import (
    IPNetwork,
    explain_port,
    explain_refusal,
    is_allowed_address,
    is_allowed_port,
)
from server.fetching.answer_head import MAX_HEAD_BYTES, find_head_end, fix_head
from shared.error_kinds import ErrorKind
from shared.errors import FetchError, SettingsError

Resolver = Callable[[str, int], Sequence[str]]
_SocketOption = (
    tuple[int, int, int] | tuple[int, int, bytes | bytearray] | tuple[int, int, None, int]
)
# One dead address of several must not use up the whole time.
_LONGEST_CONNECT_S = 10.0

FILE_VARIABLE = "SSL_CERT_FILE"
FOLDER_VARIABLE = "SSL_CERT_DIR"
_SUFFIXES = frozenset({".pem", ".crt", ".cer"})
# As OpenSSL names certificates in a folder that it is to look them up in.
_HASHED_NAME = re.compile(r"[0-9a-f]{8}\.[0-9]+")


class Deadline:
    """The end of the request that the current thread is making.

    It counts in real time, since sockets do, and is looked at before each read and write: between
    two bytes no server can outlast it.
    """

    def __init__(self) -> None:
        self._local = threading.local()

    def start(self, timeout_s: float) -> None:
        self._local.ends_at = time.monotonic() + timeout_s

    def shorten(self, timeout_s: float) -> None:
        """Let the request end in ``timeout_s`` from now, if it would not end before."""
        self._local.ends_at = min(self._local.ends_at, time.monotonic() + timeout_s)

    def remaining_s(self) -> float:
        """Return the seconds left.

        Raises:
            httpcore2.ReadTimeout: none are left.
        """
        remaining_s: float = self._local.ends_at - time.monotonic()
        if remaining_s <= 0:
            raise httpcore2.ReadTimeout("the time for the whole request is used up")
        return remaining_s


def resolve(host: str, port: int) -> list[str]:
    """Return all addresses of a host, as the system resolves it, in its order."""
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class VettedBackend(httpcore2.NetworkBackend):
    """Opens TCP connections for httpcore, under the rules above."""

    def __init__(
        self,
        *,
        allow_private: bool,
        extra_ports: Collection[int],
        extra_networks: Collection[IPNetwork],
        resolver: Resolver,
        deadline: Deadline,
    ) -> None:
        self._allow_private = allow_private
        self._extra_ports = extra_ports
        self._extra_networks = extra_networks
        self._resolver = resolver
        self._deadline = deadline
        self._opened = threading.local()

    @property
    def opened(self) -> int:
        """How many connections the current thread has begun to open so far."""
        return getattr(self._opened, "count", 0)

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[_SocketOption] | None = None,
    ) -> httpcore2.NetworkStream:
        """Connect to the first address that answers.

        Raises:
            FetchError: ``refused_address`` when any address is not allowed, ``dns`` when there is
                none.
        """
        self._opened.count = self.opened + 1
        addresses = self._vetted_addresses(host, port)
        backend = httpcore2.SyncBackend()
        failure: Exception | None = None
        for address in addresses:
            timeout_s = min(self._deadline.remaining_s(), _LONGEST_CONNECT_S)
            try:
                stream = backend.connect_tcp(address, port, timeout_s, None, socket_options)
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as exc:
                failure = exc
                continue
            self._check_peer(stream, host)
            return _PublisherStream(stream, self._deadline)
        raise failure or httpcore2.ConnectError("no address answered")

    def _vetted_addresses(self, host: str, port: int) -> Sequence[str]:
        if not is_allowed_port(
            port, allow_private=self._allow_private, extra_ports=self._extra_ports
        ):
            reason = explain_port(port, allow_private=self._allow_private)
            raise FetchError("", ErrorKind.REFUSED_ADDRESS, reason)
        addresses = self._resolve_in_time(host.strip("[]"), port)
        if not addresses:
            raise FetchError("", ErrorKind.DNS, f"{host} has no address", retryable=True)
        # One bad address condemns them all: a name that leads inside is not a publisher's.
        for address in addresses:
            self._check_address(address, host)
        return addresses

    def _resolve_in_time(self, host: str, port: int) -> Sequence[str]:
        """Resolve on a thread of its own: the system's resolver knows no time limit."""
        answer: list[Sequence[str]] = []
        failures: list[OSError | UnicodeError] = []

        def ask() -> None:
            try:
                answer.append(self._resolver(host, port))
            except (OSError, UnicodeError) as exc:
                failures.append(exc)

        thread = threading.Thread(target=ask, name="resolve", daemon=True)
        thread.start()
        thread.join(self._deadline.remaining_s())
        if failures:
            reason = f"{host} cannot be resolved: {failures[0]}"
            raise FetchError("", ErrorKind.DNS, reason, retryable=True) from failures[0]
        if not answer:
            raise FetchError("", ErrorKind.DNS, f"resolving {host} took too long", retryable=True)
        return answer[0]

    def _check_address(self, address: str, host: str) -> None:
        if not is_allowed_address(
            address, allow_private=self._allow_private, extra_networks=self._extra_networks
        ):
            what = explain_refusal(address, allow_private=self._allow_private)
            raise FetchError("", ErrorKind.REFUSED_ADDRESS, f"{host} resolves to {what}")

    def _check_peer(self, stream: httpcore2.NetworkStream, host: str) -> None:
        try:
            self._check_address(str(stream.get_extra_info("server_addr")[0]), host)
        except (FetchError, OSError):
            stream.close()
            raise


class _PublisherStream(httpcore2.NetworkStream):
    """A connection whose every wait ends at the current thread's deadline.

    Answers reach the strict reader with their heads corrected, and no more of a body is handed on
    than its head says. Bytes beyond belong to no answer: they make the connection look closed
    (``is_readable``), so that nothing more is asked over it.
    """

    def __init__(self, stream: httpcore2.NetworkStream, deadline: Deadline) -> None:
        self._stream = stream
        self._deadline = deadline
        self._is_in_head = True
        self._received = bytearray()
        self._ready = bytearray()
        self._body_left: int | None = None

    def read(self, max_bytes: int, timeout: float | None = None) -> bytes:
        if self._is_in_head and not self._ready:
            self._read_head(max_bytes)
        if not self._ready and not self._received:
            self._received += self._receive(max_bytes)
        if not self._is_in_head:
            self._release_body()
        piece = bytes(self._ready[:max_bytes])
        del self._ready[:max_bytes]
        return piece

    def write(self, buffer: bytes, timeout: float | None = None) -> None:
        if buffer:
            self._is_in_head, self._body_left = True, None
        self._stream.write(buffer, self._deadline.remaining_s())

    def close(self) -> None:
        self._stream.close()

    def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,
    ) -> httpcore2.NetworkStream:
        remaining_s = self._deadline.remaining_s()
        stream = self._stream.start_tls(ssl_context, server_hostname, remaining_s)
        return _PublisherStream(stream, self._deadline)

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._received:
            return True
        return self._stream.get_extra_info(info)

    def _receive(self, max_bytes: int) -> bytes:
        return self._stream.read(max_bytes, self._deadline.remaining_s())

    def _read_head(self, max_bytes: int) -> None:
        """Read until a head is ready to be handed on: corrected, or as it is when it has no end."""
        looked_at = taken = 0
        while (end := find_head_end(self._received, looked_at)) is None:
            looked_at = len(self._received)
            piece = self._receive(max_bytes)
            # Empty lines before the status line are no head.
            self._received += piece if self._received else piece.lstrip(b"\r\n")
            taken += len(piece)
            if not piece or taken > MAX_HEAD_BYTES:
                self._ready += self._received
                self._received.clear()
                self._is_in_head = False
                return
        head = fix_head(bytes(self._received[:end]))
        del self._received[:end]
        self._ready += head.written
        self._is_in_head = not head.is_final
        self._body_left = head.length

    def _release_body(self) -> None:
        """Make ready what was received, as far as it belongs to the answer."""
        count = len(self._received)
        if self._body_left is not None:
            count = min(count, self._body_left)
            self._body_left -= count
        self._ready += self._received[:count]
        del self._received[:count]


def shared_ssl_context() -> ssl.SSLContext:
    """Return the context for this process's environment, made once: reading it takes a while.

    Raises:
        SettingsError: as :func:`make_ssl_context`.
    """
    return _make_once(*(os.environ.get(name, "") for name in (FILE_VARIABLE, FOLDER_VARIABLE)))


@cache
def _make_once(file: str, folders: str) -> ssl.SSLContext:
    return make_ssl_context({FILE_VARIABLE: file, FOLDER_VARIABLE: folders})


def make_ssl_context(environment: Mapping[str, str] = os.environ) -> ssl.SSLContext:
    """Return a context that checks certificates and host names.

    Raises:
        SettingsError: the environment names a file or a folder that holds no certificates.
    """
    context = httpx2.create_ssl_context(trust_env=False)
    file = environment.get(FILE_VARIABLE, "").strip()
    if file:
        _load(context, Path(file), FILE_VARIABLE)
    for folder in environment.get(FOLDER_VARIABLE, "").split(os.pathsep):
        if folder.strip():
            _load_folder(context, Path(folder.strip()))
    return context


def _load_folder(context: ssl.SSLContext, folder: Path) -> None:
    if not folder.is_dir():
        raise SettingsError(f"{FOLDER_VARIABLE}={folder}: must name a folder of certificates")
    context.load_verify_locations(capath=str(folder))
    # OpenSSL finds by itself only what ``openssl rehash`` has named for it.
    for file in _unhashed_files(folder):
        _load(context, file, FOLDER_VARIABLE)


def _unhashed_files(folder: Path) -> Iterator[Path]:
    names = sorted(folder.iterdir())
    if not any(_HASHED_NAME.fullmatch(path.name) for path in names):
        yield from (path for path in names if path.suffix in _SUFFIXES)


def _load(context: ssl.SSLContext, file: Path, variable: str) -> None:
    try:
        context.load_verify_locations(cafile=str(file))
    except OSError as exc:
        # ssl.SSLError is one too; raised for a file without certificates.
        reason = f"{variable}: {file} must be a readable file of PEM certificates ({exc})"
        raise SettingsError(reason) from exc
