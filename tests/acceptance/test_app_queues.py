"""A program's own queues, worked by real workers: ``feedmill worker --app``."""

import json
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from feedmill import Queue, configure
from shared.clock import SystemClock
from shared.errors import AppError, FeedmillError, QueueError, SettingsError
from shared.queue import RedisConnection, WorkerSigns
from shared.queue.registry import DEAD_LETTERS, QueueRecord, QueueRegistry
from shared.settings import load_settings
from tests.clusters import ClusterDeployment
from tests.processes import Deploy, inherited_environment, wait_until
from tests.servers import ending_with_us, find_free_port
from worker.apps import AppProcess, open_app

FEEDMILL = str(Path(sysconfig.get_path("scripts")) / "feedmill")
STOPS_WITHIN_S = 10.0
# Also a folder called "worker" lies beside it: ours is run, not that one.
APP = """
import threading
from pathlib import Path

from feedmill import Job, queue


@queue("emails", dead_letter="emails_dead")
def send(job: Job[str]) -> str:
    return job.data.upper()


@queue("videos", weight="heavy")
def render(job: Job[float]) -> str:
    Path("rendering").touch()
    threading.Event().wait(job.data)
    return "rendered"
"""
NOT_WORKED = {
    "broken": "1 / 0",
    "unparsable": "def",
    "empty": "",
    "ours": "from feedmill import Job, queue\n@queue('job_import_queue')\ndef f(job: Job): ...",
    "our_letters": "from feedmill import Job, queue\n"
    "@queue('mine', dead_letter='job_import_queue_dlq')\ndef f(job: Job): ...",
    "twice": "from feedmill import Job, queue\n@queue('emails')\ndef other(job: Job): ...",
    "wrong_queue": "from feedmill import queue\n@queue('emails', weight='huge')\ndef f(): ...",
}
START = Callable[..., "subprocess.Popen[str]"]
OPEN = Callable[..., AppProcess]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds an app, and apps that cannot be worked."""
    for name, text in {"mailing": APP, **NOT_WORKED}.items():
        (tmp_path / f"{name}.py").write_text(text)
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "__init__.py").write_text("raise RuntimeError('the wrong one')")
    return tmp_path


@pytest.fixture
def opened(folder: Path, valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[OPEN]:
    """Open an app as ``feedmill worker`` does in that folder, but in this process."""
    monkeypatch.chdir(folder)
    monkeypatch.setattr("sys.path", sys.path.copy())
    monkeypatch.setattr("feedmill.reporting._reports.sink", None)
    known = set(sys.modules)

    def open_with(app: str, **settings: str) -> AppProcess:
        for name, value in {"REDIS_URL": valkey_url, "FEEDMILL_APP": app, **settings}.items():
            monkeypatch.setenv(name, value)
        return open_app(load_settings(), SystemClock())

    yield open_with
    configure()
    for name in {"mailing", *NOT_WORKED} & (sys.modules.keys() - known):
        del sys.modules[name]


@pytest.fixture
def start(folder: Path, valkey_url: str, redis_client: RedisConnection) -> Iterator[START]:
    """Start ``feedmill worker`` with arguments and settings in that folder."""
    started: list[subprocess.Popen[str]] = []

    def run(*arguments: str, **settings: str) -> "subprocess.Popen[str]":
        environment = {**inherited_environment(), "REDIS_URL": valkey_url, **settings}
        process = subprocess.Popen(
            [*ending_with_us(), FEEDMILL, "worker", *arguments],
            cwd=folder,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait until it has ended; return its exit code and what it said."""
    _, said = process.communicate(timeout=90)
    return process.returncode, said


