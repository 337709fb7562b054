"""The stream of an import's changes: one reader for all, the last state never missed."""

import asyncio
from collections.abc import Iterable, Mapping

import pytest

from server.api.events import ImportEvents
from server.api.import_answers import ImportAnswer, show_import
from server.api.queue_status import RateMeter
from shared.errors import StoreUnavailable
from shared.store import Import, ImportState
from tests.fakes import FakeClock


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("server.api.events.POLL_S", 0.05)
    monkeypatch.setattr("server.api.events.RETRY_S", 0.05)


def make_import(import_id: str, state: ImportState) -> ImportAnswer:
    clock = FakeClock()
    return show_import(Import(import_id, "news", [], "api", state, clock.now()), {})


class ScriptedReader:
    """Answers each read with the next state; remembers which imports were asked for."""

    def __init__(self, *states: ImportState | Exception) -> None:
        self._states = list(states)
        self.asked: list[list[str]] = []

    def __call__(self, import_ids: Iterable[str]) -> Mapping[str, ImportAnswer]:
        ids = list(import_ids)
        self.asked.append(ids)
        state = self._states.pop(0) if len(self._states) > 1 else self._states[0]
        if isinstance(state, Exception):
            raise state
        return {import_id: make_import(import_id, state) for import_id in ids}


async def collect(events: ImportEvents, import_id: str) -> list[bytes]:
    return [event async for event in events.stream(import_id)]


def test_stream_has_an_event_a_change_and_ends_with_the_import() -> None:
    queued, done = ImportState.QUEUED, ImportState.COMPLETED
    reader = ScriptedReader(queued, queued, queued, done)
    sent = asyncio.run(collect(ImportEvents(reader), "a"))
    assert [b'"state":"queued"' in event for event in sent] == [True, False]
    assert b'"state":"completed"' in sent[-1]
    assert all(event.startswith(b"event: import\ndata: {") for event in sent)
    assert all(event.endswith(b"}\n\n") for event in sent)


def test_many_watchers_share_the_reads() -> None:
    reader = ScriptedReader(ImportState.QUEUED, ImportState.FAILED)

    async def watch() -> None:
        events = ImportEvents(reader)
        sent = await asyncio.gather(*(collect(events, name) for name in "aabbcc" * 20))
        assert all(b'"state":"failed"' in each[-1] for each in sent)

    asyncio.run(watch())
    assert len(reader.asked) == 2
    assert sorted(reader.asked[0]) == ["a", "b", "c"]


def test_stream_survives_a_store_that_is_away() -> None:
    reader = ScriptedReader(StoreUnavailable("away"), ImportState.COMPLETED)
    sent = asyncio.run(collect(ImportEvents(reader), "a"))
    assert len(sent) == 1


def test_stopped_events_end_streams_at_once() -> None:
    async def stop_while_watching() -> list[bytes]:
        events = ImportEvents(ScriptedReader(ImportState.QUEUED))
        watching = asyncio.create_task(collect(events, "a"))
        await asyncio.sleep(0)
        events.stop()
        late = await collect(events, "b")
        assert late == []
        return await watching

    assert len(asyncio.run(stop_while_watching())) <= 1


def test_vanished_import_ends_its_stream() -> None:
    assert asyncio.run(collect(ImportEvents(lambda _ids: {}), "a")) == []


def test_rate_is_known_from_the_second_sample_on() -> None:
    clock = FakeClock()
    meter = RateMeter(clock)
    assert meter.add(100) is None
    clock.advance(seconds=10)
    assert meter.add(150) == 5.0
    clock.advance(seconds=60)
    assert meter.add(150) == 0.0


def test_rate_starts_anew_when_redis_lost_its_counters() -> None:
    clock = FakeClock()
    meter = RateMeter(clock)
    meter.add(100)
    clock.advance(seconds=10)
    assert meter.add(3) is None
