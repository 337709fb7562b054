"""Roles on a Redis of several nodes, which change their parts while imports run."""

import json
import subprocess
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.clusters import SPARE, ClusterDeployment
from tests.processes import Deploy, Deployment, counts_of, wait_until
from tests.sentinels import SentinelDeployment
from tests.servers import find_free_port

FEEDMILL = str(Path(sysconfig.get_path("scripts")) / "feedmill")
ITEMS = 400


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ClusterDeployment]:
    with ClusterDeployment(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster


@pytest.fixture
def sentinel(tmp_path: Path) -> Iterator[SentinelDeployment]:
    with SentinelDeployment(tmp_path / "sentinel") as sentinel:
        yield sentinel


def document(items: int) -> str:
    """Return a feed of so many items."""
    entries = "".join(f"<item><guid>{n}</guid><title>{n}</title></item>" for n in range(items))
    return f'<?xml version="1.0"?><rss version="2.0"><channel>{entries}</channel></rss>'


def import_items(deployed: Deployment, source: str) -> str:
    return deployed.start_import(source=source, document=document(ITEMS))


def assert_all_came(deployed: Deployment, import_id: str) -> None:
    ended = deployed.wait_until_closed(import_id)
    assert ended["counts"] == counts_of(fetched=ITEMS, new=ITEMS)


def ask_doctor(deployed: Deployment) -> dict[str, str]:
    """Return the level of each of the doctor's findings about Redis."""
    done = subprocess.run(
        [FEEDMILL, "doctor", "--json"],
        cwd=deployed.folder,
        env=deployed.environment,
        capture_output=True,
        text=True,
    )
    report: dict[str, Any] = json.loads(done.stdout)
    return {one["check"]: one["level"] for one in report["findings"] if one["group"] == "Redis"}


def test_imports_go_on_with_the_primary_that_the_sentinel_made(
    deploy: Deploy, sentinel: SentinelDeployment
) -> None:
    deployed = deploy(REDIS_URL=sentinel.url)
    roles = [deployed.start_server(), deployed.start_worker()]
    assert_all_came(deployed, import_items(deployed, "before"))
    started = import_items(deployed, "during")
    sentinel.kill_primary()
    wait_until(lambda: not deployed.is_ready(), "it says that it is not ready")
    sentinel.wait_for_failover()
    assert_all_came(deployed, started)
    wait_until(deployed.is_ready, "it is ready again")
    assert all(role.is_running and "Traceback" not in role.said() for role in roles)
    assert set(ask_doctor(deployed).values()) <= {"ok", "warning"}


@pytest.mark.long
@pytest.mark.timeout(900)
def test_no_item_of_20_000_is_lost_or_twice_there_after_20_failovers(
    deploy: Deploy, sentinel: SentinelDeployment
) -> None:
    deployed = deploy(REDIS_URL=sentinel.url)
    roles = [deployed.start_server(), deployed.start_worker()]
    for number in range(20):
        started = deployed.start_import(source=f"feed{number}", document=document(1_000))
        wait_until(lambda found=started: deployed.settled(found) > 0, "its items come")
        if number % 7 == 3:
            # These lose what was written last, for which no replica can stand in.
            sentinel.cut_replication()
        sentinel.kill_primary()
        sentinel.wait_for_failover()
        ended = deployed.wait_until_closed(started, within_s=150)
        assert ended["counts"] == counts_of(fetched=1_000, new=1_000)
        sentinel.bring_back_replica()
    documents = deployed.documents()
    assert len(documents) == len(set(documents)) == 20_000
    assert all(role.is_running and "Traceback" not in role.said() for role in roles)


def test_imports_go_on_while_the_slot_of_a_cluster_moves(
    deploy: Deploy, cluster: ClusterDeployment
) -> None:
    deployed = deploy(REDIS_URL=cluster.url, QUEUE_PREFIX="{bull}")
    roles = [deployed.start_server(), deployed.start_worker()]
    started = import_items(deployed, "during")
    cluster.begin_move("{bull}", SPARE)
    wait_until(lambda: not deployed.is_ready(), "it says that it is not ready")
    cluster.end_move("{bull}", SPARE)
    assert_all_came(deployed, started)
    cluster.move_at_once("{bull}", 0)
    assert_all_came(deployed, import_items(deployed, "after"))
    assert all(role.is_running and "Traceback" not in role.said() for role in roles)
    assert ask_doctor(deployed)["cluster"] == "ok"
    assert deployed.api.get("/metrics").status_code == 200
    assert deployed.api.get("/").status_code == 200


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("redis+sentinel://127.0.0.1:{port}/main", "No master found for 'main'"),
        ("redis+cluster://127.0.0.1:{port}", "Redis does not answer"),
    ],
)
def test_nodes_that_do_not_answer_are_named_in_one_line(
    tmp_path: Path, mongodb_url: str, url: str, reason: str
) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "DATA_DIR": str(tmp_path / "data"),
        "PORT": str(find_free_port()),
        "REDIS_URL": url.format(port=find_free_port()),
        "MONGODB_URL": mongodb_url,
    }
    done = subprocess.run(
        [FEEDMILL, "up"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90
    )
    [line] = done.stderr.splitlines()
    assert (done.returncode, "REDIS_URL: " in line, reason in line) == (1, True, True), line


@pytest.mark.parametrize(
    ("role", "scheme"),
    [
        ("worker", "redis+cluster"),
        ("up", "redis"),
        pytest.param("server", "redis", marks=pytest.mark.long),
    ],
)
def test_a_cluster_whose_keys_have_no_hash_tag_is_refused_with_an_example(
    tmp_path: Path, mongodb_url: str, cluster: ClusterDeployment, role: str, scheme: str
) -> None:
    environment = {
        "PATH": "/usr/bin:/bin",
        "DATA_DIR": str(tmp_path / "data"),
        "PORT": str(find_free_port()),
        "REDIS_URL": f"{scheme}://127.0.0.1:{cluster.nodes[0].port}",
        "MONGODB_URL": mongodb_url,
    }
    done = subprocess.run(
        [FEEDMILL, role], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=90
    )
    assert done.returncode == 1
    [line] = done.stderr.splitlines()
    assert "REDIS_URL: it is a Redis Cluster" in line
    assert line.endswith("give QUEUE_PREFIX=bull a hash tag, as QUEUE_PREFIX={bull}")
