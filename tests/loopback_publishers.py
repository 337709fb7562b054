"""Many small publishers at once: every loopback address a host of its own, and all are watched."""

import threading
from collections import Counter
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from urllib.parse import urlsplit

from tests.feeds.make_feed import make_feed
from tests.served import stop_serving

_FEED_OF_NO_ITEMS = make_feed(0)


class LoopbackPublishers:
    """An HTTP server on all of 127.0.0.0/8, for use as a context manager.

    Each path is a feed of one or two items of its own, with an ETag that changes with ``edition``.
    ``asked`` counts the requests by host and path; ``most`` and ``most_at`` are the largest numbers
    of requests that were under way together, over all and for one host.
    """

    def __init__(self, latency_s: float) -> None:
        self.edition = 1
        self.asked: Counter[tuple[str, str]] = Counter()
        self.not_modified = 0
        self.most = 0
        self.most_at: Counter[str] = Counter()
        self._latency_s = latency_s
        self._under_way: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._never = threading.Event()
        self._server = _Server(("0.0.0.0", 0), self)
        self.port = int(self._server.server_address[1])
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "LoopbackPublishers":
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

    def url(self, host_number: int, name: str) -> str:
        """Return the URL of a feed on host 2, 3, 4 …"""
        return f"http://127.0.0.{host_number}:{self.port}/{name}.xml"

    def begin(self, host: str, path: str) -> None:
        """Note a request, and let it take its time."""
        with self._lock:
            self.asked[host, path] += 1
            self._under_way[host] += 1
            self.most = max(self.most, self._under_way.total())
            self.most_at[host] = max(self.most_at[host], self._under_way[host])
        self._never.wait(self._latency_s)

    def end(self, host: str, *, not_modified: bool) -> None:
        """Note that a request is about to be answered."""
        with self._lock:
            self._under_way[host] -= 1
            self.not_modified += not_modified

    def feed(self, path: str) -> bytes:
        """Return the feed at a path: its items' guids are made of it."""
        name = path.strip("/").removesuffix(".xml")
        item_count = items_of(name)
        items = "".join(
            f'<item><guid isPermaLink="false">{name}-{number}</guid>'
            f"<title>Edition {self.edition} of {name}, {number}</title>"
            f"<link>https://crowd.example/{name}/{number}</link></item>"
            for number in range(item_count)
        )
        return _FEED_OF_NO_ITEMS.replace("</channel>", f"{items}</channel>").encode()


def items_of(name: str) -> int:
    """Return how many items the feed of this name has: every other one has two."""
    return 1 + name.endswith(("0", "2", "4", "6", "8"))


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], publishers: LoopbackPublishers) -> None:
        self.publishers = publishers
        super().__init__(address, _Handler)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def do_GET(self) -> None:
        publishers, path = self.server.publishers, urlsplit(self.path).path
        host = self.headers["Host"].partition(":")[0]
        etag = f'"{publishers.edition}"'
        is_known = self.headers.get("If-None-Match") == etag
        publishers.begin(host, path)
        body = b"" if is_known else publishers.feed(path)
        # Before the answer: the next request may come as soon as it has arrived.
        publishers.end(host, not_modified=is_known)
        self.send_response_only(304 if is_known else 200)
        self.send_header("ETag", etag)
        if not is_known:
            self.send_header("Content-Type", "application/rss+xml")
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep quiet: tests look at the counts."""
