"""A Redis that forbids something: what is needed is found and named, what is optional missed."""

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack, closing
from itertools import chain
from pathlib import Path

import pytest

from shared.errors import QueueRefused, QueueUnavailable
from shared.queue import (
    JobQueue,
    RedisConnection,
    allows_client_names,
    check_permissions,
    connect,
    disconnect,
    examine_redis,
    wait_for_work,
)
from shared.queue.connection import parts_of, read_lua, script_names
from tests.failpoints import full_redis
from tests.fakes import FakeClock
from tests.logins import MANAGED, redis_login
from tests.processes import wait_until
from tests.queue_states import claim, make_job
from tests.servers import RunningServer, find_free_port, start_valkey

NAMES = ("items", "items_heavy", "items_dlq", "feed_fetch_queue")


@pytest.fixture
def limited(
    request: pytest.FixtureRequest, redis_client: RedisConnection, valkey_url: str
) -> Iterator[RedisConnection]:
    """A client of a user whose rules are the test's parameter."""
    with redis_login(redis_client, valkey_url, "limited", request.param) as url:
        client = connect(url)
        yield client
        disconnect(client)


@pytest.mark.parametrize(
    "limited",
    [
        "~bull:* +@all -@admin -@dangerous",
        MANAGED,
        "~bull:* +@all -client -info -config -time -acl -select -scan",
    ],
    indirect=True,
)
def test_what_is_optional_is_not_asked_for(limited: RedisConnection) -> None:
    check_permissions(limited, "bull", NAMES)


@pytest.mark.parametrize(
    ("limited", "named"),
    [
        ("~bull:* +@all -@scripting", "EVAL, EVALSHA"),
        ("~bull:* +@all -eval", "EVAL"),
        ("~bull:* +@all -evalsha", "EVALSHA"),
        ("~bull:* +@all -zadd -lpos", "LPOS, ZADD"),
        ("~bull:* +@all -bzpopmin", "BZPOPMIN"),
        ("~bull:* +@all -ping", "PING"),
        ("~bull:* +@read +@connection", "BZPOPMIN, EVAL, EVALSHA"),
        ("~other:* +@all", "access to a key"),
        ("~bull:items* +@all", "access to a key"),
    ],
    indirect=["limited"],
)
def test_all_that_is_needed_and_refused_is_named(limited: RedisConnection, named: str) -> None:
    with pytest.raises(QueueRefused) as caught:
        check_permissions(limited, "bull", NAMES)
    assert caught.value.what == named
    assert not caught.value.is_cluster
    assert f"refuses its login {named} (" in str(caught.value)


def test_probe_tries_every_command_that_a_script_uses() -> None:
    tried = set(re.findall(r'try\("([A-Z]+)"', read_lua("probe")))
    for text in map(read_lua, [*script_names(), *chain(*map(parts_of, script_names()))]):
        assert set(re.findall(r'redis\.p?call\("([A-Z]+)"', text)) <= tried


