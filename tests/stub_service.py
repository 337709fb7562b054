"""A service that answers from a script, for tests of the command line."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from server.commands.import_report import COUNTS
from tests.served import stop_serving


def make_import(state: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return an import as the API shows it."""
    counts = dict.fromkeys(COUNTS, 0) | fields.pop("counts", {})
    return {
        "id": "i#1",
        "source": "lwn",
        "state": state,
        "not_modified": False,
        "error": None,
        "warnings": [],
        "requested_at": "2026-11-01T11:00:00.000Z",
        "finished_at": "2026-11-01T11:00:02.000Z",
        "counts": counts,
        **fields,
    }


@dataclass(frozen=True)
class Call:
    """One call as it arrived; ``path`` with its query."""

    method: str
    path: str
    body: Any
    key: str | None


class StubService(ThreadingHTTPServer):
    """Answers each call with the next of the answers for its path; the last one stays.

    ``answer("DELETE /feeds/x", …)`` is for that method only. A body of bytes is sent as it is.
    """

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _StubHandler)
        self.answers: dict[str, list[tuple[int, dict[str, str], Any]]] = {}
        self.calls: list[Call] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.answer("/healthz", 200, {"status": "ok"})

    def answer(
        self, path: str, status: int, body: Any, headers: dict[str, str] | None = None
    ) -> None:
        """Add an answer."""
        self.answers.setdefault(path, []).append((status, headers or {}, body))

    def refuse(self, path: str, status: int, detail: str) -> None:
        """Add a problem document."""
        self.answer(path, status, {"status": status, "detail": detail})

    def calls_of(self, path: str) -> list[Call]:
        """Return the calls of a path, with or without its query, in order."""
        return [call for call in self.calls if path in (call.path, call.path.partition("?")[0])]


@contextmanager
def serve_stub() -> Iterator[StubService]:
    """Serve on a free port for the time of a test."""
    stub = StubService()
    thread = threading.Thread(target=stub.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield stub
    finally:
        stop_serving(stub)
        stub.server_close()
        thread.join()


class _StubHandler(BaseHTTPRequestHandler):
    server: StubService

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def do_PATCH(self) -> None:
        self._answer()

    def do_PUT(self) -> None:
        self._answer()

    def do_DELETE(self) -> None:
        self._answer()

    def _answer(self) -> None:
        key = self.headers.get("Authorization")
        self.server.calls.append(Call(self.command, self.path, self._read_body(), key))
        status, headers, answer = self._next_answer()
        self.send_response(status)
        kind = "json" if status < 400 else "problem+json"
        encoded = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
        encoded = b"" if status == 204 else encoded
        for name, value in {"Content-Type": f"application/{kind}", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)

    def _next_answer(self) -> tuple[int, dict[str, str], Any]:
        path = self.path.partition("?")[0]
        for key in (f"{self.command} {path}", self.path, path):
            if answers := self.server.answers.get(key):
                return answers.pop(0) if len(answers) > 1 else answers[0]
        return 404, {}, {"status": 404, "detail": f"not found: {path}"}

    def _read_body(self) -> Any:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        is_json = "json" in self.headers.get("Content-Type", "")
        return json.loads(body) if is_json else body or None

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
