"""Real servers and workers for tests: started, stopped, killed by id, and always cleaned up."""

import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar

import httpx2
import redis
from pymongo import MongoClient

from shared.clock import SystemClock
from shared.queue import JobQueue, JobState, connect, disconnect
from shared.queue.keys import QUEUE_KEYS
from tests.servers import ending_with_us, find_free_port

QUEUE, HEAVY_QUEUE, DEAD_LETTER_QUEUE = (
    "job_import_queue",
    "job_import_queue_heavy",
    "job_import_queue_dlq",
)
START_WITHIN_S = 45.0
ENDS_WITHIN_S = 20.0
POLL_S = 0.05
# Kept by a queue as such, whatever it holds: the layout's names and our own totals.
QUEUE_LEVEL = frozenset(QUEUE_KEYS) | {"stalled-check", "own:totals", "own:incarnation"}
FOR_EVER = -1  # as Redis answers a question for a key's time to live

Seen = TypeVar("Seen")


def wait_until(
    look: Callable[[], Seen], what: str, *, within_s: float = 30.0, every_s: float = POLL_S
) -> Seen:
    """Look again and again until the answer is true; the only place where tests here wait.

    Returns the answer. Fails with ``what`` when it does not come in time.
    """
    never = threading.Event()
    deadline_s = time.monotonic() + within_s
    while True:
        seen = look()
        if seen:
            return seen
        assert time.monotonic() < deadline_s, f"not within {within_s} s: {what}"
        never.wait(every_s)


def give_children_default_signals() -> None:
    """Let every process that is started from here on begin with the signals of a terminal's.

    A shell lets its background jobs ignore SIGINT, and nohup SIGHUP, and their children inherit
    that; what this process handles itself is as by default in a new program. Tests that run under
    nohup go on doing so. Main thread only.
    """
    if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if signal.getsignal(signal.SIGHUP) == signal.SIG_IGN:
        signal.signal(signal.SIGHUP, lambda _number, _frame: None)


def ignoring(name: str) -> list[str]:
    """Return the beginning of a command that is to start with a signal ignored: INT, HUP."""
    return ["sh", "-c", f"trap '' {name}; exec \"$@\"", "sh"]


def pause(seconds: float) -> None:
    """Let time pass where the moment is the point: a kill that is to come at a random one."""
    threading.Event().wait(seconds)


def inherited_environment() -> dict[str, str]:
    """Return what a process of a test is given of our environment: no setting of ours among it.

    What `make coverage` follows it by is handed on. An embedded MongoDB takes any free port, for
    many tests run side by side.
    """
    names = ("PATH", "HOME", "COVERAGE_PROCESS_CONFIG")
    inherited = {name: os.environ[name] for name in names if name in os.environ}
    return {**inherited, "EMBEDDED_MONGODB_PORT": "0"}


