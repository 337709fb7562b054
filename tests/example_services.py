"""What the programs of examples/ talk to: a mail server, a bank, a warehouse, quotes."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socketserver import StreamRequestHandler, ThreadingTCPServer
from typing import Any

from tests.served import stop_serving


@contextmanager
def serving(server: ThreadingTCPServer) -> Iterator[int]:
    """Serve on a thread; yields the port."""
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        stop_serving(server)
        thread.join()
        server.server_close()


class MailServer(ThreadingTCPServer):
    """Takes mail; refuses some addresses for good, and others once."""

    allow_reuse_address = True

    def __init__(self, *, unknown: set[str], busy: set[str]) -> None:
        super().__init__(("127.0.0.1", 0), _MailHandler)
        self.unknown, self.busy = unknown, busy
        self.accepted: list[str] = []
        self.asked: list[str] = []

    def answer_to(self, address: str) -> str:
        """Return what an address is answered."""
        self.asked.append(address)
        if address in self.unknown:
            return "550 no such mailbox"
        if address in self.busy:
            self.busy.remove(address)
            return "451 try again later"
        return "250 OK"


class _MailHandler(StreamRequestHandler):
    server: MailServer

    def handle(self) -> None:
        self._say("220 mail")
        address = ""
        for line in self.rfile:
            word, _, rest = line.decode().strip().partition(" ")
            if word.lower() == "rcpt":
                address = rest.partition("<")[2].partition(">")[0]
                self._say(self.server.answer_to(address))
            elif word.lower() == "data":
                self._say("354 go on")
                self._read_message()
                self.server.accepted.append(address)
                self._say("250 taken")
            else:
                self._say("221 bye" if word.lower() == "quit" else "250 OK")

    def _read_message(self) -> None:
        while self.rfile.readline().strip() != b".":
            pass

    def _say(self, line: str) -> None:
        self.wfile.write(f"{line}\r\n".encode())


class Bank(ThreadingHTTPServer):
    """Has an account of so many pages; a page that is held is answered when it is let go."""

    def __init__(self, pages: int, *, held: int) -> None:
        super().__init__(("127.0.0.1", 0), _BankHandler)
        self.pages, self.held = pages, held
        self.let_go = threading.Event()
        self.asked: list[int] = []


class _BankHandler(BaseHTTPRequestHandler):
    server: Bank

    def do_GET(self) -> None:
        bank, page = self.server, int(self.path.partition("=")[2])
        bank.asked.append(page)
        if page == bank.held:
            bank.let_go.wait(60)
        bookings = [{"id": f"b{page}-{n}", "cents": 100} for n in range(2)]
        _send(self, 200, {"pages": bank.pages, "bookings": bookings if page <= bank.pages else []})

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Warehouse(ThreadingHTTPServer):
    """Reserves goods, unless it is down: then each call is answered 503."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _WarehouseHandler)
        self.is_down = True
        self.reserved: list[str] = []
        self.alerts: list[str] = []
        self.calls = 0


class _WarehouseHandler(BaseHTTPRequestHandler):
    server: Warehouse

    def do_POST(self) -> None:
        warehouse = self.server
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if self.path == "/alerts":
            warehouse.alerts.append(body["text"])
            _send(self, 200, {})
            return
        warehouse.calls += 1
        if not warehouse.is_down:
            warehouse.reserved.append(body["order"])
        _send(self, 503 if warehouse.is_down else 200, {})

    def log_message(self, *_: object) -> None:
        """Say nothing."""


class Quotes(ThreadingHTTPServer):
    """Has a quote of every minute; one that is held is answered when it is let go."""

    def __init__(self, *, held: str) -> None:
        super().__init__(("127.0.0.1", 0), _QuotesHandler)
        self.held = held
        self.let_go = threading.Event()
        self.quote = "wrong"
        self.asked: list[str] = []


class _QuotesHandler(BaseHTTPRequestHandler):
    server: Quotes

    def do_GET(self) -> None:
        quotes, minute = self.server, self.path.partition("=")[2]
        answered = quotes.quote
        quotes.asked.append(minute)
        if minute == quotes.held:
            quotes.let_go.wait(60)
        _send(self, 200, answered)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def _send(handler: BaseHTTPRequestHandler, status: int, body: Any) -> None:
    text = json.dumps(body).encode()
    handler.send_response(status)
    handler.send_header("Content-Length", str(len(text)))
    handler.end_headers()
    # Who was stopped meanwhile does not listen any more.
    try:
        handler.wfile.write(text)
    except ConnectionError:
        handler.close_connection = True