def test_an_app_is_worked_and_shown_in_numbers_without_feeds_and_without_a_mongodb(
    start: START, redis_client: RedisConnection
) -> None:
    emails, videos = Queue("emails", redis_client), Queue("videos", redis_client)
    email, video = emails.add("send", "ann"), videos.add("render", 0.0)
    wrong = videos.add("render", "soon")
    videos.add("render", 0.0, delay=3_600_000)
    port = find_free_port()
    worker = start("--app", "mailing", METRICS_PORT=str(port))
    wait_until(email.is_completed, "the email is sent")
    wait_until(video.is_completed, "the video is rendered")
    assert (email.refresh().return_value, video.refresh().return_value) == ("ANN", "rendered")
    wait_until(wrong.is_failed, "what is no number has failed")
    signs = WorkerSigns(redis_client)
    wait_until(lambda: len(signs.read()) == 2, "both queues have a worker that lives")
    by_id = {sign.worker_id: sign.queues for sign in signs.read()}
    name = email.refresh().processed_by
    assert by_id == {f"{name}:emails": ("emails",), f"{name}:videos": ("videos",)}
    registry = QueueRegistry(redis_client, prefix="bull", clock=SystemClock())
    registered = [
        QueueRecord("emails", "light"),
        QueueRecord("emails_dead", DEAD_LETTERS),
        QueueRecord("videos", "heavy"),
    ]
    wait_until(lambda: registry.read() == registered, "the queues are registered")
    expected = {
        'feedmill_app_running_jobs{queue="emails"} 0.0',
        'feedmill_app_queue_size{queue="videos",state="delayed"} 1.0',
        'feedmill_app_jobs_total{queue="emails",status="completed"} 1.0',
    }

    def missing() -> set[str]:
        numbers = httpx2.get(f"http://127.0.0.1:{port}/metrics").text
        return expected - set(numbers.splitlines())

    # A place is free a moment after its job is completed.
    wait_until(lambda: not missing(), "the numbers are as expected")
    worker.terminate()
    code, said = end(worker)
    assert (code, "worker_stopped" in said) == (0, True), said
    # What failed for good is in the log, and nothing else of the course of jobs.
    [failed] = [line for line in said.splitlines() if "job_" in line]
    assert f"job={wrong.id}" in failed
    assert "data is no float" in failed
    assert signs.read() == []


def test_the_queues_of_an_app_are_listed_where_no_service_runs(
    start: START, redis_client: RedisConnection, valkey_url: str, tmp_path: Path
) -> None:
    worker = start("--app", "mailing")
    registry = QueueRegistry(redis_client, prefix="bull", clock=SystemClock())
    wait_until(lambda: len(registry.read()) == 3, "the queues are registered")
    worker.terminate()
    assert end(worker)[0] == 0
    emails, dead = Queue("emails", redis_client), Queue("emails_dead", redis_client)
    emails.add("send", "ann")
    dead.add("dead", {})
    Queue("videos", redis_client).pause()

    def status(*arguments: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [FEEDMILL, "queue", "status", *arguments],
            cwd=tmp_path,
            env={
                **inherited_environment(),
                "REDIS_URL": valkey_url,
                "PORT": str(find_free_port()),
            },
            capture_output=True,
            text=True,
            timeout=60,
        )

    shown = {each["name"]: each for each in json.loads(status("--json").stdout)}
    assert {name: each["limited_by"] for name, each in shown.items()} == {
        "emails": "no_worker",
        "emails_dead": None,
        "videos": "paused",
    }
    assert shown["emails"]["counts"]["waiting"] == 1
    assert "feedmill worker --app MODULE" in status("emails").stdout
    unknown = status("nothing")
    assert (unknown.returncode, unknown.stdout) == (1, "")
    assert "no worker has registered a queue 'nothing'" in unknown.stderr


def test_an_app_is_worked_on_a_cluster(start: START, opened: OPEN, tmp_path: Path) -> None:
    with ClusterDeployment(tmp_path / "cluster") as cluster:
        with pytest.raises(QueueError, match=r"or QUEUE_PREFIX=\{bull\}"):
            opened("mailing", REDIS_URL=cluster.url)
        emails = Queue("emails", cluster.url, prefix="{bull}")
        email = emails.add("send", "ann")
        worker = start("--app", "mailing", REDIS_URL=cluster.url, QUEUE_PREFIX="{bull}")
        wait_until(email.is_completed, "the email is sent")
        emails.close()
        worker.terminate()
        assert end(worker)[0] == 0


def test_schedules_begin_with_the_worker_and_end_when_they_are_declared_no_more(
    start: START, redis_client: RedisConnection, tmp_path: Path
) -> None:
    text = "from feedmill import Job, queue\n@queue('ticks')\ndef tick(job: Job): ...\n"
    app, ticks = tmp_path / "ticking.py", Queue("ticks", redis_client)
    app.write_text(f"{text}tick.schedule('1h', id='hourly')")
    worker = start("--app", "ticking")
    wait_until(lambda: ticks.get_job_counts("completed")["completed"] == 1, "it has ticked")
    worker.terminate()
    assert end(worker)[0] == 0
    app.write_text(text)
    worker = start("--app", "ticking")
    wait_until(lambda: ticks.get_job_schedulers_count() == 0, "the schedule has ended")
    worker.terminate()
    assert end(worker)[0] == 0


