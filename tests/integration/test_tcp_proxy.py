"""The proxy that stands for a broken line: each of its modes, seen by a client of Redis."""

from collections.abc import Iterator

import pytest
import redis

from shared.queue import RedisConnection
from tests.tcp_proxy import Mode, TcpProxy

TIMEOUT_S = 0.3


@pytest.fixture
def proxy(valkey_url: str, redis_client: RedisConnection) -> Iterator[TcpProxy]:
    with TcpProxy(valkey_url) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: TcpProxy) -> Iterator[redis.Redis]:
    with redis.Redis.from_url(
        proxy.url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S, retry=None
    ) as client:
        assert client.ping()
        yield client


@pytest.mark.parametrize(
    ("mode", "error"),
    [
        (Mode.REFUSE, redis.ConnectionError),
        (Mode.SILENT, redis.TimeoutError),
        (Mode.CUT, redis.ConnectionError),
    ],
)
def test_a_broken_line_fails_old_and_new_connections_and_works_again_afterwards(
    proxy: TcpProxy, client: redis.Redis, mode: Mode, error: type[Exception]
) -> None:
    proxy.set_mode(mode)
    for _ in range(3):
        with pytest.raises(error):
            client.ping()
    proxy.set_mode(Mode.PASS)
    assert client.ping()


@pytest.mark.parametrize(("after", "executed"), [(False, 0), (True, 1)])
def test_an_outage_begins_before_or_after_what_is_sent_then_is_executed(
    proxy: TcpProxy,
    client: redis.Redis,
    redis_client: RedisConnection,
    after: bool,
    executed: int,
) -> None:
    proxy.when_sent(b"INCR", lambda: proxy.set_mode(Mode.CUT), after=after)
    with pytest.raises(redis.ConnectionError):
        client.incr("counter")
    assert int(redis_client.get("counter") or 0) == executed
    assert not proxy.is_armed


def test_a_frozen_store_executes_late_what_was_sent(
    proxy: TcpProxy, client: redis.Redis, redis_client: RedisConnection
) -> None:
    proxy.set_mode(Mode.SILENT)
    with pytest.raises(redis.TimeoutError):
        client.incr("counter")
    proxy.set_mode(Mode.PASS)
    assert client.ping()
    assert int(redis_client.get("counter") or 0) <= 1
