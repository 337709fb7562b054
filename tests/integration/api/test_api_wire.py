"""What only a real web server shows: ids as they arrive, streams, bodies that are cut off."""

import json
import socket
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NoReturn
from urllib.parse import quote

import httpx2
import pytest

from server.api import events
from shared.errors import StoreUnavailable
from shared.queue import NewJob, RedisConnection
from shared.store import ImportState, ItemWrite, Stores, WriteKind
from tests.api import ServedApi, serve_api
from tests.processes import wait_until


@pytest.fixture
def served(redis_client: RedisConnection, stores: Stores) -> Iterator[ServedApi]:
    with serve_api(redis_client, stores) as api:
        yield api


@pytest.mark.parametrize(
    "guid",
    ["https://a.example/%2F?b=%#c", "..", "../x", "a b+c", "é\u2028", "/", "//a/", "%25", "#"],
)
def test_ids_are_decoded_exactly_once(served: ServedApi, guid: str) -> None:
    item_id = f"lwn#{guid}"
    content = {"source": "lwn", "guid": guid, "content_hash": "1:x"}
    write = ItemWrite(item_id, WriteKind.INSERT, 1, content, None, served.clock.now())
    served.services.stores.items.write_many([write])
    served.services.light_queue.add_many([NewJob(id=item_id, name="item", data={}, revision=1)])
    encoded = quote(item_id, safe="")
    assert served.client.get(f"/items/{encoded}").json()["id"] == item_id
    assert served.client.get(f"/queues/items/jobs/{encoded}").json()["id"] == item_id


def test_schema_of_an_item_is_served_as_such(served: ServedApi) -> None:
    answer = served.client.get("/schemas/item.json")
    assert answer.headers["content-type"] == "application/schema+json"
    assert answer.json()["$schema"] == "https://json-schema.org/draft/2020-12/schema"


def test_events_follow_an_import_to_its_end(served: ServedApi) -> None:
    body = {"document": "<rss/>", "source": "upload"}
    [begun] = served.client.post("/imports/start", json=body).json()["imports"]
    imports, now = served.services.stores.imports, served.clock.now()
    states: list[str] = []
    with served.client.stream("GET", f"/imports/{begun['id']}/events") as answer:
        for event in _events(answer.iter_lines()):
            states.append(event["state"])
            if event["state"] == "queued":
                assert imports.mark_fetching(begun["id"], 1, now)
            elif event["state"] == "fetching":
                outcome = {"state": ImportState.IMPORTING, "counts": {"fetched": 1}, "journaled": 1}
                assert imports.commit(begun["id"], 1, outcome)
            elif event["state"] == "importing":
                assert event["counts"]["pending"] == 1
                assert imports.complete(begun["id"], {"fetched": 1, "new": 1}, now)
    assert states == ["queued", "fetching", "importing", "completed"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/healthz", 200),
        ("/readyz", 200),
        ("/feeds", 200),
        ("/feeds.opml", 200),
        ("/openapi.json", 200),
        ("/metrics", 200),
        ("/", 200),
        ("/admin/static/app.css", 200),
        ("/admin", 303),
        ("/feeds/nothing", 404),
        ("/queues/items/pause", 405),
    ],
)
def test_head_is_answered_as_get_is_without_the_body(
    served: ServedApi, path: str, status: int
) -> None:
    head, got = served.client.head(path), served.client.get(path)
    assert (got.status_code, head.status_code, head.content) == (status, status, b"")
    # How long metrics are when packed changes with their numbers.
    differs = {"date"} | ({"content-length"} if path == "/metrics" else set())
    assert head.headers.keys() == got.headers.keys()
    for name in head.headers.keys() - differs:
        assert head.headers[name] == got.headers[name], name


