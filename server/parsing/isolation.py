"""Parse documents in processes of their own: what a document does there harms nothing here."""

import contextlib
import os
import pickle
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import cast

from server.parsing.lenient import Lenience
from server.parsing.page_feeds import WebPageError
from server.parsing.parsed import ParsedFeed
from server.parsing.parser_process import Answer, receive_message, send_message
from shared.error_kinds import ErrorKind
from shared.errors import ParseError

_ROOT = Path(__file__).resolve().parents[2]
_STOP_S = 2.0
_STANDARD_ERROR = 2


class ParserPool:
    """Up to ``max_workers`` parser processes, started when needed and used again and again.

    Each document gets ``cpu_s`` seconds of processor time, ``wall_s`` of real time and
    ``memory_bytes`` of address space; a process that exceeds one is killed and replaced. The
    processes end when this one does, however it ends. May be used by many threads at once.

    Nothing here waits without a limit: a place is waited for ``wait_s`` at most, and writing to a
    process and reading its answer share ``wall_s``, whatever becomes of the process. ``lenience``
    is how far damaged documents are read, as of ``parse_feed``.
    """

    def __init__(
        self,
        max_workers: int,
        *,
        cpu_s: int = 60,
        memory_bytes: int = 1 << 30,
        wall_s: float = 60.0,
        wait_s: float = 240.0,
        lenience: Lenience = "feedparser",
    ) -> None:
        self._cpu_s = cpu_s
        self._memory_bytes = memory_bytes
        self._wall_s = wall_s
        self._wait_s = wait_s
        self._lenience: Lenience = lenience
        # Last in, first out: a busy hour's processes are reused, the others never started.
        self._places: queue.LifoQueue[_Place] = queue.LifoQueue()
        for _ in range(max_workers):
            self._places.put(_Place())
        self._lock = threading.Lock()
        self._running: set[_ParserProcess] = set()
        self._is_closed = False

    def parse(
        self,
        body: bytes,
        *,
        content_type: str | None,
        url: str | None,
        now: datetime,
        timeout_s: float | None = None,
    ) -> ParsedFeed:
        """Parse one document as ``parse_feed`` does; waits while all processes are busy.

        ``timeout_s`` limits the wait and the parsing together, beside the pool's own limits.

        Raises:
            ParseError: as ``parse_feed``; ``limits``; ``timeout`` when no process was free in time,
                or the time left was too short (retryable: the document is not to blame).
        """
        request = pickle.dumps((body, content_type, url, now), pickle.HIGHEST_PROTOCOL)
        ends_at = time.monotonic() + (
            self._wait_s + self._wall_s if timeout_s is None else timeout_s
        )
        with self._leased_place(ends_at) as place:
            outcome, is_retiring = self._ask(place, request, ends_at)
            if is_retiring:
                self._empty(place)
        if isinstance(outcome, ParsedFeed):
            return outcome
        if outcome.feeds:
            raise WebPageError(outcome.feeds)
        raise ParseError(outcome.kind, outcome.reason)

    @contextlib.contextmanager
    def _leased_place(self, ends_at: float) -> "Iterator[_Place]":
        """Lend a place for one document; whatever goes wrong, its process is not used again."""
        place = self._wait_for_place(min(self._wait_s, ends_at - time.monotonic()))
        try:
            yield place
        except BaseException:
            self._empty(place)
            raise
        finally:
            if self._is_closed:
                self._empty(place)
            self._places.put(place)

    def _wait_for_place(self, wait_s: float) -> "_Place":
        try:
            return self._places.get(timeout=max(wait_s, 0.0))
        except queue.Empty:
            reason = f"no parser was free within {wait_s:.0f} s"
            raise _retryable(ErrorKind.TIMEOUT, reason) from None

    def _ask(self, place: "_Place", request: bytes, ends_at: float) -> Answer:
        if place.process is not None:
            try:
                return self._ask_in_time(place.process, request, ends_at)
            except _ParserDied:
                # It may have died before, of something else: only a fresh one's death counts.
                self._empty(place)
        place.process = self._start()
        return self._ask_in_time(place.process, request, ends_at)

    def _ask_in_time(self, process: "_ParserProcess", request: bytes, ends_at: float) -> Answer:
        left_s = max(ends_at - time.monotonic(), 0.0)
        try:
            return process.ask(request, timeout_s=min(left_s, self._wall_s))
        except TimeoutError as exc:
            if left_s < self._wall_s:
                reason = f"not parsed in the {left_s:.0f} s left"
                raise _retryable(ErrorKind.TIMEOUT, reason) from exc
            raise ParseError(ErrorKind.LIMITS, "the document takes too long to parse") from exc

    def close(self) -> None:
        """End all processes. Documents being parsed fail with ``limits``; idempotent."""
        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for process in running:
            process.kill()
        # Those in use are put away by the threads that use them.
        idle = []
        with contextlib.suppress(queue.Empty):
            while True:
                idle.append(self._places.get_nowait())
        for place in idle:
            self._empty(place)
            self._places.put(place)

    def __enter__(self) -> "ParserPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> "_ParserProcess":
        with self._lock:
            if self._is_closed:
                # Nothing is wrong with the document: the next server may parse it.
                raise _retryable(ErrorKind.LIMITS, "the parser is shut down")
            try:
                process = _ParserProcess(self._cpu_s, self._memory_bytes, self._lenience)
            except OSError as exc:
                reason = f"no parser process can be started: {exc}"
                raise _retryable(ErrorKind.INTERNAL, reason) from exc
            self._running.add(process)
        return process

    def _empty(self, place: "_Place") -> None:
        process, place.process = place.process, None
        if process is None:
            return
        with self._lock:
            self._running.discard(process)
        process.stop()


