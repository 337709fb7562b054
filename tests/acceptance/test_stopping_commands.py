"""Every command stops on a signal, and at once on a second one, however it was started."""

import signal
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from shared.stopping import SAME_REQUEST_S
from tests.processes import ignoring, inherited_environment, pause

FEEDMILL = str(Path(sysconfig.get_path("scripts")) / "feedmill")
ENDS_WITHIN_S = 20
FOLLOW = "imports show x --follow"
# They talk to the service, each in a way of its own.
COMMANDS = (FOLLOW, "import https://a.example/feed.xml", "feeds list", "queue status", "doctor")
BACKGROUND = tuple(ignoring("INT"))
# What works in the block says when it has begun.
STOPPABLE = """
import hashlib, sys, time
from shared.stopping import Stopped, stopping_on_signals
with stopping_on_signals():
"""
SWALLOWING = """
    for said in ("begun", "swallowed"):
        try:
            print(said, flush=True)
            time.sleep(60)
        except BaseException:
            pass
"""
CLEARING_AWAY = """
    try:
        print("begun", flush=True)
        time.sleep(60)
    except Stopped:
        time.sleep(0.3)
        print("cleared away")
"""
# Until the test has sent its signal, and closes the other end.
OUTLIVING = """
    print("begun", flush=True)
    sys.stdin.read()
"""
# Of the standard library's calls one that is long and heeds no signal.
DEAF = """
    for said in ("begun", "between the two"):
        try:
            print(said, flush=True)
            hashlib.pbkdf2_hmac("sha512", b"", b"", 1_000_000_000)
        except Stopped:
            pass
"""


@pytest.fixture
def started() -> Iterator[list["subprocess.Popen[str]"]]:
    """Processes to be ended with the test."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        if process.poll() is None:
            process.kill()
        process.communicate(timeout=ENDS_WITHIN_S)


@pytest.fixture
def silent_service() -> Iterator[socket.socket]:
    """A service that takes connections and never answers."""
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        listener.settimeout(ENDS_WITHIN_S)
        yield listener


def start(
    command: Sequence[str], folder: Path, started: list["subprocess.Popen[str]"], **settings: str
) -> "subprocess.Popen[str]":
    process = subprocess.Popen(
        command,
        cwd=folder,
        env={**inherited_environment(), **settings},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    started.append(process)
    return process


def end(process: "subprocess.Popen[str]") -> tuple[int, str, str]:
    """Wait for its end; answers its exit code and what it said since."""
    stdout, stderr = process.communicate(timeout=ENDS_WITHIN_S)
    return process.returncode, stdout, stderr


def start_python(
    work: str, folder: Path, started: list["subprocess.Popen[str]"], *before: str
) -> "subprocess.Popen[str]":
    """Run ``work`` in a block that stops on signals, and wait until it has begun."""
    command = [*before, sys.executable, "-c", STOPPABLE + work]
    process = start(command, folder, started, PYTHONPATH=str(Path(__file__).parents[2]))
    assert process.stdout is not None
    assert process.stdout.readline() == "begun\n"
    return process


@pytest.mark.parametrize(
    ("command", "before", "number"),
    [
        *((command, BACKGROUND, signal.SIGINT) for command in COMMANDS),
        (FOLLOW, (), signal.SIGINT),
        (FOLLOW, (), signal.SIGTERM),
        (FOLLOW, (), signal.SIGHUP),
    ],
)
def test_command_that_waits_for_the_service_stops_on_a_signal(
    silent_service: socket.socket,
    started: list["subprocess.Popen[str]"],
    tmp_path: Path,
    command: str,
    before: Sequence[str],
    number: signal.Signals,
) -> None:
    url = f"http://127.0.0.1:{silent_service.getsockname()[1]}"
    typed = [*before, FEEDMILL, *command.split()]
    process = start(typed, tmp_path, started, FEEDMILL_URL=url)
    with ExitStack() as stack:
        stack.enter_context(silent_service.accept()[0])
        process.send_signal(number)
        code, stdout, stderr = end(process)
    assert (code, stdout) == (128 + number, "")
    assert "Traceback" not in stderr


def test_command_stops_while_it_loads(
    started: list["subprocess.Popen[str]"], tmp_path: Path
) -> None:
    # What the command loads says when.
    (tmp_path / "typer.py").write_text("print('loading', flush=True)\nimport time\ntime.sleep(60)")
    script = "from server.entry import main; main()"
    command = [*BACKGROUND, sys.executable, "-c", script]
    path = f"{tmp_path}:{Path(__file__).parents[2]}"
    process = start(command, tmp_path, started, PYTHONPATH=path)
    assert process.stdout is not None
    assert process.stdout.readline() == "loading\n"
    process.send_signal(signal.SIGINT)
    assert end(process) == (130, "", "")


@pytest.mark.parametrize("before", [(), BACKGROUND], ids=["terminal", "background"])
def test_second_signal_ends_what_swallowed_the_first(
    started: list["subprocess.Popen[str]"], tmp_path: Path, before: Sequence[str]
) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM)
    processes = [start_python(SWALLOWING, tmp_path, started, *before) for _ in numbers]
    for process, number in zip(processes, numbers, strict=True):
        process.send_signal(number)
        assert process.stdout is not None
        assert process.stdout.readline() == "swallowed\n"
    pause(2 * SAME_REQUEST_S)
    for process, number in zip(processes, numbers, strict=True):
        process.send_signal(number)
        assert end(process) == (128 + number, "", "")


def test_second_signal_ends_a_call_that_takes_none(
    started: list["subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = start_python(DEAF, tmp_path, started)
    process.send_signal(signal.SIGINT)
    pause(2 * SAME_REQUEST_S)
    assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    assert end(process)[0] == 143


def test_signals_that_come_together_are_one_request(
    started: list["subprocess.Popen[str]"], tmp_path: Path
) -> None:
    # As timeout(1) sends them. What follows the first has its time.
    process = start_python(CLEARING_AWAY, tmp_path, started)
    process.send_signal(signal.SIGTERM)
    process.send_signal(signal.SIGTERM)
    assert end(process) == (0, "cleared away\n", "")


def test_what_is_to_outlive_its_terminal_does(
    started: list["subprocess.Popen[str]"], tmp_path: Path
) -> None:
    process = start_python(OUTLIVING, tmp_path, started, *ignoring("HUP"))
    process.send_signal(signal.SIGHUP)
    assert end(process) == (0, "", "")
