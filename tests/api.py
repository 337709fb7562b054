"""The HTTP application on real stores, as tests of the API use it."""

import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, cast

import httpx2
import uvicorn
from fastapi import FastAPI
from starlette.testclient import TestClient

from server.dashboard.mounting import create_site
from server.feeds.starter import FeedReservations
from server.importing.replayer import Obstacle, Replayer
from server.process import ServerProcess
from server.services import Services
from shared.queue import RedisConnection
from shared.settings import Settings
from shared.store import Import, ItemWrite, Stores, WriteKind
from tests.fakes import FakeClock
from tests.servers import find_free_port


@dataclass
class RecordingReplay:
    """How a replay went that was only written down."""

    replayed: int = 0
    imports: list[Import] = field(default_factory=list)
    not_replayed: Counter[Obstacle] = field(default_factory=Counter)


@dataclass
class RecordingReplayer:
    """Writes down what it was asked to replay."""

    asked: list[dict[str, Any]] = field(default_factory=list)

    def replay(self, **choice: Any) -> RecordingReplay:
        self.asked.append(choice)
        refused = Counter({Obstacle.UNREADABLE: 1, Obstacle.TOO_LARGE: 5})
        return RecordingReplay(replayed=2, not_replayed=refused)


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
        "bull_queue_name": "items",
        "fetch_max_bytes": 1_000_000,
        # As Starlette's test client calls it.
        "allowed_hosts": "testserver",
    }
    return Settings(_env_file=None, **(defaults | values))  # type: ignore[call-arg]


def make_process(
    redis: RedisConnection, stores: Stores, clock: FakeClock, **settings: Any
) -> ServerProcess:
    """Return a server that does not run: the API's tests work with its services."""
    return ServerProcess(make_settings(**settings), redis, stores, clock)


@contextmanager
def open_api(redis: RedisConnection, stores: Stores, **settings: Any) -> Iterator[Api]:
    """Run an application for the time of a test."""
    clock, replayer = FakeClock(), RecordingReplayer()
    with closing(make_process(redis, stores, clock, **settings)) as process:
        services = replace(process.services, replayer=cast(Replayer, replayer))
        with TestClient(create_site(services), raise_server_exceptions=False) as client:
            yield Api(client, services, process.base.reservations, clock, replayer)


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
    clock = FakeClock()
    with closing(make_process(redis, stores, clock, **settings)) as process:
        yield from _serve(process.services, clock)


def _serve(services: Services, clock: FakeClock) -> Iterator[ServedApi]:
    app = create_site(services)
    port = find_free_port()
    host = services.settings.host
    config = uvicorn.Config(app, host=host, port=port, log_level="warning", proxy_headers=False)
    server = _Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        assert server.is_up.wait(20)
        url = f"http://127.0.0.1:{port}"
        with httpx2.Client(base_url=url, timeout=20, trust_env=False, verify=False) as client:
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
