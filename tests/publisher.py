"""A publisher of feeds on loopback: serves what a test tells it to, and remembers who asked."""

import contextlib
import gzip
import hashlib
import socketserver
import ssl
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import Message
from http.server import BaseHTTPRequestHandler
from types import TracebackType
from urllib.parse import urlsplit

from tests.served import stop_serving


@dataclass(frozen=True)
class Received:
    """One request as it arrived."""

    path: str
    headers: Message

    def header(self, name: str) -> str | None:
        return self.headers.get(name)


@dataclass(frozen=True)
class Answer:
    """One answer. ``drip_s`` puts a pause before each byte; ``cut`` closes in mid-body.

    ``pieces`` makes the body while it is sent, each piece a chunk of its own; nobody needs to know
    how many there are. ``raw`` stands for the whole answer, status line and all, and pauses before
    each of its pieces.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    drip_s: float = 0.0
    hang: bool = False
    cut: bool = False
    chunked: bool = False
    pieces: Callable[[], Iterable[bytes]] | None = None
    raw: Callable[[], Iterable[bytes]] | None = None

    @property
    def is_chunked(self) -> bool:
        return self.chunked or self.pieces is not None


Script = Callable[[Received], Answer]


class Publisher:
    """An HTTP server on a free loopback port, for use as a context manager.

    ``serve`` puts a feed at a path, with validators and 304 as a good publisher gives them;
    ``answer`` and ``script`` put anything else there. ``requests`` holds what was asked, in order,
    ``sending_s`` how long each answer at a path was being sent, until its end or the client's.
    """

    def __init__(self, host: str = "127.0.0.1", *, tls: ssl.SSLContext | None = None) -> None:
        self._scripts: dict[str, Script] = {}
        self._lock = threading.Lock()
        self._requests: list[Received] = []
        self.sending_s: dict[str, list[float]] = {}
        self.released = threading.Event()
        self._server = _Server((host, 0), self)
        self._scheme = "http" if tls is None else "https"
        if tls is not None:
            self._server.socket = tls.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.host = host
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "Publisher":
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.released.set()
        stop_serving(self._server)
        self._thread.join()
        self._server.server_close()

    def url(self, path: str = "/feed.xml") -> str:
        return f"{self._scheme}://{self.host}:{self.port}{path}"

    def serve(
        self,
        path: str,
        body: bytes | str,
        *,
        content_type: str = "application/rss+xml",
        etag: str | None = None,
        last_modified: str | None = None,
        compress: bool = False,
        headers: Mapping[str, str] | None = None,
    ) -> str:
        """Publish ``body`` at ``path``; its ETag is made of it unless given. Returns the URL."""
        content = body.encode() if isinstance(body, str) else body
        tag = etag if etag is not None else f'"{hashlib.sha256(content).hexdigest()[:16]}"'
        sent = {"Content-Type": content_type, "ETag": tag, **(headers or {})}
        if last_modified is not None:
            sent["Last-Modified"] = last_modified
        if compress:
            content = gzip.compress(content)
            sent["Content-Encoding"] = "gzip"

        def conditional(request: Received) -> Answer:
            if request.header("If-None-Match") == tag:
                return Answer(304, headers={"ETag": tag})
            return Answer(200, content, sent)

        return self.script(path, conditional)

    def answer(self, path: str, *answers: Answer) -> str:
        """Give these answers one after the other, the last one for ever. Returns the URL."""
        left = list(answers)
        return self.script(path, lambda _: left.pop(0) if len(left) > 1 else left[0])

    def script(self, path: str, script: Script) -> str:
        """Let ``script`` answer what is asked at ``path``. Returns the URL."""
        with self._lock:
            self._scripts[path] = script
        return self.url(path)

    def redirect(self, path: str, location: str, status: int = 302) -> str:
        """Redirect ``path`` to ``location``. Returns the URL."""
        return self.answer(path, Answer(status, headers={"Location": location}))

    @property
    def requests(self) -> list[Received]:
        with self._lock:
            return list(self._requests)

    def count(self, path: str | None = None) -> int:
        """Return how often ``path`` (without its query), or anything, was asked for."""
        return sum(path is None or urlsplit(each.path).path == path for each in self.requests)

    def note_sent(self, path: str, seconds: float) -> None:
        """Record how long an answer was being sent; called by the server."""
        with self._lock:
            self.sending_s.setdefault(urlsplit(path).path, []).append(seconds)

    def decide(self, request: Received) -> Answer:
        """Record a request and return its answer; called by the server."""
        with self._lock:
            self._requests.append(request)
            script = self._scripts.get(request.path) or self._scripts.get(
                urlsplit(request.path).path
            )
            return script(request) if script else Answer(404, b"not found")


class _Server(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], publisher: Publisher) -> None:
        self.publisher = publisher
        super().__init__(address, _Handler)

    def handle_error(self, request: object, client_address: object) -> None:
        """Keep quiet: clients under test break off on purpose."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # Head and body are written apart; without this the second waits 40 ms for the first's ACK.
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        publisher = self.server.publisher
        answer = publisher.decide(Received(self.path, self.headers))
        if answer.hang:
            publisher.released.wait(60)
            self.close_connection = True
            return
        started_s = time.monotonic()
        with contextlib.suppress(OSError):
            self._send(answer)
        publisher.note_sent(self.path, time.monotonic() - started_s)

    def _send(self, answer: Answer) -> None:
        if answer.raw is not None:
            self.close_connection = True
            self._send_pieces(answer.raw(), answer.drip_s)
            return
        self._send_head(answer)
        self._send_body(answer)

    def _send_head(self, answer: Answer) -> None:
        self.send_response_only(answer.status)
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.is_chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif "Content-Length" not in answer.headers and answer.status != 304:
            self.send_header("Content-Length", str(len(answer.body)))
        self.end_headers()

    def _send_body(self, answer: Answer) -> None:
        if answer.status == 304:
            return
        if answer.cut:
            self.wfile.write(answer.body[: len(answer.body) // 2])
            self.close_connection = True
            return
        self._send_pieces(_pieces(answer), answer.drip_s)

    def _send_pieces(self, pieces: Iterable[bytes], drip_s: float) -> None:
        for piece in pieces:
            self.wfile.write(piece)
            if drip_s and self.server.publisher.released.wait(drip_s):
                self.close_connection = True
                return

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: tests look at ``requests``."""


def _pieces(answer: Answer) -> Iterator[bytes]:
    pieces = answer.pieces() if answer.pieces is not None else _slices(answer)
    for piece in pieces:
        yield b"%x\r\n%s\r\n" % (len(piece), piece) if answer.is_chunked else piece
    if answer.is_chunked:
        yield b"0\r\n\r\n"


def _slices(answer: Answer) -> Iterator[bytes]:
    size = 1 if answer.drip_s else 1 << 16
    for start in range(0, len(answer.body), size):
        yield answer.body[start : start + size]
