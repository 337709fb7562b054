"""The HTTP application on real stores, as tests of the API use it."""

import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import httpx2
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from server.dashboard.mounting import create_site
from server.feeds.discovery import FeedDiscoverer
from server.feeds.outcomes import Outcomes
from server.feeds.retry_after import RetryAfter
from server.feeds.service import FeedService
from server.feeds.starter import FeedReservations, ImportStarter
from server.fetching.addresses import check_url
from server.fetching.fetcher import Fetcher
from server.fetching.host_slots import HostSlots
from server.importing.remover import Remover
from server.parsing.isolation import ParserPool
from server.services import Services
from shared.queue import JobQueue, RedisConnection
from shared.settings import Settings
from shared.store import Import, ItemWrite, Stores, WriteKind
from shared.supervision import Supervisor
from tests.fakes import FakeClock
from tests.servers import find_free_port


@dataclass
class RecordingReplay:
    """How a replay went that was only written down."""

    replayed: int = 0
    imports: list[Import] = field(default_factory=list)


@dataclass
class RecordingReplayer:
    """Writes down what it was asked to replay."""

    asked: list[dict[str, Any]] = field(default_factory=list)

    def replay(self, **choice: Any) -> RecordingReplay:
        self.asked.append(choice)
        return RecordingReplay(replayed=2)


@dataclass
class Api:
    """An application, a client of it, and what stands behind."""

    client: TestClient
    services: Services
    reservations: FeedReservations
    clock: FakeClock
    replayer: RecordingReplayer

    @property
    def stores(self) -> Stores:
        return self.services.stores

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        return self.client.post(path, json=body, **options)

    def show_page(self, path: str, status: int = 200) -> str:
        """Return a page of the dashboard."""
        answer = self.client.get(path)
        assert answer.status_code == status, answer.text
        assert answer.headers["content-type"].startswith("text/html")
        return answer.text

    def send_form(self, path: str, status: int = 200, **fields: Any) -> str:
        """Post a form and return the page that it leads to."""
        answer = self.client.post(path, data=fields)
        assert answer.status_code == status, answer.text
        return answer.text


def make_settings(**values: Any) -> Settings:
    """Return settings that nothing outside the test has a say in."""
    defaults = {
        "api_rate_limit": "1000/minute",
        "fetch_max_bytes": 1_000_000,
        # As Starlette's test client calls it.
        "allowed_hosts": "testserver",
    }
    return Settings(_env_file=None, **(defaults | values))  # type: ignore[call-arg]


@contextmanager
def open_discoverer(
    stores: Stores, clock: FakeClock, settings: Settings
) -> Iterator[FeedDiscoverer]:
    """Give a discoverer that really fetches and parses."""
    allow_private = settings.fetch_allow_private
    fetcher = Fetcher(
        allow_private=allow_private,
        timeout_s=settings.fetch_timeout_s,
        max_bytes=settings.fetch_max_bytes,
        user_agent="Feedmill/test",
        clock=clock,
    )
    check = partial(check_url, allow_private=allow_private)
    with closing(fetcher), ParserPool(1) as parser:
        yield FeedDiscoverer(
            fetcher=fetcher,
            parser=parser,
            check_url=check,
            retry_after=RetryAfter(stores, clock),
            host_slots=HostSlots(settings.fetch_per_host, clock),
            clock=clock,
        )


def make_services(
    redis: RedisConnection,
    stores: Stores,
    clock: FakeClock,
    settings: Settings,
    discoverer: FeedDiscoverer,
) -> tuple[Services, FeedReservations, RecordingReplayer]:
    """Return services on these stores; only the replayer is a stand-in."""

    def queue(name: str) -> JobQueue:
        return JobQueue(redis, name, clock=clock)

    light, heavy, dead = queue("items"), queue("items_heavy"), queue("items_dlq")
    fetch_queue = queue("feed_fetch_queue")
    reservations = FeedReservations(stores, fetch_queue, clock)
    check = partial(check_url, allow_private=settings.fetch_allow_private)
    feeds = FeedService(stores, fetch_queue, clock, check, Outcomes(clock))
    replayer = RecordingReplayer()
    services = Services(
        settings=settings,
        clock=clock,
        stores=stores,
        light_queue=light,
        heavy_queue=heavy,
        dead_letter_queue=dead,
        fetch_queue=fetch_queue,
        starter=ImportStarter(stores, reservations, feeds, clock),
        feeds=feeds,
        discoverer=discoverer,
        replayer=replayer,
        remover=Remover(
            stores=stores,
            item_queues=[light, heavy],
            dead_letter_queue=dead,
            clock=clock,
        ),
        supervisor=Supervisor(clock, lambda *_, **__: None),
    )
    return services, reservations, replayer


@contextmanager
def open_api(redis: RedisConnection, stores: Stores, **settings: Any) -> Iterator[Api]:
    """Run an application for the time of a test."""
    clock, made = FakeClock(), make_settings(**settings)
    with open_discoverer(stores, clock, made) as discoverer:
        services, reservations, replayer = make_services(redis, stores, clock, made, discoverer)
        app = create_site(services)
        with TestClient(app, raise_server_exceptions=False) as client:
            yield Api(client, services, reservations, clock, replayer)


def seed_item(api: Api, guid: str = "1", **fields: Any) -> str:
    """Store an item of the source lwn as an import would; returns its id."""
    content = {
        "source": "lwn", "guid": guid, "categories": [], "enclosures": [], "extra": [],
        "content_hash": "1:x", **fields,
    }  # fmt: skip
    item_id = f"lwn#{guid}"
    write = ItemWrite(item_id, WriteKind.INSERT, 1, content, "import1", api.clock.now())
    assert api.stores.items.write_many([write]).written == {item_id}
    return item_id


@dataclass
class ServedApi:
    """An application behind a real web server."""

    client: httpx2.Client
    services: Services
    clock: FakeClock
    url: str
    app: FastAPI


@contextmanager
def serve_api(redis: RedisConnection, stores: Stores, **settings: Any) -> Iterator[ServedApi]:
    """Serve an application on loopback for the time of a test."""
    clock, made = FakeClock(), make_settings(**settings)
    with open_discoverer(stores, clock, made) as discoverer:
        services, _, _ = make_services(redis, stores, clock, made, discoverer)
        yield from _serve(services, clock)


def _serve(services: Services, clock: FakeClock) -> Iterator[ServedApi]:
    app = create_site(services)
    port = find_free_port()
    host = services.settings.host
    config = uvicorn.Config(app, host=host, port=port, log_level="warning")
    server = _Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.is_up.wait(20)
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, timeout=20, trust_env=False) as client:
            yield ServedApi(client, services, clock, url, app)
    finally:
        server.should_exit = True
        thread.join(20)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.is_up = threading.Event()

    async def startup(self, sockets: Any = None) -> None:
        await super().startup(sockets)
        self.is_up.set()