def test_a_stop_hands_back_what_runs_too_long(
    start: START, redis_client: RedisConnection, tmp_path: Path
) -> None:
    email, videos = Queue("emails", redis_client).add("send", "ann"), Queue("videos", redis_client)
    video = videos.add("render", 3600.0)
    leaving = start(FEEDMILL_APP="mailing", WORKER_TYPE="heavy", APP_STOP_S="0.5")
    wait_until((tmp_path / "rendering").exists, "it is being rendered")
    leaving.terminate()
    stopping_s = time.monotonic()
    code, said = end(leaving)
    assert code == 0, said
    # So long it waits if nothing is said.
    assert time.monotonic() - stopping_s < 5
    assert email.get_state() == "waiting"
    assert videos.get_job_counts("waiting", "active") == {"waiting": 1, "active": 0}
    assert video.refresh().attempts_made == 0


def test_a_stop_waits_for_jobs_as_long_as_it_is_told(
    start: START, redis_client: RedisConnection, tmp_path: Path
) -> None:
    video = Queue("videos", redis_client).add("render", 2.0)
    leaving = start("--app", "mailing", APP_STOP_S="30")
    wait_until((tmp_path / "rendering").exists, "it is being rendered")
    leaving.terminate()
    assert end(leaving)[0] == 0
    assert video.is_completed()


@pytest.mark.parametrize(
    ("worker_type", "names"),
    [("light", ["emails"]), ("heavy", ["videos"]), ("all", ["emails", "videos"])],
)
def test_the_type_of_a_worker_selects_queues_by_their_weight(
    opened: OPEN, worker_type: str, names: list[str]
) -> None:
    assert opened("mailing", WORKER_TYPE=worker_type).queue_names == names


@pytest.mark.parametrize(
    ("app", "said"),
    [
        ("nowhere.jobs", "FEEDMILL_APP: nowhere.jobs: there is no module nowhere, neither"),
        (
            "mailing.py",
            "FEEDMILL_APP: mailing.py: there is no module mailing.py, neither installed nor in the",
        ),
        ("my-app", "FEEDMILL_APP=my-app: must be names of Python modules, as myapp.jobs"),
        ("broken", "FEEDMILL_APP: broken: ZeroDivisionError: division by zero ("),
        ("unparsable", "FEEDMILL_APP: unparsable: SyntaxError: "),
        ("empty", "FEEDMILL_APP: empty: declares no queue"),
        ("mailing,twice", "FEEDMILL_APP: twice: <queue 'emails' worked by other>, but there is"),
        ("ours", "FEEDMILL_APP: <queue 'job_import_queue' worked by f>: a queue of that name"),
        ("our_letters", "FEEDMILL_APP: <queue 'mine' worked by f>: a queue of that name"),
        ("wrong_queue", "FEEDMILL_APP: wrong_queue: InvalidJobOptions: weight='huge': accepted"),
    ],
)
def test_an_app_that_cannot_be_worked_is_named_in_one_line(
    opened: OPEN, app: str, said: str
) -> None:
    with pytest.raises(FeedmillError) as refused:
        opened(app)
    # What a worker says and ends with exit code 2 for.
    assert isinstance(refused.value, AppError | SettingsError)
    [line] = str(refused.value).splitlines()
    assert line.startswith(said)
    assert line.endswith("; a module is named without .py") == app.endswith(".py")


@pytest.mark.parametrize(("app", "said"), [("my-app", "must be names"), ("broken", "division by")])
def test_a_worker_ends_with_exit_code_2_when_its_app_cannot_be_worked(
    start: START, app: str, said: str
) -> None:
    code, lines = end(start("--app", app))
    assert (code, len(lines.splitlines())) == (2, 1), lines
    assert said in lines


def test_an_app_is_worked_beside_the_items(deploy: Deploy, redis_client: RedisConnection) -> None:
    deployed = deploy(FEEDMILL_APP="mailing")
    (deployed.folder / "mailing.py").write_text(APP)
    email = Queue("emails", redis_client).add("send", "ann")
    worker = deployed.start_worker()
    wait_until(email.is_completed, "the email is sent")
    signs = WorkerSigns(redis_client)
    wait_until(lambda: len(signs.read()) == 3, "items and both queues have a worker")
    code, took_s = worker.terminate()
    assert (code, took_s < STOPS_WITHIN_S) == (0, True)
    assert signs.read() == []
