"""A server and workers of one checkout on given stores, driven over HTTP."""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import redis
from pymongo import MongoClient
from pymongo.database import Database

from benchmarks.processes import BenchmarkError, cpu_s, running, wait_until
from benchmarks.trees import Tree
from tests.servers import find_free_port

ITEM_QUEUES = ("job_import_queue", "job_import_queue_heavy")
_READY_WITHIN_S = 60.0
_CLOSED_WITHIN_S = 600.0
_SETTINGS = {
    "FETCH_ALLOW_PRIVATE": "true",
    "WORKER_RATE_LIMIT_MAX": "0",
    "API_RATE_LIMIT": "100000/minute",
    "LOG_FORMAT": "json",
}


@dataclass(frozen=True, slots=True)
class Usage:
    """CPU seconds of the server and of all workers."""

    server_s: float
    worker_s: float

    def since(self, before: "Usage") -> "Usage":
        """Return what was used after ``before``."""
        return Usage(self.server_s - before.server_s, self.worker_s - before.worker_s)


@dataclass(frozen=True, slots=True)
class Deployment:
    """What runs, and how to reach it."""

    server: subprocess.Popen[bytes] | None
    workers: tuple[subprocess.Popen[bytes], ...]
    api: httpx2.Client
    database: Database[dict[str, Any]]
    redis: redis.Redis

    def usage(self) -> Usage:
        """Return the CPU that server and workers have used, with their children's."""
        server_s = cpu_s(self.server.pid) if self.server is not None else 0.0
        return Usage(server_s, sum(cpu_s(worker.pid) for worker in self.workers))

    def run_import(self, url: str, source: str, *, look_every_s: float = 0.01) -> dict[str, Any]:
        """Import a feed; return its import's document once it is closed.

        Its end is looked for in MongoDB: asking the server would cost the CPU that is measured.

        Raises:
            BenchmarkError: it was refused, or did not complete in time.
        """
        answer = self.api.post("/imports/start", json={"url": url, "source": source})
        if answer.status_code != 202:
            raise BenchmarkError(
                f"POST /imports/start answered {answer.status_code}: {answer.text}"
            )
        import_id = answer.json()["imports"][0]["id"]
        closed = {"_id": import_id, "state": {"$in": ["completed", "failed"]}}
        imports = self.database["imports"]
        what = f"import {import_id} of {source} is closed"
        ended = wait_until(lambda: imports.find_one(closed), what, _CLOSED_WITHIN_S, look_every_s)
        if ended["state"] != "completed":
            raise BenchmarkError(f"import {import_id} of {source} failed: {ended.get('error')}")
        return ended

    def open_jobs(self) -> int:
        """Return how many item jobs wait or are active."""
        keys = [f"bull:{name}:{state}" for name in ITEM_QUEUES for state in ("wait", "active")]
        return sum(int(self.redis.llen(key)) for key in keys)


@contextmanager
def deployed(
    tree: Tree,
    folder: Path,
    redis_url: str,
    mongodb_url: str,
    *,
    has_server: bool = True,
    workers: int = 1,
) -> Iterator[Deployment]:
    """Run a server and workers of a checkout on an empty Redis and a database of its own."""
    port = find_free_port()
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        client = stack.enter_context(redis.Redis.from_url(redis_url))
        client.flushdb()
        mongo: MongoClient[dict[str, Any]] = stack.enter_context(MongoClient(mongodb_url))
        database = mongo[f"bench_{tree.name}_{port}"]
        stack.callback(mongo.drop_database, database.name)
        environment = _environment(redis_url, f"{mongodb_url}/{database.name}", port)
        api = stack.enter_context(httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=600))
        server = None
        if has_server:
            server = stack.enter_context(_role(tree, "server", folder, environment))
            _wait_until_ready(server, api, folder)
        yield Deployment(
            server,
            tuple(
                stack.enter_context(_worker(tree, number, folder, environment))
                for number in range(workers)
            ),
            api,
            database,
            client,
        )


def _environment(redis_url: str, mongodb_url: str, port: int) -> dict[str, str]:
    inherited = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    stores = {"REDIS_URL": redis_url, "MONGODB_URL": mongodb_url, "PORT": str(port)}
    return {**inherited, **stores, **_SETTINGS}


@contextmanager
def _role(
    tree: Tree, name: str, folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    role = name.partition("-")[0]
    with running([str(tree.python), "-m", role], folder, name, environment) as process:
        yield process


@contextmanager
def _worker(
    tree: Tree, number: int, folder: Path, environment: Mapping[str, str]
) -> Iterator[subprocess.Popen[bytes]]:
    name = f"worker-{number}"
    with _role(tree, name, folder, environment) as process:

        def is_working() -> bool:
            _check_running(process, folder / f"{name}.log")
            return "worker_started" in (folder / f"{name}.log").read_text()

        wait_until(is_working, "the worker has started", _READY_WITHIN_S, 0.05)
        yield process


def _wait_until_ready(server: subprocess.Popen[bytes], api: httpx2.Client, folder: Path) -> None:
    def is_ready() -> bool:
        _check_running(server, folder / "server.log")
        try:
            return api.get("/readyz").status_code == 200
        except httpx2.TransportError:
            return False

    wait_until(is_ready, "the server is ready", _READY_WITHIN_S, 0.05)


def _check_running(process: subprocess.Popen[bytes], log: Path) -> None:
    if process.poll() is not None:
        raise BenchmarkError(f"a process ended: {log.read_text(errors='replace')[-600:]}")