class Role:
    """One ``python -m server`` or ``python -m worker``."""

    def __init__(self, name: str, folder: Path, environment: dict[str, str]) -> None:
        self.log = folder / f"{name}.log"
        with self.log.open("ab") as output:
            self.process = subprocess.Popen(
                [*ending_with_us(), sys.executable, "-m", name.split("-")[0]],
                cwd=folder,
                env=environment,
                stdout=output,
                stderr=output,
            )

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def said(self) -> str:
        """Everything it has written so far."""
        return self.log.read_text(errors="replace")

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait(ENDS_WITHIN_S)

    def terminate(self) -> tuple[int, float]:
        """Ask it to stop; return its exit code and how many seconds it took."""
        started_s = time.monotonic()
        self.process.terminate()
        code = self.process.wait(ENDS_WITHIN_S)
        return code, time.monotonic() - started_s

    def freeze(self) -> None:
        """Let it do nothing until :meth:`thaw`."""
        os.kill(self.process.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.process.pid, signal.SIGCONT)

    def resident_mib(self) -> float:
        """How much memory it holds now."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        line = next(line for line in status.splitlines() if line.startswith("VmRSS:"))
        return int(line.split()[1]) / 1024


class Deployment:
    """Servers and workers on two stores, with an eye on each of them.

    ``settings`` are environment variables for all of them. The first server's port is that of
    every later one, so that :attr:`api` outlives a restart.
    """

    def __init__(self, folder: Path, redis_url: str, mongodb_url: str, **settings: str) -> None:
        self.folder = folder
        self.redis_url = redis_url
        self.mongodb_url = mongodb_url
        self.port = find_free_port()
        self.environment = {
            **inherited_environment(),
            "REDIS_URL": redis_url,
            "MONGODB_URL": mongodb_url,
            "PORT": str(self.port),
            "FETCH_ALLOW_PRIVATE": "true",
            "WORKER_RATE_LIMIT_MAX": "0",
            "API_RATE_LIMIT": "1000/minute",
            "LOG_FORMAT": "json",
            **settings,
        }
        url = f"http://127.0.0.1:{self.port}"
        self.api = httpx2.Client(base_url=url, timeout=20.0, verify=False)
        self.redis = redis.Redis.from_url(redis_url, decode_responses=True)
        self.mongo: MongoClient[dict[str, Any]] = MongoClient(mongodb_url, tz_aware=True)
        self._queue_client = connect(redis_url)
        self.roles: list[Role] = []
        self._numbers = itertools.count(1)

    def close(self) -> None:
        """End everything that is left, also what is frozen."""
        for role in self.roles:
            if role.is_running:
                role.kill()
        self.api.close()
        self.redis.close()
        self.mongo.close()
        disconnect(self._queue_client)

    def logs(self) -> list[str]:
        """Return what each process said, also those that have ended."""
        return [role.said() for role in self.roles]

    def queue(self, name: str) -> JobQueue:
        return JobQueue(self._queue_client, name, clock=SystemClock())

    def launch(self, name: str, **settings: str) -> Role:
        """Start a ``server`` or a ``worker`` without waiting for it."""
        role = Role(f"{name}-{next(self._numbers)}", self.folder, {**self.environment, **settings})
        self.roles.append(role)
        return role

    def start_server(self, **settings: str) -> Role:
        """Start a server and wait until it is ready."""
        server = self.launch("server", **settings)
        self.wait_until_ready(server)
        return server

    def wait_until_ready(self, server: Role) -> None:
        def look() -> bool:
            assert server.is_running, server.said()
            return self.is_ready()

        wait_until(look, "the server is ready", within_s=START_WITHIN_S)

    def is_ready(self) -> bool:
        """Whether a server answers that it is ready."""
        answer = self.get("/readyz")
        return answer is not None and answer.status_code == 200

    def start_worker(self, **settings: str) -> Role:
        """Start a worker and wait until it works."""
        worker = self.launch("worker", **settings)

        def is_working() -> bool:
            assert worker.is_running, worker.said()
            return "worker_started" in worker.said()

        wait_until(is_working, "the worker has started", within_s=START_WITHIN_S)
        return worker

    def get(self, path: str) -> httpx2.Response | None:
        """Ask the server; None while there is none."""
        try:
            return self.api.get(path)
        except httpx2.TransportError:
            return None

    def start_import(self, **body: object) -> str:
        """Start the import of a URL or a document; return its id."""
        answer = self.api.post("/imports/start", json=body)
        assert answer.status_code == 202, answer.text
        [started] = answer.json()["imports"]
        return str(started["id"])

    def see_import(self, import_id: str) -> dict[str, Any]:
        """Return an import as the API shows it, its sum checked; {} while no server answers."""
        answer = self.get(f"/imports/{import_id}")
        if answer is None or answer.status_code != 200:
            return {}
        shown: dict[str, Any] = answer.json()
        counts = dict(shown["counts"])
        assert counts.pop("fetched") == sum(counts.values()), shown
        return shown

    def settled(self, import_id: str) -> int:
        """How many of an import's items have come to an end, as far as the API knows."""
        shown = self.see_import(import_id)
        return shown["counts"]["fetched"] - shown["counts"]["pending"] if shown else 0

    def wait_until_closed(self, import_id: str, *, within_s: float = 60.0) -> dict[str, Any]:
        """Wait for an import's end, checking its sum at every look; return how it ended."""

        def look() -> dict[str, Any] | None:
            shown = self.see_import(import_id)
            return shown if shown.get("state") in ("completed", "failed") else None

        return wait_until(look, f"import {import_id} has ended", within_s=within_s) or {}

    def documents(self) -> list[str]:
        """Return the ids of all item documents, each as often as it is there."""
        items = self.mongo.get_default_database()["items"]
        return [str(found["_id"]) for found in items.find({}, {"_id": 1})]

    def versions(self) -> dict[str, tuple[str, int, datetime]]:
        """Return each document's content hash, revision and last change by id."""
        return {
            found["_id"]: (found["content_hash"], found["revision"], found["modified_at"])
            for found in self.mongo.get_default_database()["items"].find()
        }

    def leftovers(self) -> list[str]:
        """Return the keys of the item queues that belong to a job or an import and would stay.

        Of our own keys some are kept for a while (what a claim was answered, under its token; what
        was settled after an import closed); those go by themselves.
        """
        return [
            key
            for name in (QUEUE, HEAVY_QUEUE, DEAD_LETTER_QUEUE)
            for key in self.redis.scan_iter(f"bull:{name}:*", count=1000)
            if key.removeprefix(f"bull:{name}:") not in QUEUE_LEVEL
            and not (":own:" in key and self.redis.ttl(key) != FOR_EVER)
        ]

    def job_ids(self, name: str = QUEUE) -> set[str]:
        """Return the ids of all jobs of a queue: the hashes that hold data."""
        base = f"bull:{name}:"
        found = (key.removeprefix(base) for key in self.redis.scan_iter(f"{base}*#*", count=1000))
        return {job_id for job_id in found if not job_id.endswith(":lock")}

    def lock_holders(self, name: str = QUEUE) -> dict[str, str]:
        """Return the ids of a queue's locked jobs, each with the token that holds it."""
        base = f"bull:{name}:"
        keys = list(self.redis.scan_iter(f"{base}*:lock", count=1000))
        tokens = self.redis.mget(keys) if keys else []
        return {
            str(key).removeprefix(base).removesuffix(":lock"): str(token)
            for key, token in zip(keys, tokens, strict=True)
            if token is not None
        }

    def waiting_and_active(self) -> Counter[JobState]:
        """Return the counts of both item queues together."""
        return Counter(self.queue(QUEUE).counts()) + Counter(self.queue(HEAVY_QUEUE).counts())

    def settled_jobs(self) -> int:
        """How many item jobs were completed since Redis began: each settlement counts once."""
        return sum(
            self.queue(name).read_totals().get("completed", 0) for name in (QUEUE, HEAVY_QUEUE)
        )


# What the fixture of that name hands out: settings in, a deployment out.
Deploy = Callable[..., Deployment]


@contextmanager
def deployment(
    folder: Path, redis_url: str, mongodb_url: str, **settings: str
) -> Iterator[Deployment]:
    """A deployment for the time of a test; nothing of it is left afterwards."""
    deployed = Deployment(folder, redis_url, mongodb_url, **settings)
    try:
        yield deployed
    finally:
        deployed.close()


def counts_of(**named: int) -> dict[str, int]:
    """Return an import's counts with all the names, zero unless given."""
    names = (
        "fetched",
        "new",
        "updated",
        "unchanged",
        "duplicate",
        "superseded",
        "dead",
        "removed",
        "pending",
    )
    return {name: named.get(name, 0) for name in names}
