"""What the fetcher refuses to connect to. Each test has a listener that must stay untouched."""

import contextlib
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta

import pytest
import trustme

from server.fetching.fetcher import Fetcher
from shared.clock import SystemClock
from shared.errors import FetchError
from tests.publisher import Answer, Publisher

FEED = b"<rss version='2.0'><channel><title>t</title></channel></rss>"
Resolve = Callable[[str, int], Sequence[str]]


@pytest.fixture
def publisher() -> Iterator[Publisher]:
    with Publisher() as publisher:
        publisher.serve("/f", FEED)
        yield publisher


@contextlib.contextmanager
def fetching(
    resolver: Resolve,
    *,
    port: int = 0,
    ports: Sequence[int] = (),
    allow_private: bool = False,
    ssl_context: ssl.SSLContext | None = None,
    timeout_s: float = 3.0,
) -> Iterator[Fetcher]:
    """With ``ports``, 127.0.0.1 counts as public, and no other address of loopback does."""
    fetcher = Fetcher(
        allow_private=allow_private,
        timeout_s=timeout_s,
        max_bytes=1 << 20,
        user_agent="test",
        clock=SystemClock(),
        resolver=resolver,
        extra_ports=[port, *ports],
        extra_networks=[ipaddress.ip_network("127.0.0.1/32")] if ports else [],
        ssl_context=ssl_context,
    )
    with contextlib.closing(fetcher):
        yield fetcher


def fail(fetcher: Fetcher, url: str) -> FetchError:
    with pytest.raises(FetchError) as caught:
        fetcher.fetch(url)
    return caught.value


@pytest.mark.parametrize(
    "addresses",
    [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["::ffff:127.0.0.1"], ["169.254.169.254"], ["::1"]],
)
def test_a_name_that_leads_inside_is_refused_before_connecting(
    publisher: Publisher, addresses: list[str]
) -> None:
    with fetching(lambda host, port: addresses, port=publisher.port) as fetcher:
        error = fail(fetcher, f"http://feeds.example:{publisher.port}/f")
    assert (error.kind, error.retryable) == ("refused_address", False)
    assert "not a public address" in str(error)
    assert publisher.count() == 0


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1", "2130706433", "0x7f000001", "[::1]"])
def test_a_literal_address_is_vetted_like_a_resolved_one(publisher: Publisher, host: str) -> None:
    with fetching(lambda name, port: [name], port=publisher.port) as fetcher:
        assert fail(fetcher, f"http://{host}:{publisher.port}/f").kind == "refused_address"
    assert publisher.count() == 0


def test_ports_of_other_services_are_refused(publisher: Publisher) -> None:
    with fetching(lambda host, port: ["8.8.8.8"], port=1) as fetcher:
        for port in (22, 6379, 27017, publisher.port):
            assert fail(fetcher, f"http://feeds.example:{port}/").kind == "refused_address"


def test_a_redirect_inside_is_refused() -> None:
    addresses = {"outside.example": "127.0.0.1", "inside.example": "127.0.0.2"}
    with Publisher() as outside, Publisher("127.0.0.2") as inside:
        inside.serve("/f", FEED)
        outside.redirect("/go", f"http://inside.example:{inside.port}/f")
        ports = [outside.port, inside.port]
        with fetching(lambda host, port: [addresses[host]], ports=ports) as fetcher:
            error = fail(fetcher, f"http://outside.example:{outside.port}/go")
        assert error.kind == "refused_address"
        assert (outside.count(), inside.count()) == (1, 0)


def test_a_second_answer_of_the_resolver_cannot_move_the_connection(publisher: Publisher) -> None:
    asked: list[str] = []

    def rebinding(host: str, port: int) -> list[str]:
        asked.append(host)
        return ["203.0.113.1"] if len(asked) == 1 else ["127.0.0.1"]

    with fetching(rebinding, port=publisher.port) as fetcher:
        for _ in range(3):
            fail(fetcher, f"http://feeds.example:{publisher.port}/f")
    assert asked == ["feeds.example"] * 3
    assert publisher.count() == 0


