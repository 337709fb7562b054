"""Hostile addresses, asked for directly and by redirects: no connection reaches a listeners."""

import contextlib
import ipaddress
from collections.abc import Iterator, Sequence

import pytest

from server.fetching.addresses import check_url
from server.fetching.fetcher import Fetcher
from server.fetching.network import Resolver, resolve
from shared.clock import SystemClock
from shared.errors import FetchError, InvalidRequestError
from tests.hostile_urls import NAMES, literal_urls
from tests.listeners import Listeners
from tests.publisher import Answer, Publisher

PUBLIC = "127.0.0.77"  # the one address of loopback that counts as public here
# Without a connection; the last one for names of this machine that its resolver does not know.
REFUSALS = {"refused_address", "bad_url", "redirect", "dns"}


@pytest.fixture
def listeners() -> Iterator[Listeners]:
    with Listeners() as listeners:
        yield listeners
        assert listeners.connections == []


@pytest.fixture
def public() -> Iterator[Publisher]:
    with Publisher(PUBLIC) as publisher:
        yield publisher


@contextlib.contextmanager
def fetching(listeners: Listeners, *ports: int, resolver: Resolver = resolve) -> Iterator[Fetcher]:
    """Ports are no obstacle here, so that only the address can be one."""
    fetcher = Fetcher(
        allow_private=False,
        timeout_s=5.0,
        max_bytes=1 << 20,
        user_agent="test",
        clock=SystemClock(),
        resolver=resolver,
        extra_ports=[listeners.port, 22, 25, 6379, 27017, *ports],
        extra_networks=[ipaddress.ip_network(f"{PUBLIC}/32")],
    )
    with contextlib.closing(fetcher):
        yield fetcher


def refusal_of(fetcher: Fetcher, url: str) -> str:
    """Return how a fetch was refused; "fetched" if it was not."""
    try:
        fetcher.fetch(url)
    except FetchError as exc:
        return exc.kind
    return "fetched"


def resolve_hostile(host: str, _port: int) -> Sequence[str]:
    if host in NAMES:
        return NAMES[host]
    return resolve(host, _port)


def test_every_literal_address_is_refused_by_its_text(listeners: Listeners) -> None:
    accepted = []
    for url in literal_urls(listeners.port):
        with contextlib.suppress(InvalidRequestError):
            accepted.append(check_url(url, allow_private=False, extra_ports=[listeners.port]))
    assert accepted == []


def test_no_literal_address_is_connected_to(listeners: Listeners) -> None:
    urls = literal_urls(listeners.port)
    with fetching(listeners) as fetcher:
        kinds = {url: refusal_of(fetcher, url) for url in urls}
    wrong = {url: kind for url, kind in kinds.items() if kind not in REFUSALS}
    assert wrong == {}
    print(f"{len(urls)} hostile URLs, {len(listeners.connections)} connections to listeners")
    assert len(urls) >= 60


@pytest.mark.parametrize("name", NAMES)
def test_no_name_leads_inside(listeners: Listeners, name: str) -> None:
    with fetching(listeners, resolver=resolve_hostile) as fetcher:
        assert refusal_of(fetcher, f"http://{name}:{listeners.port}/f") == "refused_address"


def test_no_redirect_leads_inside(listeners: Listeners, public: Publisher) -> None:
    """A relative target leads to the publisher again; everything else is refused."""
    targets = literal_urls(listeners.port)
    targets += [f"http://{name}:{listeners.port}/f" for name in NAMES]
    with fetching(listeners, public.port, resolver=resolve_hostile) as fetcher:
        for number, target in enumerate(targets):
            location = target.encode().decode("latin-1").replace("\r", "").replace("\n", "")
            public.answer(f"/{number}", Answer(302, headers={"Location": location}))
            kind = refusal_of(fetcher, public.url(f"/{number}"))
            assert kind in REFUSALS | {"http_status"}, (target, kind)
    print(f"{len(targets)} redirects, {len(listeners.connections)} connections to listeners")
    hosts = {request.header("Host") for request in public.requests}
    assert hosts == {f"{PUBLIC}:{public.port}"}


def test_a_name_that_is_public_first_and_private_then_is_refused_then(
    listeners: Listeners, public: Publisher
) -> None:
    answers = [[PUBLIC], ["127.0.0.1"], ["::1"]]
    asked: list[str] = []

    def rebind(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    public.answer("/f", Answer(200, b"<rss/>", headers={"Connection": "close"}))
    with fetching(listeners, public.port, resolver=rebind) as fetcher:
        url = f"http://rebinding.example:{public.port}/f"
        assert refusal_of(fetcher, url) == "fetched"
        assert [refusal_of(fetcher, url) for _ in range(3)] == ["refused_address"] * 3
        url = f"http://rebinding.example:{listeners.port}/f"
        assert refusal_of(fetcher, url) == "refused_address"
    assert public.count("/f") == 1


def test_a_rebinding_between_redirects_is_refused(listeners: Listeners, public: Publisher) -> None:
    answers = iter([[PUBLIC], ["127.0.0.1"]])
    public.answer("/a", Answer(302, headers={"Location": "/b", "Connection": "close"}))
    with fetching(listeners, public.port, resolver=lambda host, port: next(answers)) as fetcher:
        kind = refusal_of(fetcher, f"http://rebinding.example:{public.port}/a")
    assert kind == "refused_address"
    assert public.count("/b") == 0


def test_neither_proxies_nor_netrc_of_the_environment_are_used(
    listeners: Listeners,
    public: Publisher,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    home = tmp_path_factory.mktemp("home")
    (home / ".netrc").write_text(f"machine {PUBLIC} login me password s3cr3t\n")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("NETRC", str(home / ".netrc"))
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{listeners.port}")
        monkeypatch.setenv(name.upper(), f"http://127.0.0.1:{listeners.port}")
    public.answer("/f", Answer(200, b"<rss/>"))
    with fetching(listeners, public.port) as fetcher:
        assert fetcher.fetch(public.url("/f")).http_status == 200
        assert refusal_of(fetcher, "http://10.0.0.1/f") == "refused_address"
    assert public.requests[0].header("Authorization") is None
