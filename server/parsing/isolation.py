"""Parse documents in processes of their own: what a document does there harms nothing here."""

import contextlib
import os
import pickle
import queue
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path
from typing import cast

from server.parsing.frames import read_frame, write_frame
from server.parsing.parsed import ParsedFeed
from shared.errors import ParseError

_ROOT = Path(__file__).resolve().parents[2]
_STOP_S = 2.0


class ParserPool:
    """Up to ``max_workers`` parser processes, started when needed and used again and again.

    Each document gets ``cpu_s`` seconds of processor time, ``wall_s`` of real time and
    ``memory_bytes`` of address space; a process that exceeds one is killed and replaced. The
    processes end when this one does, however it ends. May be used by many threads at once.
    """

    def __init__(
        self,
        max_workers: int,
        *,
        cpu_s: int = 60,
        memory_bytes: int = 1 << 30,
        wall_s: float = 60.0,
    ) -> None:
        self._cpu_s = cpu_s
        self._memory_bytes = memory_bytes
        self._wall_s = wall_s
        # Last in, first out: a busy hour's processes are reused, the others never started.
        self._places: queue.LifoQueue[_ParserProcess | None] = queue.LifoQueue()
        for _ in range(max_workers):
            self._places.put(None)
        self._lock = threading.Lock()
        self._running: set[_ParserProcess] = set()
        self._is_closed = False

    def parse(
        self, body: bytes, *, content_type: str | None, url: str | None, now: datetime
    ) -> ParsedFeed:
        """Parse one document as ``parse_feed`` does; waits while all processes are busy.

        Raises:
            ParseError: as ``parse_feed``, and ``limits``.
        """
        process = self._places.get()
        try:
            if process is None or not process.is_alive():
                self._forget(process)
                process = self._start()
            request = pickle.dumps((body, content_type, url, now), pickle.HIGHEST_PROTOCOL)
            outcome, is_retiring = process.ask(request, timeout_s=self._wall_s)
            if is_retiring or self._is_closed:
                self._forget(process)
                process = None
        except BaseException:
            self._forget(process)
            process = None
            raise
        finally:
            self._places.put(process)
        if isinstance(outcome, ParsedFeed):
            return outcome
        raise ParseError(*outcome)

    def close(self) -> None:
        """End all processes. Documents being parsed fail with ``limits``; idempotent."""
        with self._lock:
            self._is_closed = True
            running = list(self._running)
        for process in running:
            process.kill()
        # Those in use are put away by the threads that use them.
        for _ in range(self._places.qsize()):
            with contextlib.suppress(queue.Empty):
                self._forget(self._places.get_nowait())
                self._places.put(None)

    def __enter__(self) -> "ParserPool":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> "_ParserProcess":
        with self._lock:
            if self._is_closed:
                raise ParseError("limits", "the parser is shut down")
            process = _ParserProcess(self._cpu_s, self._memory_bytes)
            self._running.add(process)
        return process

    def _forget(self, process: "_ParserProcess | None") -> None:
        if process is None:
            return
        with self._lock:
            self._running.discard(process)
        process.stop()


class _ParserProcess:
    """One parser process and the two pipes to it."""

    def __init__(self, cpu_s: int, memory_bytes: int) -> None:
        module = "server.parsing.parser_process"
        arguments = [sys.executable, "-m", module, str(cpu_s), str(memory_bytes)]
        self._process = subprocess.Popen(
            arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            bufsize=0,
            env=_environment(),
            # Away from the terminal's Ctrl-C: this process decides when it ends.
            start_new_session=True,
        )

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def ask(self, request: bytes, *, timeout_s: float) -> tuple[ParsedFeed | tuple[str, str], bool]:
        """Return the answer to one request.

        Raises:
            ParseError: ``limits``, when none came in time or the process died over it.
        """
        try:
            write_frame(self._descriptor("stdin"), request)
            answer = read_frame(self._descriptor("stdout"), timeout_s=timeout_s)
        except TimeoutError as exc:
            raise ParseError("limits", "the document takes too long to parse") from exc
        except (OSError, ValueError) as exc:
            raise ParseError("limits", "the parser died of the document") from exc
        if answer is None:
            raise ParseError("limits", "the document takes too much time or memory to parse")
        # Written by our own code over a private pipe: as trustworthy as the code itself.
        return cast("tuple[ParsedFeed | tuple[str, str], bool]", pickle.loads(answer))

    def kill(self) -> None:
        """End the process at once; whoever waits for its answer is told that it died."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    def stop(self) -> None:
        """Kill the process, wait for its end and close the pipes to it."""
        self.kill()
        self._process.wait(_STOP_S)
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()

    def _descriptor(self, name: str) -> int:
        pipe = getattr(self._process, name)
        return int(pipe.fileno())


def _environment() -> dict[str, str]:
    """Return the variables a parser needs: where the code is, and no secrets of the server."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**kept, "PYTHONPATH": os.pathsep.join(paths), "PYTHONUTF8": "1"}
