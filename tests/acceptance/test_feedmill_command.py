"""The ``feedmill`` command as people run it: real processes, embedded stores."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.running import take_lock
from tests.processes import inherited_environment, wait_until
from tests.publisher import Publisher

ROOT = Path(__file__).parents[2]
FEEDMILL = str(Path(sysconfig.get_path("scripts")) / "feedmill")
FEED = """<?xml version="1.0"?><rss version="2.0"><channel><title>Board</title>
<item><guid>1</guid><title>{first}</title><link>https://board.example/1</link></item>
<item><guid>2</guid><title>Cook</title><link>https://board.example/2</link></item>
</channel></rss>"""
PAGE = """<!DOCTYPE html><html><head>
<link rel="alternate" type="application/rss+xml" href="/feed.xml"></head></html>"""
ENDS_WITHIN_S = 40
README_FEEDS = ("jobs.xml", "news.atom")


class Home:
    """A folder to run the command in, with settings of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.said: list[str] = []
        with closing(socket.socket()) as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.environment = {
            **inherited_environment(),
            "PORT": str(port),
            "WORKER_RATE_LIMIT_MAX": "0",
        }
        self.url = f"http://127.0.0.1:{port}"
        self.started: list[subprocess.Popen[str]] = []

    def write_feed(self, source: str, first: str = "Engineer") -> str:
        """Write a feed of two items; answers its name."""
        (self.folder / f"{source}.xml").write_text(FEED.format(first=first))
        return f"{source}.xml"

    def run(self, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [FEEDMILL, *arguments],
            cwd=self.folder,
            env={**self.environment, **settings},
            capture_output=True,
            text=True,
            timeout=90,
        )

    def examine(self) -> tuple[int, str, list[str]]:
        """Ask the doctor; answers its exit code, its verdict, and which checks are not fine."""
        done = self.run("doctor", "--json")
        report = json.loads(done.stdout)
        found = [each["check"] for each in report["findings"] if each["level"] != "ok"]
        return done.returncode, report["status"], found

    def waiting(self) -> int:
        """Return how many jobs wait in the light item queue."""
        done = self.run("queue", "status", "job_import_queue", "--json")
        return int(json.loads(done.stdout)["counts"]["waiting"])

    def start_up(self, *feeds: str) -> "subprocess.Popen[str]":
        """Start ``feedmill up`` and wait until it runs; ``said`` is what it said up to that."""
        process = self.start("up", *feeds)
        assert process.stdout is not None
        self.said = []
        for line in process.stdout:
            self.said.append(line.rstrip("\n"))
            if line.startswith("Feedmill runs"):
                assert self.url in line
                return process
        raise AssertionError(f"it did not start: {self.said} {self.stderr()}")

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        with (self.folder / "stderr").open("a") as stderr:
            started = subprocess.Popen(
                [FEEDMILL, *arguments],
                cwd=self.folder,
                env=self.environment,
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
            )
        self.started.append(started)
        return started

    def end_all(self) -> None:
        """End what a failed test left running."""
        for process in self.started:
            if process.poll() is None:
                stop(process, signal.SIGTERM)

    def stderr(self) -> str:
        return (self.folder / "stderr").read_text()

    def is_at_rest(self) -> bool:
        """Wait until no store uses the data any more; then nothing else may live either."""
        lock = take_lock(self.data / "stores.lock", wait_s=ENDS_WITHIN_S)
        if lock is None:
            return False
        os.close(lock)
        return self.processes() == []

    def processes(self) -> list[str]:
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                if (process / "cwd").resolve(strict=True).is_relative_to(self.folder):
                    found.append((process / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found


@pytest.fixture(scope="module")
def home_of_all(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """One for all tests that start and stop a service: only the first of them finds no data.

    It holds folders named as our packages are; they must not get in the way.
    """
    home = Home(tmp_path_factory.mktemp("home"))
    for name in ("server", "worker", "shared"):
        (home.folder / name).mkdir()
        (home.folder / name / "__init__.py").write_text("raise SystemExit('wrong one')")
    return home


@pytest.fixture
def home(home_of_all: Home) -> Iterator[Home]:
    """Where nothing runs, neither before nor behind a test."""
    yield home_of_all
    home_of_all.end_all()
    assert home_of_all.is_at_rest()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Where ``feedmill up`` runs, with the feeds of the README, until Ctrl-C.

    Each test imports feeds of its own.
    """
    home = Home(tmp_path_factory.mktemp("running"))
    home.environment |= {"JOB_MAX_BYTES": "4096", "FETCH_ALLOW_PRIVATE": "true"}
    try:
        process = home.start_up(*(str(ROOT / "tests/feeds" / name) for name in README_FEEDS))
        yield home
        assert stop(process, signal.SIGINT) == 0
        assert not (home.data / "feedmill.json").exists()
        assert "Traceback" not in home.stderr()
    finally:
        home.end_all()
    assert home.is_at_rest()


@contextmanager
def paused(home: Home) -> Iterator[list[str]]:
    """Pause the item queue for a while; yields what is said when it is resumed, after that."""
    said: list[str] = []
    assert home.run("queue", "pause").returncode == 0
    try:
        yield said
    finally:
        said.append(home.run("queue", "resume").stdout)


def stop(process: "subprocess.Popen[str]", number: int) -> int:
    process.send_signal(number)
    process.communicate(timeout=ENDS_WITHIN_S)
    return process.returncode


def row_of(source: str, summary: str) -> dict[str, str]:
    header = next(line for line in summary.splitlines() if line.startswith("source "))
    row = next(line for line in summary.splitlines() if line.startswith(f"{source} "))
    return dict(zip(re.split(r" {2,}", header), re.split(r" {2,}", row), strict=True))


def test_import_without_a_service_up_and_kill_go_on_with_the_same_data(home: Home) -> None:
    first = home.run("import", home.write_feed("board"))
    assert first.returncode == 0, first.stderr
    assert row_of("board", first.stdout)["new"] == "2"
    assert home.is_at_rest()

    process = home.start_up(home.write_feed("board", "Senior engineer"))
    row = row_of("board", "\n".join(home.said))
    assert (row["new"], row["updated"], row["unchanged"]) == ("0", "1", "1")
    assert home.examine() == (0, "ok", [])
    stop(process, signal.SIGKILL)
    # The file that names it is stale now; nobody may be misled by it.
    again = home.run("import", "board.xml", "--force")
    assert again.returncode == 0, again.stderr
    assert row_of("board", again.stdout)["unchanged"] == "2"
    assert home.is_at_rest()
    assert home.examine() == (0, "warning", ["reachable", "reachable", "answers"])
    assert "Traceback" not in home.stderr()


@pytest.mark.long
def test_sigterm_ends_up_as_ctrl_c_does(home: Home) -> None:
    process = home.start_up()
    assert stop(process, signal.SIGTERM) == 0
    assert not (home.data / "feedmill.json").exists()


def test_up_imports_first_and_first_query_of_the_readme_prints_what_it_shows(
    running: Home,
) -> None:
    row = row_of("jobs", "\n".join(running.said))
    assert (row["state"], row["fetched"], row["new"]) == ("completed", "3", "3")
    readme = (ROOT / "README.md").read_text("utf-8")
    [script] = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    shown = readme.partition(script)[2].split("```console\n")[1].partition("```")[0]
    command = [sys.executable, "-c", script]
    done = subprocess.run(command, cwd=running.folder, capture_output=True, text=True, check=True)
    assert done.stdout == shown


def test_import_of_what_is_no_feed_ends_with_1(running: Home) -> None:
    (running.folder / "page.xml").write_text("<html><body>Not found</body></html>")
    done = running.run("import", "page.xml")
    assert done.returncode == 1
    assert row_of("page", done.stdout)["state"] == "failed"


def test_feeds_are_found_added_explained_and_carried_over_from_a_terminal(
    running: Home, publisher: Publisher
) -> None:
    feed = publisher.serve("/feed.xml", FEED.format(first="Engineer"))
    page = publisher.serve("/", PAGE, content_type="text/html")
    refused = running.run("import", page, "--json")
    [failed] = json.loads(refused.stdout)["imports"]
    assert (refused.returncode, failed["error_kind"], failed["counts"]["fetched"]) == (1, "html", 0)
    assert failed["error"].endswith(f"a web page instead of a feed; it links to: {feed}")

    added = running.run("feeds", "add", page, "--discover", "--source", "found", "--import")
    assert added.returncode == 0, added.stderr
    assert added.stdout.splitlines()[0] == f"found: added: {feed}"
    assert row_of("found", added.stdout)["new"] == "2"
    assert running.run("feeds", "add", feed, "--source", "found").returncode == 1
    listed = feeds_with_urls(running)
    assert "found" in listed
    told = running.run("feeds", "why", "found").stdout
    assert "Last import: " in told
    assert "Failures in a row: 0" in told

    assert running.run("feeds", "export-opml", "feeds.opml").returncode == 0
    removed = running.run("feeds", "remove", "--yes", *listed)
    assert removed.returncode == 0, removed.stderr
    assert feeds_with_urls(running) == {}
    carried = running.run("feeds", "import-opml", "feeds.opml")
    assert carried.stdout.startswith(f"{len(listed)} added, 0 skipped"), carried.stderr
    assert feeds_with_urls(running) == listed


def feeds_with_urls(home: Home) -> dict[str, int]:
    """Return the interval of each feed that is no file, by its source."""
    listed = json.loads(home.run("feeds", "list", "--json").stdout)
    return {each["source"]: each["interval_s"] for each in listed if each["url"]}


def test_service_is_looked_into_and_examined_from_a_terminal(running: Home) -> None:
    assert running.run("import", running.write_feed("large", "x" * 5000)).returncode == 1
    [imported] = json.loads(running.run("imports", "--source", "large", "--json").stdout)
    shown = running.run("imports", "show", imported["id"], "--follow")
    assert shown.returncode == 1
    assert "Dead items: feedmill dlq list --source large" in shown.stdout
    [cause] = json.loads(running.run("dlq", "list", "--by-cause", "--json").stdout)
    assert (cause["count"], cause["example"]["id"]) == (1, "large#1")
    assert running.run("dlq", "show", "large#1").stdout.startswith("large#1: dead\n")
    status = json.loads(running.run("status", "--json").stdout)
    assert (status["status"], status["unread"]) == ("warning", {})
    assert "1 dead letter" in [each["text"] for each in status["findings"]]
    assert imported["id"] in [each["id"] for each in status["imports"]["latest"]]
    assert status["stores"]["MongoDB"].startswith("mongodb://127.0.0.1:")

    replayed = running.run("dlq", "replay", "--all", "--wait", "--json")
    report = json.loads(replayed.stdout)
    assert (replayed.returncode, report["replayed"]) == (1, 0)
    assert [each["reason"] for each in report["not_replayed"]] == ["too_large"]
    assert running.run("dlq", "remove", "large#1").stdout == "large#1: removed\n"
    assert json.loads(running.run("dlq", "list", "--json").stdout) == []


def test_ctrl_c_ends_an_import_and_what_follows_it_without_a_trace(running: Home) -> None:
    with paused(running):
        assert running.examine() == (0, "warning", ["FETCH_ALLOW_PRIVATE", "pause"])
        held = running.start("import", running.write_feed("held"))
        wait_until(lambda: running.waiting() == 2, "the import is held up by the pause")
        wait_until(lambda: running.stderr().count("held: importing") == 1, "it says so")
        assert stop(held, signal.SIGINT) == 130
        [imported] = json.loads(running.run("imports", "--source", "held", "--json").stdout)
        following = running.start("imports", "show", imported["id"], "--follow")
        wait_until(lambda: running.stderr().count("held: importing") == 2, "it is followed")
        assert stop(following, signal.SIGINT) == 130
    assert running.run("imports", "show", imported["id"], "--follow").returncode == 0


def test_waiting_jobs_of_a_paused_queue_are_cleaned(running: Home) -> None:
    with paused(running) as resumed:
        held = running.start("import", running.write_feed("cleaned"))
        wait_until(lambda: running.waiting() == 2, "the import is held up by the pause")
        cleaned = running.run("queue", "clean", "job_import_queue", "--state", "waiting")
        assert cleaned.stdout == "job_import_queue: 2 removed\n"
        stop(held, signal.SIGINT)
    assert resumed == ["job_import_queue: nothing waits\n"]


def test_import_uses_the_running_service_and_second_up_is_refused(running: Home) -> None:
    [process] = running.started[:1]
    named = json.loads((running.data / "feedmill.json").read_text())
    assert (named["pid"], named["url"]) == (process.pid, running.url)
    mongodb = f"mongodb://127.0.0.1:{urlsplit(named['mongodb_url']).port}/feedmill"
    assert running.said[-2].startswith(f"MongoDB: {mongodb} - ")
    done = running.run("import", running.write_feed("twice"), PORT="1")
    assert done.returncode == 0, done.stderr
    assert "starting one" not in done.stderr
    again = running.run("import", "twice.xml", "--json")
    [imported] = json.loads(again.stdout)["imports"]
    assert (again.returncode, imported["not_modified"], imported["trigger"]) == (0, True, "cli")
    second = running.run("up", PORT="1")
    assert second.returncode == 1
    [line] = second.stderr.splitlines()
    assert f"already runs on DATA_DIR={running.data} at {running.url}" in line


@pytest.mark.parametrize("role", [pytest.param("server", marks=pytest.mark.long), "worker"])
def test_role_that_ends_by_itself_ends_the_whole_with_its_code(home: Home, role: str) -> None:
    process = home.start_up()
    [pid] = [
        int(each.name)
        for each in Path("/proc").glob("[0-9]*")
        if is_role(each, role) and (each / "cwd").resolve() == home.folder
    ]
    os.kill(pid, signal.SIGKILL)
    process.communicate(timeout=ENDS_WITHIN_S)
    assert process.returncode == 128 + signal.SIGKILL
    assert f"feedmill: the {role} ended unexpectedly with code 137" in home.stderr()


def is_role(process: Path, role: str) -> bool:
    try:
        words = (process / "cmdline").read_text().split("\0")
    except OSError:
        return False
    return words[1:3] == ["-m", role]


def test_taken_port_is_reported_in_one_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = Home(tmp_path).run("up", PORT=port)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert f"PORT={port} cannot be used: Address already in use" in line


@pytest.mark.parametrize(
    ("arguments", "settings", "said"),
    [
        (["up"], {"WORKER_LOCK_MS": "900"}, "WORKER_LOCK_MS=900: must be a whole number from 1000"),
        (["server"], {}, "REDIS_URL is not set"),
        (["worker"], {"REDIS_HOST": "r"}, "MONGODB_URL is not set"),
        (["import", "nofile"], {}, "nofile is neither a file nor a URL"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(
    tmp_path: Path, arguments: list[str], settings: dict[str, str], said: str
) -> None:
    done = Home(tmp_path).run(*arguments, **settings)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith(f"feedmill: {said}")
    assert done.stdout == ""
