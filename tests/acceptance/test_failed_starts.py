"""A server or worker that cannot start says why in one line, and how by its exit code."""

import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.processes import inherited_environment
from tests.servers import ending_with_us, find_free_port

# Both use the same code for what they say; one of the two is in make test.
SERVER_AND_LONG_WORKER = ["server", pytest.param("worker", marks=pytest.mark.long)]
WORKER_AND_LONG_SERVER = [pytest.param("server", marks=pytest.mark.long), "worker"]
GIVES_UP_WITHIN_S = 40


@pytest.fixture
def taken_port() -> Iterator[int]:
    """A loopback port on which somebody listens who never answers."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        yield int(taken.getsockname()[1])


def start(role: str, folder: Path, **settings: str) -> tuple[int, str]:
    """Run a role until it ends; return its exit code and the one line it says."""
    return wait_for_end(begin(role, folder, **settings))


def begin(role: str, folder: Path, **settings: str) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [*ending_with_us(), sys.executable, "-m", role],
        cwd=folder,
        env={**inherited_environment(), "PORT": str(find_free_port()), **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_end(process: "subprocess.Popen[str]") -> tuple[int, str]:
    stdout, stderr = process.communicate(timeout=GIVES_UP_WITHIN_S)
    assert stdout == ""
    [line] = stderr.splitlines()
    assert "Traceback" not in line
    return process.returncode, line


@pytest.mark.parametrize(
    ("role", "settings", "said"),
    [
        ("worker", {"WORKER_STALLED_MS": "soon"}, "WORKER_STALLED_MS=soon: must be a whole number"),
        pytest.param("server", {"MONGODB_URL": "mongo"}, "MONGODB_URL=", marks=pytest.mark.long),
        pytest.param("worker", {"REDIS_URL": ""}, "REDIS_URL is not set", marks=pytest.mark.long),
        ("server", {"HOST": "0.0.0.0"}, "HOST=0.0.0.0"),
    ],
)
def test_wrong_setting_is_named_with_its_value_and_exit_code_2(
    tmp_path: Path, role: str, settings: dict[str, str], said: str
) -> None:
    stores = {
        "REDIS_URL": f"redis://127.0.0.1:{find_free_port()}",
        "MONGODB_URL": f"mongodb://127.0.0.1:{find_free_port()}/feedmill",
    }
    code, line = start(role, tmp_path, **(stores | settings))
    assert code == 2
    assert said in line


@pytest.mark.parametrize("role", SERVER_AND_LONG_WORKER)
def test_misspelt_setting_is_warned_of_before_anything_else(tmp_path: Path, role: str) -> None:
    (tmp_path / ".env").write_text("FECTH_INTERVAL_S=60\n")
    process = begin(role, tmp_path, REDIS_URL="", WORKER_BATCHSIZE="5")
    told = "".join(process.communicate(timeout=GIVES_UP_WITHIN_S))
    assert "WORKER_BATCHSIZE is not read; did you mean WORKER_BATCH_SIZE?" in told
    assert "FECTH_INTERVAL_S is not read; did you mean FETCH_INTERVAL_S?" in told
    assert process.returncode == 2


@pytest.mark.parametrize("role", WORKER_AND_LONG_SERVER)
def test_store_that_nobody_serves_or_that_is_silent_is_named(
    tmp_path: Path, role: str, valkey_url: str, mongodb_url: str, taken_port: int
) -> None:
    port = find_free_port()
    no_mongodb = f"mongodb://user:secret-word@127.0.0.1:{port}/feedmill"
    silent = f"redis://:secret-word@127.0.0.1:{taken_port}"
    # All at the same time, for they wait.
    started = [
        begin(role, tmp_path, REDIS_URL=redis_url, MONGODB_URL=url)
        for redis_url, url in (
            (f"redis://127.0.0.1:{port}", mongodb_url),
            (silent, mongodb_url),
            (valkey_url, no_mongodb),
        )
    ]
    (code_1, nobody), (code_2, silence), (code_3, no_store) = map(wait_for_end, started)
    assert (code_1, code_2, code_3) == (1, 1, 1)
    assert nobody.startswith("REDIS_URL: ")
    assert silence.startswith("REDIS_URL: ")
    assert no_store.startswith("MONGODB_URL: ")
    assert str(port) in nobody
    assert str(port) in no_store
    assert "secret-word" not in silence + no_store


def test_port_that_another_program_has_is_named(
    tmp_path: Path, valkey_url: str, mongodb_url: str, taken_port: int
) -> None:
    code, line = start(
        "server",
        tmp_path,
        REDIS_URL=valkey_url,
        MONGODB_URL=mongodb_url,
        PORT=str(taken_port),
    )
    assert code == 1
    assert line.startswith(f"HOST=127.0.0.1 PORT={taken_port} cannot be used: Address already")


def test_metrics_port_that_another_program_has_is_named(
    tmp_path: Path, valkey_url: str, mongodb_url: str, taken_port: int
) -> None:
    code, line = start(
        "worker",
        tmp_path,
        REDIS_URL=valkey_url,
        MONGODB_URL=mongodb_url,
        METRICS_PORT=str(taken_port),
    )
    assert code == 1
    assert line.startswith(f"METRICS_PORT={taken_port}")
