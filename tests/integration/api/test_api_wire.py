"""What only a real web server shows: ids as they arrive, streams, bodies that are cut off."""

import json
from collections.abc import Iterator
from contextlib import suppress
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from shared.queue import NewJob, RedisConnection
from shared.store import ImportState, ItemWrite, Stores, WriteKind
from tests.api import ServedApi, serve_api


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


def test_events_follow_an_import_to_its_end(served: ServedApi) -> None:
    body = {"document": "<rss/>", "source": "upload"}
    [begun] = served.client.post("/imports/start", json=body).json()["imports"]
    imports, now = served.services.stores.imports, served.clock.now()
    states: list[str] = []
    with served.client.stream("GET", f"/imports/{begun['id']}/events") as answer:
        for event in _events(answer.iter_lines()):
            states.append(event["state"])
            if event["state"] == "queued":
                assert imports.mark_fetching(begun["id"], now)
            elif event["state"] == "fetching":
                assert imports.store_revision(begun["id"], 1)
                outcome = {"state": ImportState.IMPORTING, "counts": {"fetched": 1}, "journaled": 1}
                assert imports.commit(begun["id"], 1, outcome)
            elif event["state"] == "importing":
                assert event["counts"]["pending"] == 1
                assert imports.complete(begun["id"], {"fetched": 1, "new": 1}, now)
    assert states == ["queued", "fetching", "importing", "completed"]


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
