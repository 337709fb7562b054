"""SecantusDB, a MongoDB-wire store over WiredTiger. Run as a command, never imported."""

import json
import secrets
import shutil
import sysconfig
from collections.abc import Sequence
from pathlib import Path

from shared.embedded.watched import (
    LOOPBACK,
    StoreProgram,
    WatchedProcess,
    is_served,
    make_private_folder,
    not_installed,
    start_until_ready,
)
from shared.errors import EmbeddedStoreError, StoreError
from shared.running import write_private
from shared.store.provision import is_answering, make_collections, set_password

_COMMAND = "secantusd-py"
_USER = "feedmill"


def find_secantusdb() -> Path:
    """Return the path of SecantusDB's command.

    Raises:
        EmbeddedStoreError: it is not installed.
    """
    beside_python = Path(sysconfig.get_path("scripts")) / _COMMAND
    found = str(beside_python) if beside_python.is_file() else shutil.which(_COMMAND)
    if found is None:
        raise not_installed("MongoDB store", "secantusdb", "MONGODB_URL")
    return Path(found)


def start_secantusdb(
    data_dir: Path, hold_fds: Sequence[int], *, first_port: int
) -> tuple[WatchedProcess, str]:
    """Start the store on the data in ``data_dir/mongodb``; answers its process and URL.

    The password is made once and kept, so that the URL is the same at each start while
    ``first_port`` is free; else the port is the next free one.
    """
    command, folder = find_secantusdb(), data_dir / "mongodb"
    make_private_folder(folder)
    password_file = folder / "password"
    if not password_file.exists():
        _set_first_password(command, folder, password_file, hold_fds)
    login = f"{_USER}:{password_file.read_text('utf-8').strip()}@"
    process, port = start_until_ready(
        _program(command, folder, login), hold_fds, first_port=first_port
    )
    return process, _url(port, login)


def _set_first_password(
    command: Path, folder: Path, password_file: Path, hold_fds: Sequence[int]
) -> None:
    # Access control has no way in for a first user: it is made in a run without. The file is
    # written last, so that a start that was cut short here is done over.
    password = secrets.token_urlsafe(24)
    process, port = start_until_ready(_program(command, folder, login=""), hold_fds)
    try:
        set_password(_url(port, login=""), _USER, password)
        make_collections(_url(port, login=""))
    except StoreError as exc:
        raise EmbeddedStoreError(f"the MongoDB store in {folder} took no password: {exc}") from exc
    finally:
        process.stop()
    write_private(password_file, password + "\n")


def _program(command: Path, folder: Path, login: str) -> StoreProgram:
    config = folder / "secantusd.toml"
    data = folder / "data"
    return StoreProgram(
        name="the MongoDB store",
        # Named, because it would look for others in the current folder, the home and /etc.
        command=[str(command), "--config", str(config)],
        folder=folder,
        prepare=lambda port: write_private(config, _config(data, port, auth=login != "")),
        # A client tries a port that nobody serves yet for a second; a look at it costs nothing.
        is_ready=lambda port: is_served(port) and is_answering(_url(port, login)),
    )


def _config(data: Path, port: int, *, auth: bool) -> str:
    lines = [
        "[server]",
        f'host = "{LOOPBACK}"',
        f"port = {port}",
        f"storage_path = {json.dumps(str(data))}",
        'log_level = "WARNING"',
        f"auth = {json.dumps(auth)}",
        "[storage]",
        'cache_size = "256M"',
        # Without it a killed store forgets what it acknowledged in its last 50 ms.
        "sync_on_commit = true",
    ]
    return "\n".join(lines) + "\n"


def _url(port: int, login: str) -> str:
    # What a driver may send twice the store remembers for half an hour, and goes through at each
    # write: after 10,000 of them a write takes 17 ms instead of 1. Our writes are repeated by us.
    options = "?retryWrites=false" + ("&authSource=admin" if login else "")
    return f"mongodb://{login}{LOOPBACK}:{port}/feedmill{options}"
