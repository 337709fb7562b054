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
from contextlib import closing
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


class Home:
    """A folder to run the command in, with settings of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.feed = folder / "board.xml"
        self.write_feed("Engineer")
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

    def write_feed(self, first: str) -> None:
        self.feed.write_text(FEED.format(first=first))

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
        return self.start("up", *feeds)

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


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    home = Home(tmp_path)
    yield home
    home.end_all()
    assert home.is_at_rest()


def wait_until_running(process: "subprocess.Popen[str]", home: Home) -> list[str]:
    """Read what ``feedmill up`` says up to the line that it runs."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if line.startswith("Feedmill runs"):
            assert home.url in line
            return lines
    raise AssertionError(f"it did not start: {lines} {home.stderr()}")


def stop(process: "subprocess.Popen[str]", number: int) -> int:
    process.send_signal(number)
    process.communicate(timeout=ENDS_WITHIN_S)
    return process.returncode


def row_of(source: str, summary: str) -> dict[str, str]:
    header = next(line for line in summary.splitlines() if line.startswith("source "))
    row = next(line for line in summary.splitlines() if line.startswith(f"{source} "))
    return dict(zip(re.split(r" {2,}", header), re.split(r" {2,}", row), strict=True))


def test_up_imports_first_and_goes_on_with_the_same_data(home: Home) -> None:
    process = home.start_up("board.xml")
    summary = "\n".join(wait_until_running(process, home))
    row = row_of("board", summary)
    assert (row["state"], row["fetched"], row["new"]) == ("completed", "2", "2")
    assert stop(process, signal.SIGINT) == 0
    assert not (home.data / "feedmill.json").exists()

    home.write_feed("Senior engineer")
    process = home.start_up("board.xml")
    row = row_of("board", "\n".join(wait_until_running(process, home)))
    assert (row["new"], row["updated"], row["unchanged"]) == ("0", "1", "1")
    assert stop(process, signal.SIGTERM) == 0
    assert "Traceback" not in home.stderr()


def test_first_query_of_the_readme_prints_what_it_shows(home: Home) -> None:
    readme = (ROOT / "README.md").read_text("utf-8")
    [script] = re.findall(r"^```python\n(.*?)^```", readme, re.DOTALL | re.MULTILINE)
    shown = readme.partition(script)[2].split("```console\n")[1].partition("```")[0]
    feeds = (str(ROOT / "tests/feeds" / name) for name in ("jobs.xml", "news.atom"))
    process = home.start_up(*feeds)
    wait_until_running(process, home)
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=home.folder, capture_output=True, text=True, check=True
    )
    assert done.stdout == shown
    assert stop(process, signal.SIGTERM) == 0


def test_import_without_a_service_starts_one_for_its_time(home: Home) -> None:
    first = home.run("import", "board.xml")
    assert first.returncode == 0, first.stderr
    assert row_of("board", first.stdout)["new"] == "2"
    assert home.is_at_rest()
    again = home.run("import", "board.xml", "--json")
    [done] = json.loads(again.stdout)["imports"]
    assert (again.returncode, done["not_modified"], done["trigger"]) == (0, True, "cli")


def test_import_of_what_is_no_feed_ends_with_1(home: Home) -> None:
    home.feed.write_text("<html><body>Not found</body></html>")
    done = home.run("import", "board.xml")
    assert done.returncode == 1
    assert row_of("board", done.stdout)["state"] == "failed"


def test_feeds_are_found_added_explained_and_carried_over_from_a_terminal(
    home: Home, publisher: Publisher
) -> None:
    feed = publisher.serve("/feed.xml", FEED.format(first="Engineer"))
    page = publisher.serve("/", PAGE, content_type="text/html")
    home.environment |= {"FETCH_ALLOW_PRIVATE": "true"}
    process = home.start_up()
    wait_until_running(process, home)
    refused = home.run("import", page, "--json")
    [failed] = json.loads(refused.stdout)["imports"]
    assert (refused.returncode, failed["error_kind"], failed["counts"]["fetched"]) == (1, "html", 0)
    assert failed["error"].endswith(f"a web page instead of a feed; it links to: {feed}")

    added = home.run("feeds", "add", page, "--discover", "--source", "board", "--import")
    assert added.returncode == 0, added.stderr
    assert added.stdout.splitlines()[0] == f"board: added: {feed}"
    assert row_of("board", added.stdout)["new"] == "2"
    assert home.run("feeds", "add", feed, "--source", "board").returncode == 1
    listed = json.loads(home.run("feeds", "list", "--json").stdout)
    assert listed[0]["source"] == "board"
    told = home.run("feeds", "why", "board").stdout
    assert "Last import: " in told
    assert "Failures in a row: 0" in told

    assert home.run("feeds", "export-opml", "feeds.opml").returncode == 0
    removed = home.run("feeds", "remove", "--yes", *(each["source"] for each in listed))
    assert removed.returncode == 0, removed.stderr
    carried = home.run("feeds", "import-opml", "feeds.opml")
    assert carried.stdout.startswith(f"{len(listed)} added, 0 skipped"), carried.stderr
    again = json.loads(home.run("feeds", "list", "--json").stdout)
    assert {each["source"]: each["interval_s"] for each in again} == {
        each["source"]: each["interval_s"] for each in listed
    }
    assert stop(process, signal.SIGTERM) == 0
    assert "Traceback" not in home.stderr()


