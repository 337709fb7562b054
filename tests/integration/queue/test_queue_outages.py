"""What Redis cannot do now is said in our words, and the call works again afterwards."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from shared.errors import QueueError, QueueFull, QueueUnavailable
from shared.queue import Completion, JobQueue, RedisConnection, connect, disconnect
from shared.queue.wakeup import wait_for_work
from tests.fakes import FakeClock
from tests.queue_states import claim, make_job, seed_active, seed_waiting
from tests.servers import RunningServer, find_free_port, start_valkey


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = start_valkey(tmp_path / "own")
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture
def own_queue(server: RunningServer, clock: FakeClock) -> Iterator[JobQueue]:
    """A queue on a server that the test may harm."""
    client = connect(server.url, socket_timeout_s=0.3)
    yield JobQueue(client, "items", clock=clock)
    disconnect(client)


def test_a_forgotten_script_is_sent_again(queue: JobQueue) -> None:
    seed_waiting(queue, "a#1", "a#2")
    queue.client.script_flush()
    jobs = claim(queue).jobs
    queue.client.script_flush()
    queue.complete_many([Completion(job.id, "t1") for job in jobs])
    assert sum(queue.counts().values()) == 0


def test_a_job_claimed_before_a_failover_can_be_settled_after_it(own_queue: JobQueue) -> None:
    seed_active(own_queue, "a#1")
    own_queue.client.execute_command("REPLICAOF", "127.0.0.1", find_free_port())
    with pytest.raises(QueueUnavailable) as caught:
        own_queue.complete_many([Completion("a#1", "t1")])
    assert caught.value.retryable
    assert not isinstance(caught.value, QueueFull)
    own_queue.client.execute_command("REPLICAOF", "NO", "ONE")
    own_queue.complete_many([Completion("a#1", "t1")])
    assert sum(own_queue.counts().values()) == 0


def test_writes_to_a_read_only_redis_raise(own_queue: JobQueue) -> None:
    own_queue.client.execute_command("REPLICAOF", "127.0.0.1", find_free_port())
    with pytest.raises(QueueUnavailable, match="cannot serve"):
        own_queue.add_many([make_job("a#1")])
    with pytest.raises(QueueUnavailable, match="cannot serve"):
        own_queue.create_incarnation("x")


def test_a_dead_redis_is_unavailable_and_a_new_one_is_used(
    own_queue: JobQueue, server: RunningServer, tmp_path: Path
) -> None:
    seed_waiting(own_queue, "a#1")
    server.kill()
    with pytest.raises(QueueUnavailable):
        own_queue.counts()
    with pytest.raises(QueueUnavailable):
        claim(own_queue)
    again = start_valkey(tmp_path / "again", port=server.port)
    try:
        seed_waiting(own_queue, "a#1")
        assert len(claim(own_queue).jobs) == 1
    finally:
        again.stop()


def test_a_frozen_redis_is_noticed_by_the_timeout(
    own_queue: JobQueue, server: RunningServer
) -> None:
    seed_waiting(own_queue, "a#1")
    server.freeze()
    try:
        with pytest.raises(QueueUnavailable):
            claim(own_queue)
    finally:
        server.thaw()
    # The frozen server ran the claim all the same; the same token finds its jobs.
    assert [job.id for job in claim(own_queue).jobs] == ["a#1"]


def test_nothing_is_sent_twice_by_the_driver(own_queue: JobQueue, server: RunningServer) -> None:
    own_queue.client.ping()
    server.freeze()
    try:
        with pytest.raises(QueueUnavailable):
            own_queue.add_many([make_job("a#1")])
    finally:
        server.thaw()
    assert own_queue.client.get("bull:items:id") in (None, b"1")


def test_a_socket_in_the_file_system_serves(tmp_path: Path, clock: FakeClock) -> None:
    # Its path must be short: Linux takes some hundred bytes.
    with TemporaryDirectory(prefix="valkey") as folder:
        socket = f"{folder}/socket"
        server = start_valkey(tmp_path / "own", "--unixsocket", socket)
        client = connect(f"unix://{socket}", client_name="tests")
        queue = JobQueue(client, "items", clock=clock)
        try:
            seed_waiting(queue, "a#1")
            assert len(claim(queue).jobs) == 1
            assert wait_for_work(client, [queue], 0.01)
        finally:
            disconnect(client)
            server.stop()


@pytest.mark.parametrize(
    "url",
    [
        "redis://127.0.0.1:1/0?foo=1",
        "unix:///tmp/none?foo=1",
        "redis+sentinel://127.0.0.1:1/main?foo=1",
        "redis+sentinel://127.0.0.1:1/main?sentinel_foo=1",
        "redis+cluster://127.0.0.1:1?foo=1",
    ],
)
def test_an_option_that_no_connection_has_is_refused_by_its_name(url: str) -> None:
    with pytest.raises(QueueError, match=r"not a Redis URL.*foo'") as caught:
        connect(url)
    assert not caught.value.retryable


def test_a_refused_connection_is_tried_once(clock: FakeClock) -> None:
    client = connect(f"redis://127.0.0.1:{find_free_port()}/0")
    queue = JobQueue(client, "items", clock=clock)
    attempts: list[object] = []
    pool_class = client.connection_pool.connection_class

    class CountingConnection(pool_class):  # type: ignore[misc, valid-type]
        def _connect(self) -> object:
            attempts.append(self)
            return super()._connect()

    client.connection_pool.connection_class = CountingConnection
    with pytest.raises(QueueUnavailable):
        queue.counts()
    assert len(attempts) == 1
    disconnect(client)


def test_a_wrong_type_under_a_key_is_an_error_of_its_own(queue: JobQueue) -> None:
    queue.client.set(queue.keys.wait, "not a list")
    with pytest.raises(QueueError) as caught:
        seed_waiting(queue, "a#1")
    assert not isinstance(caught.value, QueueUnavailable)


def test_a_text_that_is_no_url_is_refused() -> None:
    with pytest.raises(QueueError, match="URL"):
        connect("localhost:6379")


def test_the_error_tree_reaches_callers_without_the_driver(redis_client: RedisConnection) -> None:
    from shared.queue.connection import run

    with pytest.raises(QueueError) as caught:
        run(redis_client, "NOSUCHCOMMAND")
    assert caught.value.__cause__ is not None
