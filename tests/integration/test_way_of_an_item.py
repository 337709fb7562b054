"""How many of our files an item passes through: those that somebody has to read who follows it."""

import dataclasses
import pickle
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

from server.parsing.parser_process import _parse
from server.process import ServerProcess
from shared.clock import SystemClock
from shared.queue import RedisConnection
from shared.settings import Settings
from shared.store import ImportState, Stores
from tests.publisher import Publisher
from worker.process import WorkerProcess

# Files that are handed the item, and all that have a part in it: schedule, audit and logs too.
MAX_PASSED = 35
MAX_RUN = 85
ROOT = Path(__file__).resolve().parents[2]
OURS = tuple(f"{ROOT / package}/" for package in ("server", "worker", "shared"))
# Stands in the item alone, so that whatever holds it holds the item.
MARK = "a-title-like-no-other"
ITEM = (
    f"<item><guid>n1</guid><title>{MARK}</title><link>https://news.example/1</link>"
    "<description>&lt;p&gt;Text&lt;/p&gt;</description>"
    "<pubDate>Sat, 28 Nov 2026 12:00:00 GMT</pubDate></item>"
)
# So long before its item that what reads the answer's head reads nothing of it.
LONG = "x" * 100_000
FEED = (
    "<rss version='2.0'><channel><title>News</title>"
    f"<description>{LONG}</description>{ITEM}</channel></rss>"
).encode()


class Recording:
    """The functions of ours that ran on any thread, and those that were handed the item.

    Handed: it lies in an argument, or in what is returned. What a method's own object holds does
    not count.
    """

    def __init__(self) -> None:
        self.run: set[CodeType] = set()
        self.passed: set[CodeType] = set()

    @contextmanager
    def going_on(self) -> Iterator[None]:
        """Record on this thread, and on those that are started inside."""
        before = sys.getprofile()
        threading.setprofile(self._note)
        sys.setprofile(self._note)
        try:
            yield
        finally:
            sys.setprofile(before)
            threading.setprofile(before)  # type: ignore[arg-type]

    def _note(self, frame: FrameType, event: str, argument: Any) -> None:
        code = frame.f_code
        if event not in ("call", "return") or not code.co_filename.startswith(OURS):
            return
        self.run.add(code)
        if code in self.passed:
            return
        count = code.co_argcount + code.co_kwonlyargcount
        given = [frame.f_locals.get(name) for name in code.co_varnames[:count] if name != "self"]
        if any(holds_item(value) for value in (given if event == "call" else [argument])):
            self.passed.add(code)


def holds_item(value: Any, depth: int = 6) -> bool:
    """Return whether the item lies in a value, as deep as containers and our own values go."""
    if isinstance(value, str):
        return MARK in value
    if isinstance(value, bytes | bytearray):
        return MARK.encode() in value
    return depth > 0 and any(holds_item(part, depth - 1) for part in _parts(value))


def _parts(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [*value.values()]
    if isinstance(value, list | tuple | set | frozenset | deque):
        return [*value]
    if dataclasses.is_dataclass(value):
        return [getattr(value, field.name, None) for field in dataclasses.fields(value)]
    # An element of a document; its parent would be the whole of it.
    slots = [name for name in getattr(type(value), "__slots__", ()) if name != "parent"]
    is_ours = type(value).__module__.startswith("server.parsing")
    return [getattr(value, name, None) for name in slots] if is_ours else []


def files_of(codes: set[CodeType]) -> list[str]:
    return sorted({str(Path(code.co_filename).relative_to(ROOT)) for code in codes})


def test_few_files_are_handed_a_new_item(
    redis_client: RedisConnection, stores: Stores, record_property: Callable[[str, object], None]
) -> None:
    settings = Settings(_env_file=None, fetch_allow_private=True)  # type: ignore[call-arg]
    server = ServerProcess(settings, redis_client, stores, SystemClock())
    worker = WorkerProcess(settings, redis_client, stores, SystemClock())
    stores.ensure_indexes()
    recording = Recording()
    _import_feed(server, recording)
    [imported] = stores.imports.find_open()
    with recording.going_on():
        worker.parts.consumer_parts.pool.start()
        worker.parts.consumer.step()
        worker.parts.consumer.hand_over()
        assert server.auditor.audit(imported, add_missing=False)

    closed = stores.imports.get(imported.import_id)
    assert closed is not None
    assert (closed.state, closed.counts["new"]) == (ImportState.COMPLETED, 1)
    passed, run = files_of(recording.passed), files_of(recording.run)
    summary = f"{len(passed)} files are handed the item, {len(run)} have a part in its import:"
    record_property("figures", "\n".join([summary, *passed]))
    assert len(passed) <= MAX_PASSED, "\n".join(passed)
    assert len(run) <= MAX_RUN, "\n".join(run)


def _import_feed(server: ServerProcess, recording: Recording) -> None:
    """Import the feed on its schedule, up to the enqueueing of its item."""
    with Publisher() as publisher:
        publisher.serve("/news.xml", FEED)
        url = f"http://{publisher.host}:{publisher.port}/news.xml"
        server.services.feeds.add([url], source="news", interval_s=3600)
        with recording.going_on():
            server.scheduler.tick()
            assert server.fetch_one()
            # Once more, for the parser's own process cannot be looked into.
            _parse(bytearray(pickle.dumps((FEED, None, url, SystemClock().now()))), "feedparser")
    server.close()
