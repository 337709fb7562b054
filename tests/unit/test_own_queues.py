"""The queues of programs, as a server knows them."""

from typing import Any

import pytest

from server.own_queues import OwnQueues
from shared.errors import QueueUnavailable
from shared.queue import connect
from shared.queue.registry import QueueRecord, QueueRegistry
from tests.fakes import FakeClock


def test_behind_a_redis_that_hangs_the_register_is_asked_for_once_in_two_seconds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock, asked = FakeClock(), []

    def hang(registry: QueueRegistry) -> Any:
        asked.append(registry)
        clock.advance(seconds=5)
        raise QueueUnavailable("no answer")

    monkeypatch.setattr(QueueRegistry, "read", hang)
    queues = OwnQueues(connect("redis://"), prefix="bull", ours=(), clock=clock)
    assert [queues.read(), queues.read()] == [{}, {}]
    assert len(asked) == 1
    clock.advance(seconds=2)
    queues.read()
    assert len(asked) == 2


def test_what_is_registered_while_the_register_is_read_is_known_two_seconds_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = FakeClock()
    registered: list[QueueRecord] = []

    def read_slowly(_registry: QueueRegistry) -> list[QueueRecord]:
        found = list(registered)
        registered[:] = [QueueRecord("emails", "light")]
        clock.advance(seconds=2)
        return found

    monkeypatch.setattr(QueueRegistry, "read", read_slowly)
    queues = OwnQueues(connect("redis://"), prefix="bull", ours=(), clock=clock)
    assert queues.read() == {}
    assert list(queues.read()) == ["emails"]
