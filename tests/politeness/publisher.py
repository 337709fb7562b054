"""A publisher on loopback: answers for many hosts, by script, and keeps the log."""

import gzip
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Self

from shared.clock import Clock
from tests.politeness.log import Exchange
from tests.served import stop_serving

LOOPBACK = "127.0.0.1"


@dataclass(frozen=True, slots=True)
class Visit:
    """A request as a script sees it; header names in lower case."""

    at: datetime
    headers: Mapping[str, str]
    is_manual: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer, and what it means for the log (see :class:`Exchange`).

    ``pause_s`` is how long, in real time, it is under way: so that others can meet it.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    quiet_until: datetime | None = None
    host_quiet_until: datetime | None = None
    pause_s: float = 0.0


Script = Callable[[Visit], Reply]


class Publisher:
    """An HTTP server on a free port, for use as a context manager; scripts by host and target.

    Whoever fetches has to resolve every host to :data:`LOOPBACK`. ``is_manual`` is set while an
    operator's fetches run, and noted with what comes.
    """

    def __init__(self, scripts: Mapping[str, Script], clock: Clock) -> None:
        self._scripts = scripts
        self._clock = clock
        self._lock = threading.Lock()
        self._in_flight: Counter[str] = Counter()
        self._exchanges: list[Exchange] = []
        self._server = _Server(self)
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(0.05,), name="publisher"
        )
        self.is_manual = False

    @property
    def port(self) -> int:
        """The port at which all hosts answer."""
        return int(self._server.server_address[1])

    @property
    def exchanges(self) -> list[Exchange]:
        """All requests so far with their answers, in the order in which they came."""
        with self._lock:
            return list(self._exchanges)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        stop_serving(self._server)
        self._thread.join()
        self._server.server_close()

    def arrive(self, method: str, target: str, headers: Mapping[str, str]) -> Reply:
        """Decide the answer to a request, and log both. Its host is busy until it departs."""
        host = host_of(headers)
        visit = Visit(self._clock.now(), headers, self.is_manual)
        with self._lock:
            self._in_flight[host] += 1
            script = self._scripts.get(host + target)
            reply = Reply(404) if script is None else script(visit)
            answered = {name.lower(): value for name, value in reply.headers.items()}
            self._exchanges.append(
                Exchange(
                    at=visit.at,
                    host=host,
                    target=target,
                    method=method,
                    headers=headers,
                    status=reply.status,
                    answered=answered,
                    quiet_until=reply.quiet_until,
                    host_quiet_until=reply.host_quiet_until,
                    is_manual=visit.is_manual,
                    in_flight=self._in_flight[host],
                )
            )
        return reply

    def depart(self, host: str) -> None:
        """Note that an answer is on its way."""
        with self._lock:
            self._in_flight[host] -= 1


def host_of(headers: Mapping[str, str]) -> str:
    """Return the host that a request names, without its port."""
    return headers.get("host", "").partition(":")[0]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Connections that a reader keeps open must not hold up the end.
    block_on_close = False

    def __init__(self, publisher: Publisher) -> None:
        self.publisher = publisher
        super().__init__((LOOPBACK, 0), _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: a reader may break off."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are written apart; without this the second waits 40 ms for the first's ACK.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        """Answer a request, of whatever method: what is no GET has to be logged too."""
        headers = {name.lower(): value for name, value in self.headers.items()}
        publisher = self.server.publisher
        reply = publisher.arrive(self.command, self.path, headers)
        time.sleep(reply.pause_s)
        # Before it is sent: once the reader has it, the next request may come.
        publisher.depart(host_of(headers))
        self._send(reply, is_zipped="gzip" in headers.get("accept-encoding", ""))

    do_HEAD = do_POST = do_PUT = do_OPTIONS = do_GET  # noqa: N815 - the library's names

    def _send(self, reply: Reply, *, is_zipped: bool) -> None:
        body = gzip.compress(reply.body) if is_zipped and reply.body else reply.body
        self.send_response_only(reply.status)
        for name, value in reply.headers.items():
            self.send_header(name, value)
        if body is not reply.body:
            self.send_header("Content-Encoding", "gzip")
        if reply.status != 304:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD" and reply.status != 304:
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: the log is kept elsewhere."""