@dataclass(slots=True)
class _Place:
    """Room for one process; None until it is needed."""

    process: "_ParserProcess | None" = None


def _retryable(kind: ErrorKind, reason: str) -> ParseError:
    error = ParseError(kind, reason)
    error.retryable = True
    return error


class _ParserDied(ParseError):
    """The process ended instead of answering."""

    def __init__(self) -> None:
        super().__init__(ErrorKind.LIMITS, "the document takes too much time or memory to parse")


class _ParserProcess:
    """One parser process and the connection to it.

    Raises:
        OSError: it cannot be started.
    """

    def __init__(self, cpu_s: int, memory_bytes: int, lenience: Lenience) -> None:
        # -P: the current folder may hold a "server" of somebody else.
        module = [sys.executable, "-P", "-m", "server.parsing.parser_process"]
        self._connection, its_end = socket.socketpair()
        with its_end, contextlib.ExitStack() as on_error:
            on_error.callback(self._connection.close)
            self._process = subprocess.Popen(
                [*module, str(cpu_s), str(memory_bytes), lenience],
                stdin=its_end.fileno(),
                # What is printed there goes where errors go.
                stdout=_STANDARD_ERROR,
                env=_environment(),
                # Away from the terminal's Ctrl-C: this process decides when it ends.
                start_new_session=True,
            )
            on_error.pop_all()

    def ask(self, request: bytes, *, timeout_s: float) -> Answer:
        """Return the answer to one request.

        Raises:
            TimeoutError: the process did not take the request and answer it in ``timeout_s``.
            ParseError: ``limits``, when the process died over it.
        """
        ends_at = time.monotonic() + timeout_s
        try:
            send_message(self._connection, request, ends_at)
            answer = receive_message(self._connection, ends_at)
        except TimeoutError:
            raise
        except OSError as exc:
            raise _ParserDied from exc
        if answer is None:
            raise _ParserDied
        # Written by our own code over a private connection: as trustworthy as the code itself.
        return cast("Answer", pickle.loads(answer))

    def kill(self) -> None:
        """End the process at once; whoever waits for its answer gets to know that it died."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def stop(self) -> None:
        """Kill the process, wait for its end and close the connection to it.

        One that the system does not let go of in time is left to end on its own.
        """
        self.kill()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        self._connection.close()


def _environment() -> dict[str, str]:
    """Return the variables a parser needs: where the code is, and no secrets of the server."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