def test_check_leaves_nothing_behind_however_many_check_at_once(
    redis_client: RedisConnection,
) -> None:
    failed: list[BaseException] = []

    def check() -> None:
        try:
            check_permissions(redis_client, "bull", NAMES)
        except BaseException as exc:  # noqa: BLE001 - told on the test's own thread
            failed.append(exc)

    threads = [threading.Thread(target=check) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failed == []
    assert redis_client.keys("*") == []


def test_full_redis_passes_for_jobs_can_be_settled_there(redis_client: RedisConnection) -> None:
    with full_redis(redis_client):
        check_permissions(redis_client, "bull", NAMES)


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[RunningServer]:
    server = start_valkey(tmp_path / "own")
    yield server
    server.stop()


def test_replica_cannot_serve_but_refuses_no_right(own_server: RunningServer) -> None:
    with closing(connect(own_server.url)) as client:
        client.replicaof("127.0.0.1", 1)
        with pytest.raises(QueueUnavailable) as caught:
            check_permissions(client, "bull", NAMES)
    assert not isinstance(caught.value, QueueRefused)


SLOTS = 16_384


@pytest.fixture
def nodes(tmp_path: Path) -> Iterator[list[RedisConnection]]:
    """Two nodes that are to become Clusters."""
    with ExitStack() as stack:
        clients = []
        for name in ("one", "two"):
            bus = str(find_free_port())
            options = ("--cluster-enabled", "yes", "--cluster-port", bus)
            server = start_valkey(tmp_path / name, *options)
            stack.callback(server.stop)
            client = connect(server.url)
            stack.callback(disconnect, client)
            clients.append(client)
        yield clients


def wait_for_cluster(node: RedisConnection) -> None:
    def is_serving() -> bool:
        return bool(node.execute_command("CLUSTER INFO")["cluster_state"] == "ok")

    wait_until(is_serving, "the Cluster serves")


def test_cluster_is_refused_without_a_hash_tag_and_served_with_one(
    nodes: list[RedisConnection],
) -> None:
    nodes[0].execute_command("CLUSTER", "ADDSLOTSRANGE", 0, SLOTS - 1)
    wait_for_cluster(nodes[0])
    with pytest.raises(QueueRefused) as caught:
        check_permissions(nodes[0], "bull", NAMES)
    assert caught.value.is_cluster
    check_permissions(nodes[0], "{bull}", NAMES)


def test_node_that_does_not_hold_the_keys_is_refused_and_the_right_one_named(
    nodes: list[RedisConnection],
) -> None:
    slot = int(nodes[0].execute_command("CLUSTER", "KEYSLOT", "{bull}"))
    ranges = [(low, high) for low, high in ((0, slot - 1), (slot + 1, SLOTS - 1)) if low <= high]
    nodes[0].execute_command("CLUSTER", "ADDSLOTSRANGE", *(end for one in ranges for end in one))
    nodes[1].execute_command("CLUSTER", "ADDSLOTS", slot)
    port = nodes[1].connection_pool.connection_kwargs["port"]
    bus = nodes[1].config_get("cluster-port")["cluster-port"]
    nodes[0].execute_command("CLUSTER", "MEET", "127.0.0.1", port, bus)
    for node in nodes:
        wait_for_cluster(node)
    with pytest.raises(QueueRefused, match=f"another node of its Cluster: 127.0.0.1:{port}") as got:
        check_permissions(nodes[0], "{bull}", NAMES)
    assert got.value.is_cluster
    check_permissions(nodes[1], "{bull}", NAMES)


def test_cluster_that_is_down_is_an_outage(nodes: list[RedisConnection]) -> None:
    with pytest.raises(QueueUnavailable, match="cannot serve now") as caught:
        check_permissions(nodes[0], "{bull}", NAMES)
    assert not isinstance(caught.value, QueueRefused)


@pytest.mark.parametrize("limited", ["~bull:* +@all -client"], indirect=True)
def test_waiting_for_work_does_without_a_name(limited: RedisConnection, clock: FakeClock) -> None:
    queue = JobQueue(limited, "items", clock=clock)
    queue.add_many([make_job("a#1")])
    assert wait_for_work(limited, [queue], 0.05)
    assert [job.id for job in claim(queue).jobs] == ["a#1"]
    assert not allows_client_names(limited)


def test_names_are_given_where_they_are_allowed(
    redis_client: RedisConnection, valkey_url: str
) -> None:
    with closing(connect(valkey_url, client_name="somebody")) as client:
        assert client.execute_command("CLIENT", "GETNAME") == b"somebody"
        assert allows_client_names(redis_client)


@pytest.mark.parametrize("limited", ["~bull:* +@all -info -time -config -client"], indirect=True)
def test_redis_that_tells_nothing_is_examined_all_the_same(
    limited: RedisConnection, clock: FakeClock
) -> None:
    seen = examine_redis(limited, clock)
    assert not seen.is_told
    assert (seen.eviction_policy, seen.has_snapshots, seen.clock_ahead_ms) == (None, None, None)
