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
# A worker is of use without leaving signs.
NEVER_GIVEN_UP = "signaller"
# All of them: a test compares these with what the running roles tell. All are given up in the same
# way, so a part of them has to fail always in each run of the tests.
SOME_WORKER_LOOPS, OTHER_WORKER_LOOPS = ("flush", "heartbeat"), ("consumer", "queue-upkeep")
WORKER_LOOPS = (*SOME_WORKER_LOOPS, *OTHER_WORKER_LOOPS, NEVER_GIVEN_UP)
SOME_SERVER_LOOPS = ("auditor", "feed_fetch_queue-dispatch", "scheduler")
OTHER_SERVER_LOOPS = ("dispatcher", "feed_fetch_queue-heartbeat", "queue-upkeep")
SERVER_LOOPS = (*SOME_SERVER_LOOPS, *OTHER_SERVER_LOOPS)
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


@pytest.fixture(scope="module")
def shaken(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sabotaged]:
    """What started the server of all tests."""
    shaken = Sabotaged(tmp_path_factory.mktemp("shaken"))
    yield shaken
    shaken.close()


@pytest.fixture(scope="module")
def deployed(module_deploy: Deploy, shaken: Sabotaged) -> Deployment:
    """With a server whose loops have failed once, and that serves all tests afterwards."""
    deployed = module_deploy(WORKER_LOCK_MS=LOCK_MS, WORKER_CONCURRENCY="2")
    shaken.start(deployed, "server", *SERVER_LOOPS, how="once")
    wait_until(deployed.is_ready, "the server is ready", within_s=60)
    return deployed


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
    deployed: Deployment, publisher: Publisher, shaken: Sabotaged, sabotaged: Sabotaged
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    port = find_free_port()
    sabotaged.start(deployed, "worker", *WORKER_LOOPS, how="once", METRICS_PORT=str(port))
    ended = deployed.wait_until_closed(deployed.start_import(url=url, source="once"))
    assert ended["counts"]["new"] == ITEMS

    at_server, at_worker = f"http://127.0.0.1:{deployed.port}", f"http://127.0.0.1:{port}"
    names = {"consumer", "heartbeat", "queue-upkeep", "signaller", "flush-0", "flush-1"}

    def all_failed_once() -> bool:
        server, worker = failures(at_server), failures(at_worker)
        return server == dict.fromkeys(SERVER_LOOPS, 1) and worker == dict.fromkeys(names, 1)

    wait_until(all_failed_once, "each loop has failed once and goes on", within_s=90)
    for said, count in ((shaken.said(), len(SERVER_LOOPS)), (sabotaged.said(), len(names))):
        assert said.count("Sabotage: once") >= count
        assert "Traceback" in said


@pytest.mark.parametrize(
    "names",
    [SOME_WORKER_LOOPS, pytest.param(OTHER_WORKER_LOOPS, marks=pytest.mark.long)],
    ids=", ".join,
)
def test_worker_whose_loop_always_fails_hands_over_and_exits_with_1(
    deployed: Deployment, publisher: Publisher, sabotaged: Sabotaged, names: tuple[str, ...]
) -> None:
    import_ids = []
    for name in names:
        url = publisher.serve(f"/{name}.xml", make_feed(ITEMS))
        import_ids.append(deployed.start_import(url=url, source=name))
        worker = sabotaged.start(deployed, "worker", name, how="always")
        check_given_up(worker, sabotaged.last_log, "worker", name)
        assert deployed.waiting_and_active()[JobState.ACTIVE] == 0, name
    worker = deployed.start_worker()
    for import_id in import_ids:
        assert deployed.wait_until_closed(import_id)["counts"]["new"] == ITEMS
    worker.kill()


def test_worker_that_can_leave_no_signs_works_on(
    deployed: Deployment, publisher: Publisher, sabotaged: Sabotaged
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    port = find_free_port()
    worker = sabotaged.start(
        deployed, "worker", NEVER_GIVEN_UP, how="always", METRICS_PORT=str(port)
    )
    ended = deployed.wait_until_closed(deployed.start_import(url=url, source="signs"))
    assert ended["counts"]["new"] == ITEMS
    wait_until(
        lambda: failures(f"http://127.0.0.1:{port}").get(NEVER_GIVEN_UP, 0) > 15, "it goes on"
    )
    assert worker.poll() is None
    worker.terminate()
    assert worker.wait(20) == 0


@pytest.mark.parametrize(
    "names",
    [SOME_SERVER_LOOPS, pytest.param(OTHER_SERVER_LOOPS, marks=pytest.mark.long)],
    ids=", ".join,
)
def test_server_whose_loop_always_fails_exits_with_1(
    deployed: Deployment, publisher: Publisher, sabotaged: Sabotaged, names: tuple[str, ...]
) -> None:
    """All servers at once, each with another loop that fails."""
    started = []
    for name in names:
        port = str(find_free_port())
        server = sabotaged.start(deployed, "server", name, how="always", PORT=port)
        started.append((server, sabotaged.last_log, name))
    for server, log, name in started:
        check_given_up(server, log, "server", name)
    # What they leave is no more than another server takes up at once.
    url = publisher.serve("/feed.xml", make_feed(3))
    import_id = deployed.start_import(url=url, source=names[0])
    wait_until(lambda: deployed.see_import(import_id).get("state") == "importing", "it is fetched")
