"""Requests for one URL at the same moment, to one server and to two: one feed comes of them."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import Any

import httpx2
import pytest

from shared.queue import RedisConnection
from shared.store import Stores
from tests.api import serve_api

TRIES = 10
# Two to each of two servers.
AT_ONCE = 4

Send = Callable[[httpx2.Client, int], httpx2.Response]


@pytest.fixture
def clients(redis_client: RedisConnection, stores: Stores) -> Iterator[Sequence[httpx2.Client]]:
    """A client for each request of a try, two for each server."""
    stores.ensure_indexes()
    with ExitStack() as stack:
        servers = [stack.enter_context(serve_api(redis_client, stores)) for _ in range(2)]
        yield [
            stack.enter_context(httpx2.Client(base_url=server.url, timeout=20, verify=False))
            for server in servers
            for _ in range(AT_ONCE // 2)
        ]


def send_at_once(clients: Sequence[httpx2.Client], send: Send) -> list[httpx2.Response]:
    """Let each client send its request when all are ready to; return the answers."""
    barrier = threading.Barrier(len(clients))

    def run(number: int) -> httpx2.Response:
        barrier.wait(20)
        return send(clients[number], number)

    with ThreadPoolExecutor(len(clients)) as pool:
        return list(pool.map(run, range(len(clients))))


def statuses(answers: Sequence[httpx2.Response]) -> Counter[int]:
    return Counter(answer.status_code for answer in answers)


def sources_of(stores: Stores, urls: Sequence[str]) -> list[str]:
    return [
        feed.source for feed in stores.feed_lists.find_page(limit=500).items if feed.urls == urls
    ]


def post(path: str, **body: Any) -> Send:
    return lambda client, _number: client.post(path, json=body)


@pytest.mark.parametrize("named", [{}, {"source": "news"}], ids=["unnamed", "named"])
def test_starts_of_one_url_share_one_feed_and_one_import(
    clients: Sequence[httpx2.Client], stores: Stores, named: dict[str, str]
) -> None:
    for number in range(TRIES):
        url = f"https://a.example/{number}.xml"
        body = {name: f"{value}{number}" for name, value in named.items()} | {"url": url}
        answers = send_at_once(clients, post("/imports/start", **body))
        assert statuses(answers) == {202: AT_ONCE}, [answer.text for answer in answers]
        assert len({answer.json()["imports"][0]["id"] for answer in answers}) == 1
        assert len(sources_of(stores, [url])) == 1


def test_starts_of_one_url_under_several_sources_make_one_feed(
    clients: Sequence[httpx2.Client], stores: Stores
) -> None:
    for number in range(TRIES):
        url = f"https://a.example/{number}.xml"

        def send(client: httpx2.Client, sender: int, number: int = number) -> httpx2.Response:
            body = {"url": f"https://a.example/{number}.xml", "source": f"s{number}-{sender}"}
            return client.post("/imports/start", json=body)

        answers = send_at_once(clients, send)
        assert statuses(answers) == {202: 1, 409: AT_ONCE - 1}, [each.text for each in answers]
        [source] = sources_of(stores, [url])
        refused = [each.json()["detail"] for each in answers if each.status_code == 409]
        assert all(f"feed {source!r} has this URL already" in detail for detail in refused)


@pytest.mark.parametrize("urls", [1, 2], ids=["one URL", "two URLs"])
def test_feeds_that_are_added_at_once_with_the_same_urls_become_one(
    clients: Sequence[httpx2.Client], stores: Stores, urls: int
) -> None:
    for number in range(TRIES):
        wanted = [f"https://a.example/{number}/{page}.xml" for page in range(urls)]
        answers = send_at_once(clients, post("/feeds", urls=wanted))
        assert statuses(answers) == {201: 1, 409: AT_ONCE - 1}, [each.text for each in answers]
        assert len(sources_of(stores, wanted)) == 1
        # Named where it can be read already, at the very moment at which it is stored.
        refused = [each.json()["detail"] for each in answers if each.status_code == 409]
        assert all("feed" in detail and " has th" in detail for detail in refused), refused


def test_feeds_that_are_given_one_url_at_once_do_not_all_get_it(
    clients: Sequence[httpx2.Client], stores: Stores
) -> None:
    for sender in range(AT_ONCE):
        added = {"source": f"s{sender}", "url": f"https://b.example/{sender}"}
        assert clients[0].post("/feeds", json=added).status_code == 201
    for number in range(TRIES):
        url = f"https://a.example/{number}.xml"

        def send(client: httpx2.Client, sender: int, number: int = number) -> httpx2.Response:
            changes = {"url": f"https://a.example/{number}.xml"}
            return client.patch(f"/feeds/s{sender}", json=changes)

        answers = send_at_once(clients, send)
        assert statuses(answers) == {200: 1, 409: AT_ONCE - 1}, [each.text for each in answers]
        assert len(sources_of(stores, [url])) == 1


def test_opml_files_that_are_imported_at_once_add_each_url_once(
    clients: Sequence[httpx2.Client], stores: Stores
) -> None:
    urls = [f"https://a.example/{number}.xml" for number in range(TRIES)]
    outlines = "".join(f'<outline type="rss" xmlUrl="{url}"/>' for url in urls)
    document = f'<opml version="2.0"><body>{outlines}</body></opml>'
    answers = send_at_once(
        clients,
        lambda client, _: client.post(
            "/feeds/opml", content=document, headers={"content-type": "text/x-opml"}
        ),
    )
    reports = [answer.json() for answer in answers]
    assert sum(report["added"] for report in reports) == TRIES
    assert all(report["added"] + report["skipped"] == TRIES for report in reports)
    assert [len(sources_of(stores, [url])) for url in urls] == [1] * TRIES


def test_url_is_free_again_when_its_feed_is_deleted_or_changed(
    clients: Sequence[httpx2.Client], stores: Stores
) -> None:
    client, url = clients[0], "https://a.example/feed.xml"
    assert client.post("/feeds", json={"source": "a", "url": url}).status_code == 201
    changed = client.patch("/feeds/a", json={"url": "https://a.example/moved.xml"})
    assert changed.status_code == 200
    assert client.post("/feeds", json={"source": "b", "url": url}).status_code == 201
    assert client.patch("/feeds/a", json={"url": url}).status_code == 409
    assert client.delete("/feeds/b").status_code == 204
    assert client.patch("/feeds/a", json={"url": url}).status_code == 200
    assert sources_of(stores, [url]) == ["a"]