def test_the_host_header_keeps_the_name(publisher: Publisher) -> None:
    with fetching(lambda h, p: ["127.0.0.1"], port=publisher.port, allow_private=True) as fetcher:
        fetcher.fetch(f"http://feeds.example:{publisher.port}/f")
    assert publisher.requests[0].header("Host") == f"feeds.example:{publisher.port}"


def test_the_next_address_is_tried_when_one_does_not_answer(publisher: Publisher) -> None:
    addresses = ["::1", "127.0.0.1"]
    with fetching(lambda h, p: addresses, port=publisher.port, allow_private=True) as fetcher:
        assert fetcher.fetch(f"http://feeds.example:{publisher.port}/f").http_status == 200


def test_a_name_without_an_address_may_have_one_later(publisher: Publisher) -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise OSError("no such name")

    for resolver in (unknown, lambda host, port: []):
        with fetching(resolver, port=publisher.port) as fetcher:
            error = fail(fetcher, f"http://feeds.example:{publisher.port}/f")
        assert (error.kind, error.retryable) == ("dns", True)


def test_a_resolver_that_hangs_is_given_up(publisher: Publisher) -> None:
    released = threading.Event()

    def hanging(host: str, port: int) -> list[str]:
        released.wait(10)
        return []

    with fetching(hanging, port=publisher.port, timeout_s=0.3) as fetcher:
        error = fail(fetcher, f"http://feeds.example:{publisher.port}/f")
    assert (error.kind, error.retryable) == ("dns", True)
    released.set()


def test_proxies_of_the_environment_are_not_used(
    publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, publisher.url("/proxy"))
    with fetching(lambda h, p: ["192.168.0.1"], port=publisher.port) as fetcher:
        assert fail(fetcher, "http://feeds.example/f").kind == "refused_address"
    assert publisher.count() == 0


@pytest.mark.parametrize("url", ["file:///etc/passwd", "http://", "ftp://feeds.example/f", "x"])
def test_other_schemes_and_broken_urls_are_bad_urls(publisher: Publisher, url: str) -> None:
    with fetching(lambda host, port: ["127.0.0.1"], port=publisher.port) as fetcher:
        assert fail(fetcher, url).kind == "bad_url"


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def secure(authority: trustme.CA) -> Iterator[Publisher]:
    """A publisher with a certificate for one name."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("feeds.example").configure_cert(context)
    with Publisher(tls=context) as publisher:
        publisher.serve("/f", FEED)
        yield publisher


@pytest.fixture
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def fetch_securely(secure: Publisher, host: str, context: ssl.SSLContext | None) -> int:
    with fetching(
        lambda h, p: ["127.0.0.1"], port=secure.port, allow_private=True, ssl_context=context
    ) as fetcher:
        return fetcher.fetch(f"https://{host}:{secure.port}/f").http_status


def test_the_certificate_is_checked_against_the_name(
    secure: Publisher, trusting: ssl.SSLContext
) -> None:
    assert fetch_securely(secure, "feeds.example", trusting) == 200


def test_another_name_or_authority_is_refused_and_nothing_is_asked(
    secure: Publisher, trusting: ssl.SSLContext
) -> None:
    for host, context in (("other.example", trusting), ("feeds.example", None)):
        with pytest.raises(FetchError) as caught:
            fetch_securely(secure, host, context)
        assert (caught.value.kind, caught.value.retryable) == ("tls", False)
    assert secure.count() == 0


def test_a_certificate_that_has_run_out_is_refused(
    authority: trustme.CA, trusting: ssl.SSLContext
) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    yesterday = datetime.now(UTC) - timedelta(days=1)
    authority.issue_cert("feeds.example", not_after=yesterday).configure_cert(context)
    with Publisher(tls=context) as expired:
        with pytest.raises(FetchError, match="expired") as caught:
            fetch_securely(expired, "feeds.example", trusting)
        assert (caught.value.kind, expired.count()) == ("tls", 0)


def test_a_redirect_from_https_to_http_is_refused(
    secure: Publisher, trusting: ssl.SSLContext, publisher: Publisher
) -> None:
    secure.answer("/f", Answer(301, headers={"Location": publisher.url("/f")}))
    with pytest.raises(FetchError, match="from https to http"):
        fetch_securely(secure, "feeds.example", trusting)
    assert publisher.count() == 0
