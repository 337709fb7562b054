"""What all of ``feedmill``'s commands have in common."""

import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from server import cli, entry
from server.commands.options import complete_queues, complete_sources
from tests.stub_service import StubService
from tests.typed import Run

FEEDMILL = str(Path(sysconfig.get_path("scripts")) / "feedmill")
# They run until they are stopped, and log.
RUN_FOR_GOOD = {"up", "server", "worker"}


def paths(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield all commands by what is typed; a group that is one itself, too."""
    if path and (not hasattr(command, "commands") or command.invoke_without_command):
        yield path
    for name, inner in getattr(command, "commands", {}).items():
        yield from paths(inner, (*path, name))


COMMANDS = sorted(paths(typer.main.get_command(cli.app)))


def test_interface_names_no_command_that_is_not_there() -> None:
    assert {" ".join(path) for path in COMMANDS} >= {
        *RUN_FOR_GOOD,
        *("import", "imports", "imports show", "status"),
        *(f"feeds {name}" for name in ("list", "add", "remove", "why")),
        *(f"feeds {name}" for name in ("edit", "enable", "disable", "import-opml", "export-opml")),
        *("feeds backfill", "feeds rollback"),
        *(f"queue {name}" for name in ("status", "pause", "resume", "clean")),
        *(f"dlq {name}" for name in ("list", "show", "replay", "remove")),
    }


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_has_an_example_and_json_where_something_is_answered(
    feedmill: Run, path: tuple[str, ...]
) -> None:
    done = feedmill(*path, "--help")
    assert done.code == 0
    assert "Example: " in done.stdout
    assert "feedmill " + " ".join(path) in done.stdout
    assert ("--json" in done.stdout) is (path[0] not in RUN_FOR_GOOD)


def test_commands_that_only_ask_the_service_load_no_library_of_the_stores() -> None:
    modules = ("feeds", "imports", "queues", "dead_letters", "status")
    code = "import sys, server.entry, server.cli"
    code += "".join(f", server.commands.{module}" for module in modules)
    code += "\nprint(*{name.partition('.')[0] for name in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "httpx2" in loaded
    assert not loaded & {"pymongo", "redis", "structlog", "fastapi", "feedparser", "lxml"}


def test_error_that_nobody_foresaw_is_one_line(
    service: StubService, feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    service.answer("/queues", 200, {"unexpected": 1})
    monkeypatch.delenv("LOG_LEVEL", raising=False)
    done = feedmill("queue", "status")
    assert (done.code, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("feedmill: this is a bug: KeyError: 'items' (_read_queues, line ")
    monkeypatch.setenv("LOG_LEVEL", "DEBUG")
    with pytest.raises(KeyError):
        feedmill("queue", "status")


def test_ctrl_c_ends_with_130_and_prints_nothing(
    service: StubService, feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("server.commands.queues.print_queues", interrupt)
    service.answer("/queues", 200, {"items": [], "next_cursor": None})
    done = feedmill("queue", "status")
    assert (done.code, done.stdout, done.stderr) == (130, "", "")


def test_ctrl_c_while_it_loads_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "main", interrupt)
    with pytest.raises(SystemExit) as ended:
        entry.main()
    assert ended.value.code == 130


def test_names_are_completed_from_the_service(
    service: StubService, feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    feeds = [{"source": name} for name in ("lwn", "lobsters", "xkcd")]
    service.answer("/feeds", 200, {"items": feeds, "next_cursor": "more"})
    service.answer("/queues", 200, {"items": [{"name": "a"}, {"name": "b"}], "next_cursor": None})
    assert complete_sources("l") == ["lwn", "lobsters"]
    assert complete_queues("") == ["a", "b"]
    assert len(service.calls_of("/feeds")) == 1


@pytest.mark.parametrize(
    ("name", "value"), [("FEEDMILL_URL", "http://127.0.0.1:1"), ("WORKER_LOCK_MS", "x")]
)
def test_completion_is_silent_when_it_fails(
    feedmill: Run,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    value: str,
) -> None:
    monkeypatch.setenv(name, value)
    assert complete_sources("") == []
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shell_completes_commands(shell: str) -> None:
    typed = {"COMP_WORDS": "feedmill dlq re", "COMP_CWORD": "2"}
    for_zsh_and_fish = {
        "_TYPER_COMPLETE_ARGS": "feedmill dlq re",
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run(
        [FEEDMILL],
        env={"_FEEDMILL_COMPLETE": f"complete_{shell}", **typed, **for_zsh_and_fish},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert "remove" in done.stdout
    assert "replay" in done.stdout
    assert done.stderr == ""