def test_head_of_a_stream_waits_for_no_event_and_leaves_nobody_watching(
    served: ServedApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "MAX_WATCHERS", 1)
    body = {"document": "<rss/>", "source": "upload"}
    [begun] = served.client.post("/imports/start", json=body).json()["imports"]
    path = f"/imports/{begun['id']}/events"

    def fail(_: object) -> NoReturn:
        raise StoreUnavailable("MongoDB cannot serve: nobody answers")

    with monkeypatch.context() as patch:
        patch.setattr(served.app.state.parts.events, "_read_imports", fail)
        head = served.client.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"].startswith("text/event-stream")
        # On the same connection, which is free again long before a stream's first sign of life.
        assert served.client.get("/healthz", timeout=events.KEEP_ALIVE_S / 2).status_code == 200

    def can_be_watched() -> bool:
        with served.client.stream("GET", path) as answer:
            return answer.status_code == 200

    wait_until(can_be_watched, "nobody watches", within_s=events.KEEP_ALIVE_S / 2)


def test_server_stops_while_somebody_watches(redis_client: RedisConnection, stores: Stores) -> None:
    with serve_api(redis_client, stores) as served:
        body = {"document": "<rss/>", "source": "upload"}
        [begun] = served.client.post("/imports/start", json=body).json()["imports"]
        stream = served.client.stream("GET", f"/imports/{begun['id']}/events")
        with stream as answer:
            lines = answer.iter_lines()
            assert next(lines) == "event: import"
            served.app.state.parts.events.stop_soon()
            assert list(lines)[-1] == ""


def test_large_body_is_refused_before_it_is_sent(served: ServedApi) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(1000):
            sent += 1 << 20
            yield b" " * (1 << 20)

    headers = {"content-type": "application/json"}
    # Cut off in mid-sending: the client may notice that before it sees the answer.
    with suppress(httpx2.TransportError):
        assert served.client.post("/feeds", content=body(), headers=headers).status_code == 413
    assert sent < 100 << 20


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def ask(served: ServedApi, request: bytes, host: str = "127.0.0.1") -> bytes:
    """Send a request byte for byte; return the line of the answer that has its status."""
    port = httpx2.URL(served.url).port
    assert port is not None
    with socket.create_connection((host, port), timeout=20) as connection:
        connection.sendall(request)
        return connection.makefile("rb").readline()


@pytest.mark.parametrize(
    "request_line_and_host",
    [
        b"GET /feeds HTTP/1.1\r\nHost: evil.example\r\n",
        b"GET /imports/x/events HTTP/1.1\r\nHost: evil.example\r\n",
        b"GET / HTTP/1.1\r\nHost: evil.example\r\n",
        b"GET /feeds HTTP/1.1\r\n",
        b"GET /feeds HTTP/1.0\r\n",
        b"GET /feeds HTTP/1.1\r\nHost: 127.0.0.1\r\nHost: evil.example\r\n",
        b"GET http://127.0.0.1/feeds HTTP/1.1\r\nHost: evil.example\r\n",
        b"GET /feeds HTTP/1.1\r\nHost: 127.0.0.2\r\n",
    ],
)
def test_foreign_hosts_are_refused_on_the_wire(
    served: ServedApi, request_line_and_host: bytes
) -> None:
    status = ask(served, request_line_and_host + b"Connection: close\r\n\r\n")
    assert status.startswith(b"HTTP/1.1 400 ")


def test_target_that_names_a_foreign_host_leads_nowhere(served: ServedApi) -> None:
    request = b"GET http://evil.example/feeds HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    assert ask(served, request).startswith(b"HTTP/1.1 404 ")


def test_address_that_a_connection_came_in_at_may_be_named(
    redis_client: RedisConnection, stores: Stores
) -> None:
    settings = {"host": "0.0.0.0", "allow_unauthenticated": True}
    with serve_api(redis_client, stores, **settings) as served:
        request = b"GET /metrics HTTP/1.1\r\nHost: 127.0.0.2:8000\r\nConnection: close\r\n\r\n"
        assert ask(served, request, "127.0.0.2").startswith(b"HTTP/1.1 200 ")
        assert ask(served, request, "127.0.0.3").startswith(b"HTTP/1.1 400 ")
