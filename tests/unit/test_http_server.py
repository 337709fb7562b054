"""When the server's HTTP side stops."""

import signal
import socket
import threading
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
import uvicorn
from fastapi import FastAPI

from server import __main__ as server_main
from server.__main__ import HttpServer
from server.listening import listen


class Running:
    """A server on a thread, without an API; ``must_end`` is what its process answers."""

    def __init__(self) -> None:
        self.must_end = False
        self.watchers_told = threading.Event()
        app = FastAPI()
        events = SimpleNamespace(stop_soon=self.watchers_told.set)
        app.state.parts = SimpleNamespace(events=events)
        config = uvicorn.Config(app, log_config=None, lifespan="off")
        self.server = HttpServer(config, lambda: self.must_end)
        self.listener = listen("127.0.0.1", 0)
        self.thread = threading.Thread(target=self.server.run, args=([self.listener],))
        self.thread.start()

    def ends(self) -> bool:
        self.thread.join(10)
        return not self.thread.is_alive()


@pytest.fixture
def running(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[Running]:
    monkeypatch.setattr(server_main, "TICK_S", request.param)
    running = Running()
    yield running
    running.server.handle_exit(signal.SIGTERM, None)
    assert running.ends()
    running.listener.close()


@pytest.mark.parametrize("running", [3600.0], indirect=True)
def test_a_signal_is_noticed_at_once_and_watchers_first(running: Running) -> None:
    while running.server._loop is None:
        running.thread.join(0.01)
    running.server.handle_exit(signal.SIGTERM, None)
    assert running.watchers_told.is_set()
    assert running.ends()


@pytest.mark.parametrize("running", [0.01], indirect=True)
def test_a_process_that_cannot_do_its_work_ends_its_server(running: Running) -> None:
    running.must_end = True
    assert running.ends()
    assert running.watchers_told.is_set()


@pytest.mark.parametrize("running", [3600.0], indirect=True)
def test_answers_do_not_wait_for_the_acknowledgement_of_their_head(running: Running) -> None:
    with socket.create_connection(running.listener.getsockname()):
        while not (connections := running.server.server_state.connections):
            running.thread.join(0.01)
        (connection,) = connections
        accepted = connection.transport.get_extra_info("socket")
        assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
