"""The command line as it is typed, in this process: how a command ended, and what it printed."""

import io
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from server import cli
from server.commands.following import follow
from tests.fakes import FakeClock
from tests.stub_service import StubService

# Where commands ask for the time: distances in what they print are those from noon.
_CLOCKS = (
    *("backfills", "dead_letters", "feed_editing", "feeds", "imports"),
    *("status", "windows"),
)


class Done(NamedTuple):
    """How a command ended. ``stderr`` is without the line that names the service."""

    code: int
    stdout: str
    stderr: str
    named_service: str = ""

    @property
    def json(self) -> Any:
        return json.loads(self.stdout)


Run = Callable[..., Done]


def make_run(
    service: StubService,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    folder: Path,
) -> Run:
    """Return a function that types a command at noon of the fake clock, in an empty folder."""
    monkeypatch.chdir(folder)
    monkeypatch.setenv("FEEDMILL_URL", service.url)
    ask_often(monkeypatch)
    for module in _CLOCKS:
        monkeypatch.setattr(f"server.commands.{module}.SystemClock", FakeClock)

    def feedmill(*arguments: str, stdin: bytes = b"", is_terminal: bool = False) -> Done:
        typed = io.TextIOWrapper(io.BytesIO(stdin))
        monkeypatch.setattr(typed, "isatty", lambda: is_terminal)
        monkeypatch.setattr(sys, "stdin", typed)
        monkeypatch.setattr(sys, "argv", ["feedmill", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        captured = capsys.readouterr()
        code = ended.value.code
        stderr, named = _split_service(captured.err)
        return Done(code if isinstance(code, int) else 0, captured.out, stderr, named)

    return feedmill


def ask_often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands that wait for the service ask it again soon."""
    monkeypatch.setitem(follow.__kwdefaults__, "poll_s", 0.01)
    monkeypatch.setattr("server.commands.backfills.POLL_S", 0.01)
    monkeypatch.setattr("server.commands.import_run._BUSY_PAUSE_S", 0.01)


def _split_service(stderr: str) -> tuple[str, str]:
    """Return what a command printed without the line that names its service, and that line."""
    lines = stderr.splitlines(keepends=True)
    named = [line for line in lines if line.startswith("Service: ")]
    return "".join(line for line in lines if line not in named), "".join(named)
