"""Server-sent events: each watched import's changes, read by one task for all watchers."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from server.api.import_answers import ImportAnswer
from shared.errors import FeedmillError
from shared.logs import get_logger
from shared.store import ImportState

POLL_S = 0.25
# After an error.
RETRY_S = 2.0
# How often a comment is sent: it makes the connection of a watcher that vanished fail.
KEEP_ALIVE_S = 15.0
MAX_WATCHERS = 1000
_ENDED = (ImportState.COMPLETED, ImportState.FAILED)
_KEEP_ALIVE = b": still here\n\n"

ReadImports = Callable[[Iterable[str]], Mapping[str, ImportAnswer]]
# A watcher's next event; None ends it. Only the latest counts, so one place is enough.
_Mailbox = asyncio.Queue[ImportAnswer | None]

log = get_logger("server.api.events")


class ImportEvents:
    """Streams imports as they change; lives on one event loop.

    While anybody watches, one task reads all watched imports together, at most 4 times a second,
    in a thread: the number of watchers costs neither threads nor reads.
    """

    def __init__(self, read_imports: ReadImports) -> None:
        self._read_imports = read_imports
        self._watchers: dict[str, list[_Mailbox]] = {}
        self._poller: asyncio.Task[None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._is_stopped = False

    async def stream(self, import_id: str) -> AsyncIterator[bytes]:
        """Yield an ``import`` event now and at each change, a last one at the end, then finish.

        Also finishes when the import vanishes or the server stops.
        """
        mailbox: _Mailbox = asyncio.Queue(maxsize=1)
        self._watchers.setdefault(import_id, []).append(mailbox)
        self._start_poller()
        try:
            shown: ImportAnswer | None = None
            while True:
                try:
                    latest = await asyncio.wait_for(mailbox.get(), KEEP_ALIVE_S)
                except TimeoutError:
                    yield _KEEP_ALIVE
                    continue
                if latest is None:
                    return
                if latest != shown:
                    yield _encode(latest)
                    shown = latest
                if latest.state in _ENDED:
                    return
        finally:
            self._forget(import_id, mailbox)

    def stop_soon(self) -> None:
        """As :meth:`stop`, from any thread."""
        if self._loop is None:
            self._is_stopped = True  # nobody has watched yet
        else:
            self._loop.call_soon_threadsafe(self.stop)

    def stop(self) -> None:
        """End all streams; new ones end at once. For the event loop, when the server stops."""
        self._is_stopped = True
        for mailboxes in self._watchers.values():
            for mailbox in mailboxes:
                _put(mailbox, None)

    def has_capacity(self) -> bool:
        """Return whether one more watcher can be served."""
        return sum(map(len, tuple(self._watchers.values()))) < MAX_WATCHERS

    def _start_poller(self) -> None:
        self._loop = asyncio.get_running_loop()
        if self._is_stopped:
            self.stop()
        elif self._poller is None or self._poller.done():
            self._poller = asyncio.create_task(self._poll(), name="import-events")

    async def _poll(self) -> None:
        while self._watchers:
            try:
                await self._read_once()
                await asyncio.sleep(POLL_S)
            except FeedmillError as exc:
                log.warning("import_events_delayed", error=str(exc))
                await asyncio.sleep(RETRY_S)
            except Exception:
                # Nobody would start another poller for those who watch already.
                log.exception("import_events_failed")
                await asyncio.sleep(RETRY_S)

    async def _read_once(self) -> None:
        asked = list(self._watchers)
        found = await run_in_threadpool(self._read_imports, asked)
        for import_id in asked:
            for mailbox in self._watchers.get(import_id, ()):
                _put(mailbox, found.get(import_id))

    def _forget(self, import_id: str, mailbox: _Mailbox) -> None:
        mailboxes = self._watchers[import_id]
        mailboxes.remove(mailbox)
        if not mailboxes:
            del self._watchers[import_id]


def _put(mailbox: _Mailbox, latest: ImportAnswer | None) -> None:
    """Replace what the watcher has not taken yet: a slow one misses states, not the last."""
    with suppress(asyncio.QueueEmpty):
        mailbox.get_nowait()
    mailbox.put_nowait(latest)


def _encode(shown: ImportAnswer) -> bytes:
    return b"event: import\ndata: " + shown.model_dump_json(exclude_unset=True).encode() + b"\n\n"
