"""The server's composition root: settings → clients → process → HTTP."""

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType

import uvicorn
from fastapi import FastAPI

from server.dashboard.mounting import create_site
from server.listening import listen
from server.process import ServerProcess
from shared.clock import SystemClock
from shared.errors import FeedmillError, SettingsError
from shared.last_resort import end_at_worst_after
from shared.logs import configure_logs, get_logger
from shared.settings import Settings, load_settings
from shared.startup import (
    collect_garbage_seldom,
    connect_stores,
    warn_of_misspelt_settings,
)
from shared.stopping import end_at_second_signal

log = get_logger("server")

HTTP_STOP_S = 1
TICK_S = 1.0


class HttpServer(uvicorn.Server):
    """A uvicorn server that lets event streams end cleanly when it is told to stop.

    It stops by itself when ``must_end`` says that the process cannot do its work any more.
    """

    def __init__(self, config: uvicorn.Config, must_end: Callable[[], bool]) -> None:
        super().__init__(config)
        self._must_end = must_end
        self._told_to_stop = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def main_loop(self) -> None:
        """Look once a second whether to stop, and at once when told: uvicorn's own looks ten times.

        Each look renews the answers' Date.
        """
        self._loop = asyncio.get_running_loop()
        while not await self.on_tick(0):
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told_to_stop.wait(), TICK_S)
        self._loop = None

    async def on_tick(self, counter: int) -> bool:
        """Answer whether to stop."""
        if self._must_end() and not self.should_exit:
            self._stop_watchers()
            self.should_exit = True
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Tell the watchers first: the server waits for their connections."""
        self._stop_watchers()
        super().handle_exit(sig, frame)
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._told_to_stop.set)

    def _stop_watchers(self) -> None:
        app: FastAPI = self.config.app  # type: ignore[assignment]
        app.state.parts.events.stop_soon()


def main() -> int:
    """Run a server until SIGTERM or SIGINT.

    Exit code 1: a store or the port at the start, or a thread that was given up; 2: a setting.
    """
    try:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        warn_of_misspelt_settings()
        redis, stores = connect_stores(settings, "feedmill-server")
        listener = listen(settings.host, settings.port)
        process = ServerProcess(settings, redis, stores, SystemClock())
        # Before anything is under way: what is left out now is never looked at again.
        collect_garbage_seldom()
        process.start()
    except SettingsError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - before anything can be logged
        return 2
    except FeedmillError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - one line is what a start that fails owes
        return 1
    log.info("server_started", url=settings.service_url)
    try:
        serve(settings, process, listener)
    finally:
        end_at_worst_after(exit_code=1 if process.must_end else 0)
        end_at_second_signal()
        process.stop()
    if process.must_end:
        log.error("server_failed", thread=process.supervisor.given_up)
        return 1
    log.info("server_stopped")
    return 0


def serve(settings: Settings, process: ServerProcess, listener: socket.socket) -> None:
    """Serve API and dashboard until a signal comes."""
    config = uvicorn.Config(
        create_site(process.services),
        log_config=None,
        access_log=False,
        # The application reads forwarded headers itself, and only of TRUSTED_PROXIES.
        proxy_headers=False,
        timeout_graceful_shutdown=HTTP_STOP_S,
        server_header=False,
    )
    # uvicorn raises the signal that ended it once more; it must not end us before the rest has.
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: None)
    HttpServer(config, lambda: process.must_end).run(sockets=[listener])


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: a fetch that hangs in its thread must not hold up the exit.
    os._exit(code)
