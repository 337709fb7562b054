"""Each long-lived thread of a server and a worker fails, once and always: nothing stops unheard."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from shared.queue import JobState
from tests.feeds.make_feed import make_feed
from tests.processes import Deploy, Deployment, wait_until
from tests.publisher import Publisher
from tests.servers import ending_with_us, find_free_port

ROOT = Path(__file__).resolve().parents[2]
# All of them: a test compares these with what the running roles tell.
WORKER_LOOPS = ("consumer", "flush", "heartbeat", "queue-upkeep", "signaller")
SERVER_LOOPS = (
    "auditor", "dispatcher", "feed_fetch_queue-dispatch", "feed_fetch_queue-heartbeat",
    "queue-upkeep", "scheduler",
)  # fmt: skip
# A worker is of use without leaving signs.
NEVER_GIVEN_UP = "signaller"
ITEMS = 200
ENDS_WITHIN_S = 60.0
# Nobody may wait for a lock to run out, or it would hide that jobs were not handed back.
LOCK_MS = "60000"


class Sabotaged:
    """Starts roles whose loops fail, and ends those that are left."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._started: list[subprocess.Popen[bytes]] = []
        self.last_log = folder / "failing-0.log"

    def start(
        self, deployed: Deployment, role: str, *names: str, how: str, **settings: str
    ) -> subprocess.Popen[bytes]:
        environment = {**deployed.environment, "PYTHONPATH": str(ROOT), **settings}
        self.last_log = self._folder / f"failing-{len(self._started) + 1}.log"
        with self.last_log.open("ab") as output:
            process = subprocess.Popen(
                [*ending_with_us(), sys.executable, "-m", "tests.failing_role", role, *names, how],
                cwd=self._folder,
                env=environment,
                stdout=output,
                stderr=output,
            )
        self._started.append(process)
        return process

    def said(self) -> str:
        """Everything that all of them have written so far."""
        return "".join(map(said_in, sorted(self._folder.glob("failing-*.log"))))

    def close(self) -> None:
        for process in self._started:
            if process.poll() is None:
                process.kill()
                process.wait(20)


def said_in(log: Path) -> str:
    return log.read_text(errors="replace")


def check_given_up(process: subprocess.Popen[bytes], log: Path, role: str, name: str) -> None:
    """See that a process whose loop of that name always fails ends by itself and says why."""
    code, said = process.wait(ENDS_WITHIN_S), said_in(log)
    assert (name, code) == (name, 1), said
    assert "thread_given_up" in said, (name, said)
    assert f"{role}_failed" in said, (name, said)
    assert f"{role}_stopped" not in said, (name, said)


@pytest.fixture
def sabotaged(tmp_path: Path) -> Iterator[Sabotaged]:
    sabotaged = Sabotaged(tmp_path)
    yield sabotaged
    sabotaged.close()


def failures(url: str) -> dict[str, float]:
    """Return the failures of each thread as Prometheus is told; {} while nobody answers."""
    try:
        text = httpx2.get(f"{url}/metrics", timeout=5, trust_env=False).text
    except httpx2.TransportError:
        return {}
    return {
        sample.labels["thread"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "feedmill_thread_failures_total"
    }


def test_loops_that_fail_once_go_on_and_are_counted(
    deploy: Deploy, publisher: Publisher, sabotaged: Sabotaged
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    deployed = deploy(WORKER_LOCK_MS=LOCK_MS, WORKER_CONCURRENCY="2")
    port = find_free_port()
    sabotaged.start(deployed, "server", *SERVER_LOOPS, how="once")
    sabotaged.start(deployed, "worker", *WORKER_LOOPS, how="once", METRICS_PORT=str(port))
    wait_until(deployed.is_ready, "the server is ready", within_s=60)
    ended = deployed.wait_until_closed(deployed.start_import(url=url, source="quay"))
    assert ended["counts"]["new"] == ITEMS

    at_server, at_worker = f"http://127.0.0.1:{deployed.port}", f"http://127.0.0.1:{port}"
    names = {"consumer", "heartbeat", "queue-upkeep", "signaller", "flush-0", "flush-1"}

    def all_failed_once() -> bool:
        server, worker = failures(at_server), failures(at_worker)
        return server == dict.fromkeys(SERVER_LOOPS, 1) and worker == dict.fromkeys(names, 1)

    wait_until(all_failed_once, "each loop has failed once and goes on", within_s=90)
    assert sabotaged.said().count("Sabotage: once") >= len(names) + len(SERVER_LOOPS)
    assert "Traceback" in sabotaged.said()


def test_worker_whose_loop_always_fails_hands_over_and_exits_with_1(
    deploy: Deploy, publisher: Publisher, sabotaged: Sabotaged
) -> None:
    deployed = deploy(WORKER_LOCK_MS=LOCK_MS)
    deployed.start_server()
    import_ids = []
    for name in WORKER_LOOPS:
        if name == NEVER_GIVEN_UP:
            continue
        url = publisher.serve(f"/{name}.xml", make_feed(ITEMS))
        import_ids.append(deployed.start_import(url=url, source=name))
        worker = sabotaged.start(deployed, "worker", name, how="always")
        check_given_up(worker, sabotaged.last_log, "worker", name)
        assert deployed.waiting_and_active()[JobState.ACTIVE] == 0, name
    deployed.start_worker()
    for import_id in import_ids:
        assert deployed.wait_until_closed(import_id)["counts"]["new"] == ITEMS


def test_worker_that_can_leave_no_signs_works_on(
    deploy: Deploy, publisher: Publisher, sabotaged: Sabotaged
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    deployed, port = deploy(), find_free_port()
    deployed.start_server()
    worker = sabotaged.start(
        deployed, "worker", NEVER_GIVEN_UP, how="always", METRICS_PORT=str(port)
    )
    ended = deployed.wait_until_closed(deployed.start_import(url=url, source="quay"))
    assert ended["counts"]["new"] == ITEMS
    wait_until(
        lambda: failures(f"http://127.0.0.1:{port}").get(NEVER_GIVEN_UP, 0) > 15, "it goes on"
    )
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(20) == 0


def test_server_whose_loop_always_fails_exits_with_1(
    deploy: Deploy, publisher: Publisher, sabotaged: Sabotaged
) -> None:
    """All servers at once, each with another loop that fails."""
    deployed = deploy(WORKER_LOCK_MS=LOCK_MS)
    started = []
    for name in SERVER_LOOPS:
        port = str(find_free_port())
        server = sabotaged.start(deployed, "server", name, how="always", PORT=port)
        started.append((server, sabotaged.last_log, name))
    for server, log, name in started:
        check_given_up(server, log, "server", name)
    # What they leave is no more than another server takes up at once.
    url = publisher.serve("/feed.xml", make_feed(3))
    deployed.start_server()
    deployed.start_worker()
    ended = deployed.wait_until_closed(deployed.start_import(url=url, source="quay"))
    assert ended["counts"]["new"] == 3