def test_service_is_looked_into_and_examined_from_a_terminal(home: Home) -> None:
    home.environment |= {"JOB_MAX_BYTES": "1024"}
    home.write_feed("x" * 2000)
    process = home.start_up("board.xml")
    wait_until_running(process, home)
    [imported] = json.loads(home.run("imports", "--json").stdout)
    shown = home.run("imports", "show", imported["id"], "--follow")
    assert shown.returncode == 1
    assert "Dead items: feedmill dlq list --source board" in shown.stdout
    [cause] = json.loads(home.run("dlq", "list", "--by-cause", "--json").stdout)
    assert (cause["count"], cause["example"]["id"]) == (1, "board#1")
    assert home.run("dlq", "show", "board#1").stdout.startswith("board#1: dead\n")
    assert home.examine() == (0, "ok", [])
    status = json.loads(home.run("status", "--json").stdout)
    assert (status["status"], status["unread"]) == ("warning", {})
    assert [each["text"] for each in status["findings"]] == ["1 dead letter"]
    assert (status["feeds"]["total"], len(status["imports"]["latest"])) == (1, 1)
    assert status["stores"]["MongoDB"].startswith("mongodb://127.0.0.1:")

    replayed = home.run("dlq", "replay", "--all", "--wait", "--json")
    report = json.loads(replayed.stdout)
    assert (replayed.returncode, report["replayed"]) == (1, 0)
    assert [each["reason"] for each in report["not_replayed"]] == ["too_large"]
    assert home.run("dlq", "remove", "board#1").stdout == "board#1: removed\n"
    assert json.loads(home.run("dlq", "list", "--json").stdout) == []

    home.write_feed("Cook")
    assert home.run("queue", "pause").returncode == 0
    assert home.examine() == (0, "warning", ["pause"])
    held = home.start("import", "board.xml")
    wait_until(lambda: home.waiting() == 1, "the import is held up by the pause")
    assert stop(held, signal.SIGINT) == 130
    cleaned = home.run("queue", "clean", "job_import_queue", "--state", "waiting")
    assert cleaned.stdout == "job_import_queue: 1 removed\n"
    assert home.run("queue", "resume").stdout == "job_import_queue: nothing waits\n"
    assert stop(process, signal.SIGTERM) == 0
    assert home.examine() == (0, "warning", ["reachable", "reachable", "answers"])
    assert "Traceback" not in home.stderr()


def test_ctrl_c_ends_what_follows_an_import_without_a_trace(home: Home) -> None:
    process = home.start_up()
    wait_until_running(process, home)
    home.run("queue", "pause")
    held = home.start("import", "board.xml")
    wait_until(lambda: home.waiting() == 2, "the import is held up by the pause")
    stop(held, signal.SIGINT)
    [imported] = json.loads(home.run("imports", "--json").stdout)
    following = home.start("imports", "show", imported["id"], "--follow")
    # Twice: the import that was interrupted said so, too.
    wait_until(lambda: home.stderr().count("board: importing") == 2, "the import is followed")
    assert stop(following, signal.SIGINT) == 130
    home.run("queue", "resume")
    assert home.run("imports", "show", imported["id"], "--follow").returncode == 0
    assert stop(process, signal.SIGTERM) == 0
    assert "Traceback" not in home.stderr()


def test_import_uses_the_running_service_and_second_up_is_refused(home: Home) -> None:
    process = home.start_up()
    said = wait_until_running(process, home)
    running = json.loads((home.data / "feedmill.json").read_text())
    assert (running["pid"], running["url"]) == (process.pid, home.url)
    mongodb = f"mongodb://127.0.0.1:{urlsplit(running['mongodb_url']).port}/feedmill"
    assert said[-2].startswith(f"MongoDB: {mongodb} - ")
    done = home.run("import", "board.xml", PORT="1")
    assert done.returncode == 0, done.stderr
    assert "starting one" not in done.stderr
    second = home.run("up", PORT="1")
    assert second.returncode == 1
    [line] = second.stderr.splitlines()
    assert f"already runs on DATA_DIR={home.data} at {home.url}" in line
    assert stop(process, signal.SIGTERM) == 0


def test_kill_of_up_leaves_no_process_and_loses_nothing(home: Home) -> None:
    process = home.start_up("board.xml")
    wait_until_running(process, home)
    stop(process, signal.SIGKILL)
    # The file that names it is stale now; nobody may be misled by it.
    done = home.run("import", "board.xml", "--force")
    assert done.returncode == 0, done.stderr
    assert row_of("board", done.stdout)["unchanged"] == "2"


@pytest.mark.parametrize("role", [pytest.param("server", marks=pytest.mark.long), "worker"])
def test_role_that_ends_by_itself_ends_the_whole_with_its_code(home: Home, role: str) -> None:
    process = home.start_up()
    wait_until_running(process, home)
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


def test_taken_port_is_reported_in_one_line(home: Home) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        done = home.run("up", PORT=port)
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


def test_folder_named_server_does_not_get_in_the_way(home: Home) -> None:
    for name in ("server", "worker", "shared"):
        (home.folder / name).mkdir()
        (home.folder / name / "__init__.py").write_text("raise SystemExit('wrong one')")
    assert home.run("import", "board.xml").returncode == 0
