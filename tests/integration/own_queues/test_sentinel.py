"""Queues on a primary that Sentinels name: another one takes over while jobs are added and run."""

import traceback
from collections.abc import Iterator

import pytest
import redis

from feedmill import Queue, QueueEvents, QueueUnavailable
from shared.clock import SystemClock
from shared.queue import JobQueue, WorkerSign, WorkerSigns, check_client, connect, disconnect
from shared.queue.health import check_permissions, list_workers
from shared.queue.wakeup import wait_for_work
from tests.load import Load
from tests.processes import wait_until
from tests.sentinels import SentinelDeployment
from tests.servers import find_free_port


@pytest.fixture(scope="module")
def shared_deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SentinelDeployment]:
    with SentinelDeployment(tmp_path_factory.mktemp("sentinel")) as deployment:
        yield deployment


@pytest.fixture
def deployment(shared_deployment: SentinelDeployment) -> SentinelDeployment:
    """A primary without keys and its replica; either may have been the other before."""
    shared_deployment.bring_back_replica()
    with redis.Redis(port=shared_deployment.primary.port) as primary:
        primary.flushall()
    return shared_deployment


def test_no_job_is_lost_when_primaries_are_killed_under_load(
    deployment: SentinelDeployment,
) -> None:
    with Load(deployment.url, 700) as load:
        for number in range(2):
            load.wait_for((number + 1) * 100)
            deployment.kill_primary()
            deployment.wait_for_failover()
            deployment.bring_back_replica()
        load.wait_for_all()
        assert load.outages


@pytest.mark.long
@pytest.mark.timeout(600)
def test_no_job_of_20_000_is_lost_by_20_failovers(deployment: SentinelDeployment) -> None:
    with Load(deployment.url, 20_000, concurrency=10) as load:
        for number in range(20):
            load.wait_for((number + 1) * 900, within_s=120)
            deployment.kill_primary()
            deployment.wait_for_failover()
            deployment.bring_back_replica()
        load.wait_for_all(within_s=120)
        assert load.outages >= 20


def test_a_primary_that_becomes_a_replica_is_left_for_the_new_one(
    deployment: SentinelDeployment,
) -> None:
    with Load(deployment.url, 500) as load:
        load.wait_for(100)
        deployment.begin_failover()
        deployment.wait_for_failover()
        deployment.bring_back_replica()
        # What the old primary was given before it knew is lost: whoever keeps a record adds it.
        load.add_missing()
        load.wait_for_all()


def test_everything_a_queue_needs_is_served_by_whoever_is_the_primary(
    deployment: SentinelDeployment,
) -> None:
    client = connect(deployment.url, client_name="tests")
    queue = JobQueue(client, "items", clock=SystemClock())
    try:
        for is_after_failover in (False, True):
            if is_after_failover:
                deployment.kill_primary()
                deployment.wait_for_failover()
                deployment.bring_back_replica()
            check_client(client)
            check_permissions(client, "bull", ["items", "items_dlq"])
            assert not wait_for_work(client, [queue], 0.01)
            signs = WorkerSigns(client)
            signs.leave(WorkerSign("w1", ("items",), 0, 1.0))
            assert [sign.worker_id for sign in signs.read()] == ["w1"]
            assert [worker.name for worker in list_workers(queue) or ()] == [None]
            assert client.info("clients")
    finally:
        disconnect(client)


def test_events_go_on_after_a_failover(deployment: SentinelDeployment) -> None:
    queue, events = Queue("emails", deployment.url), QueueEvents("emails", deployment.url)
    try:
        queue.add("welcome", {}, job_id="a")
        assert next(iter(events)).job_id == "a"
        deployment.kill_primary()
        deployment.wait_for_failover()
        wait_until(lambda: _adds(queue, "b"), "jobs are added again")
        assert "b" in (event.job_id for event in events.listen(10.0))
    finally:
        events.close()
        queue.close()


def _adds(queue: Queue, job_id: str) -> bool:
    try:
        queue.add("welcome", {}, job_id=job_id)
    except QueueUnavailable:
        return False
    return True


def test_a_primary_that_no_sentinel_knows_is_unavailable_by_its_name(
    deployment: SentinelDeployment,
) -> None:
    queue = Queue("emails", deployment.url.replace("/main/", "/other/"))
    try:
        with pytest.raises(QueueUnavailable, match="No master found for 'other'"):
            queue.get_job_counts()
    finally:
        queue.close()


def test_sentinels_that_do_not_answer_are_an_outage() -> None:
    port = find_free_port()
    logins = "sentinel_username=asker&sentinel_password=hunter2"
    queue = Queue("emails", f"redis+sentinel://:hunter3@127.0.0.1:{port}/main?{logins}")
    try:
        with pytest.raises(QueueUnavailable) as caught:
            queue.add("welcome", {})
        asked = f"by the Sentinels at 127.0.0.1:{port}"
        assert str(caught.value).endswith(f"No master found for 'main' {asked}")
        assert "hunter" not in "".join(traceback.format_exception(caught.value))
    finally:
        queue.close()


def test_redis_and_its_sentinels_each_have_their_login(deployment: SentinelDeployment) -> None:
    with redis.Redis(port=deployment.primary.port) as primary:
        primary.execute_command("ACL", "SETUSER", "app", "on", ">p/w", "~*", "&*", "+@all")
    with redis.Redis(port=deployment.sentinel.port) as sentinel:
        sentinel.execute_command("ACL", "SETUSER", "asker", "on", ">s@w", "~*", "&*", "+@all")
        sentinel.execute_command("ACL", "SETUSER", "default", "off")
        hosts = deployment.url.removeprefix("redis+sentinel://")
        logins = "sentinel_username=asker&sentinel_password=s%40w"
        queue = Queue("emails", f"redis+sentinel://app:p%2Fw@{hosts}?{logins}")
        try:
            assert queue.add("welcome", {}).id == "1"
        finally:
            queue.close()
            sentinel.execute_command("ACL", "SETUSER", "default", "on")
