"""The service as processes: all of it as children, or this process as one role."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

from rich.console import Console

from server.commands.api_client import ApiClient
from server.commands.import_report import LineProgress, print_summary
from server.commands.import_run import FeedToImport, read_feed_arguments, run_imports
from server.commands.output import print_text
from server.listening import PortInUse, listen
from shared.embedded import EmbeddedStores, WatchedProcess, locked_data_dir, start_embedded_stores
from shared.errors import ChildEnded, ServiceError, SettingsError
from shared.running import RUNNING_FILE, Running, remove_running, write_running
from shared.settings import ORIGINS_VARIABLE, Origin, Settings
from shared.startup import check_named_stores
from shared.stopping import Stopped
from shared.urls import without_login

# A role flushes and releases what it holds within 10 s.
ROLE_GRACE_S = 12.0
READY_TIMEOUT_S = 60.0
_POLL_S = 0.1
_CHECK_EVERY_S = 0.2


class Service:
    """The running children. ``url`` is where the server answers."""

    def __init__(
        self, url: str, stores: EmbeddedStores, server: WatchedProcess, worker: WatchedProcess
    ) -> None:
        self.url = url
        self._stores = stores
        self._server = server
        self._worker = worker

    @property
    def embedded_mongodb_url(self) -> str | None:
        """Where the embedded MongoDB listens, with its login; None when MONGODB_URL names one."""
        return self._stores.mongodb_url

    def check(self) -> None:
        """Make sure that everything still runs.

        Raises:
            ChildEnded: a store or a role has ended though nobody asked it to.
        """
        store = self._stores.failed()
        if store is not None:
            raise ChildEnded(store.name, 1)
        for role in (self._server, self._worker):
            code = role.poll()
            if code is not None:
                raise ChildEnded(f"the {role.name}", code)

    def wait_until_ready(self, client: ApiClient) -> None:
        """Wait until the service and its stores answer.

        Raises:
            ChildEnded: a role ended instead.
            ServiceError: it takes too long.
        """
        give_up_at = time.monotonic() + READY_TIMEOUT_S
        while not client.is_ready():
            self.check()
            if time.monotonic() > give_up_at:
                raise ServiceError(f"the service at {self.url} is not ready after 60 s")
            time.sleep(_POLL_S)


def run_up(settings: Settings, texts: Sequence[str], console: Console) -> int:
    """Run the service until a signal comes, importing ``texts`` first; answers the exit code.

    Raises:
        FeedmillError: it cannot start, or a part of it ended by itself.
    """
    feeds = read_feed_arguments(texts, None)
    try:
        with running_service(settings) as service:
            if feeds:
                _import_first(service, settings, feeds, console)
            if service.embedded_mongodb_url is not None:
                print_text(console, _describe_mongodb(service.embedded_mongodb_url, settings))
            print_text(console, f"Feedmill runs: {service.url} - Ctrl-C stops it")
            _serve(service)
    except Stopped:
        print_text(console, "Feedmill has stopped")
    return 0


def _describe_mongodb(url: str, settings: Settings) -> str:
    wanted = settings.embedded_mongodb_port
    taken = "" if wanted in (0, urlsplit(url).port) else f" (port {wanted} is taken)"
    login = f"the URL with its password is in {settings.data_dir / RUNNING_FILE}"
    return f"MongoDB: {without_login(url)}{taken} - {login}"


def _import_first(
    service: Service, settings: Settings, feeds: Sequence[FeedToImport], console: Console
) -> None:
    with ApiClient(service.url, api_key=settings.api_key) as client:
        run = run_imports(
            client, feeds, force=False, progress=LineProgress(console), check=service.check
        )
    print_summary(run, console)


def _serve(service: Service) -> None:
    while True:
        service.check()
        time.sleep(_CHECK_EVERY_S)


@contextmanager
def running_service(settings: Settings, *, log: IO[bytes] | None = None) -> Iterator[Service]:
    """Run stores, server and worker until the block ends; it begins when the server is ready.

    Stops in the order worker, server, stores. ``log`` takes the roles' output; None: it goes where
    this process's goes.

    Raises:
        EmbeddedStoreError: a store cannot be had, or another service works on the data folder.
        SettingsError: the port is taken.
        QueueError, StoreError: a store that is named cannot be reached, or refuses what is needed.
        ChildEnded: a role did not start.
    """
    data_dir = settings.data_dir.absolute()
    with ExitStack() as stack:
        stack.enter_context(locked_data_dir(data_dir))
        _check_port(settings)
        # Once and in one line, instead of by both roles.
        check_named_stores(settings)
        stores = stack.enter_context(_start_missing_stores(settings, data_dir))
        redis_url = settings.redis_url or stores.redis_url or ""
        mongodb_url = settings.mongodb_url or stores.mongodb_url or ""
        environment = role_environment(settings, data_dir, redis_url, mongodb_url)
        server = stack.enter_context(running_role("server", environment, stores, log))
        grace_s = ROLE_GRACE_S + settings.app_stop_s if settings.feedmill_app else ROLE_GRACE_S
        worker = stack.enter_context(
            running_role("worker", environment, stores, log, grace_s=grace_s)
        )
        service = Service(settings.service_url, stores, server, worker)
        with ApiClient(service.url, api_key=settings.api_key) as client:
            service.wait_until_ready(client)
        stack.callback(remove_running, data_dir)
        write_running(data_dir, Running(os.getpid(), service.url, redis_url, mongodb_url))
        yield service


def _start_missing_stores(
    settings: Settings, data_dir: Path
) -> AbstractContextManager[EmbeddedStores]:
    return start_embedded_stores(
        data_dir,
        redis=settings.redis_url is None,
        mongodb=settings.mongodb_url is None,
        mongodb_port=settings.embedded_mongodb_port,
    )


@contextmanager
def running_role(
    name: str,
    environment: dict[str, str],
    stores: EmbeddedStores,
    log: IO[bytes] | None,
    *,
    grace_s: float = ROLE_GRACE_S,
) -> Iterator[WatchedProcess]:
    """Run one role as a child until the block ends; its output goes to ``log``.

    It has ``grace_s`` to stop, then it is killed.
    """
    process = WatchedProcess(
        name,
        [sys.executable, "-m", name],
        grace_s=grace_s,
        log=log,
        depends_on=stores.processes,
        env=environment,
    )
    try:
        yield process
    finally:
        process.stop()


def role_environment(
    settings: Settings, data_dir: Path, redis_url: str, mongodb_url: str
) -> dict[str, str]:
    """Return the environment in which a role works on these stores."""
    return {
        **os.environ,
        "REDIS_URL": redis_url,
        "MONGODB_URL": mongodb_url,
        "DATA_DIR": str(data_dir),
        # The current folder may hold a "server" of somebody else.
        "PYTHONSAFEPATH": "1",
        "HOST": settings.host,
        "PORT": str(settings.port),
        ORIGINS_VARIABLE: _origins(settings),
    }


def _origins(settings: Settings) -> str:
    """Return where those values come from that a role finds in its environment."""
    given = {name: settings.origin_of(name) for name in ("data_dir", "host", "port")}
    for name in ("redis_url", "mongodb_url"):
        is_named = getattr(settings, name) is not None
        given[name] = settings.origin_of(name) if is_named else Origin.EMBEDDED
    return ",".join(f"{name}={origin}" for name, origin in given.items())


def _check_port(settings: Settings) -> None:
    if settings.metrics_port == settings.port:
        raise SettingsError(
            f"METRICS_PORT={settings.metrics_port} and PORT={settings.port} must differ: "
            "server and worker run on one machine"
        )
    try:
        listen(settings.host, settings.port).close()
    except PortInUse as exc:
        raise SettingsError(str(exc)) from exc
