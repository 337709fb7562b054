"""x"""

import gc
import os
import pickle
import queue
import resource
import select
import signal
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Final, cast

from server.parsing import ParsedFeed, parse_feed
from server.parsing.discovery import WebPageError
from server.parsing.lenient import Salvage
from server.parsing.parsed import Refusal
from shared.errors import ErrorKind, ParseError

_HEADER: Final = struct.Struct("!Q")
_CHUNK_BYTES = 1 << 20
# A process that grew beyond this answers and makes way for a small one.
RETIRE_ABOVE_BYTES = 400 * 1024 * 1024


def write_frame(descriptor: int, payload: bytes, *, timeout_s: float | None = None) -> None:
    """Write one message; waits until the other side has taken it.

    With ``timeout_s`` the descriptor has to be a non-blocking one.

    Raises:
        OSError: the other side is gone.
        TimeoutError: it did not take the whole message in ``timeout_s`` seconds.
    """
    ends_at = None if timeout_s is None else time.monotonic() + timeout_s
    for part in (_HEADER.pack(len(payload)), payload):
        view = memoryview(part)
        while view:
            if ends_at is not None:
                _wait_ready(descriptor, select.POLLOUT, ends_at)
            view = view[_write_some(descriptor, view) :]


def read_frame(descriptor: int, *, timeout_s: float | None = None) -> bytes | None:
    """Return one message, or None when the other side closed its end.

    Raises:
        TimeoutError: the whole message did not arrive in ``timeout_s`` seconds.
    """
    ends_at = None if timeout_s is None else time.monotonic() + timeout_s
    header = _read_exactly(descriptor, _HEADER.size, ends_at)
    if header is None:
        return None
    return _read_exactly(descriptor, _HEADER.unpack(header)[0], ends_at)


def _read_exactly(descriptor: int, size: int, ends_at: float | None) -> bytes | None:
    pieces = bytearray()
    while len(pieces) < size:
        if ends_at is not None:
            _wait_ready(descriptor, select.POLLIN, ends_at)
        piece = os.read(descriptor, min(size - len(pieces), _CHUNK_BYTES))
        if not piece:
            return None
        pieces += piece
    return bytes(pieces)


def _write_some(descriptor: int, view: memoryview) -> int:
    try:
        return os.write(descriptor, view)
    except BlockingIOError:
        return 0


def _wait_ready(descriptor: int, event: int, ends_at: float) -> None:
    poller = select.poll()
    poller.register(descriptor, event)
    remaining_ms = max(0.0, ends_at - time.monotonic()) * 1000
    if not poller.poll(remaining_ms):
        raise TimeoutError("the other side did not answer in time")


def main() -> None:
    """Serve until the input closes."""
    cpu_s, memory_bytes = int(sys.argv[1]), int(sys.argv[2])
    salvage = cast("Salvage", sys.argv[3])
    output = _take_output()
    _limit_memory(memory_bytes)
    requests: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(requests,), daemon=True).start()
    # Trees of a document hold no cycles, and looking for some takes a third of the time.
    gc.disable()
    is_retiring = False
    while not is_retiring:
        request = requests.get()
        _limit_cpu(cpu_s)
        outcome = _parse(request, salvage)
        gc.collect()
        is_retiring = _is_grown()
        write_frame(output, pickle.dumps((outcome, is_retiring), pickle.HIGHEST_PROTOCOL))


def _take_output() -> int:
    """Keep the answers' channel to ourselves: whatever prints goes to standard error."""
    output = os.dup(1)
    os.dup2(2, 1)
    return output


def _read_requests(requests: "queue.SimpleQueue[bytes]") -> None:
    """Read until the input closes, then end the process.

    Any error ends it too, a request too large for its memory above all. Else the server would wait
    for a process that no longer reads, and that would outlive it.
    """
    exit_code = 1
    try:
        while (request := read_frame(0)) is not None:
            requests.put(request)
        exit_code = 0
    finally:
        os._exit(exit_code)


def _parse(request: bytes, salvage: Salvage) -> ParsedFeed | Refusal:
    """Return the feed, or why it is refused."""
    try:
        body, content_type, url, now = pickle.loads(request)
        return parse_feed(body, content_type=content_type, url=url, now=now, salvage=salvage)
    except WebPageError as exc:
        return Refusal(exc.kind, str(exc), exc.feeds)
    except ParseError as exc:
        return Refusal(exc.kind, str(exc))
    except MemoryError:
        return Refusal(ErrorKind.LIMITS, "the document takes too much memory")
    except RecursionError:
        return Refusal(ErrorKind.REFUSED, "elements are nested too deep")


def _limit_memory(memory_bytes: int) -> None:
    _set_soft_limit(resource.RLIMIT_AS, memory_bytes)
    _set_soft_limit(resource.RLIMIT_CORE, 0)
    # Nothing here has a reason to write a file.
    _set_soft_limit(resource.RLIMIT_FSIZE, 0)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)


def _limit_cpu(cpu_s: int) -> None:
    """Allow this document ``cpu_s`` seconds beyond what the earlier ones used."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    _set_soft_limit(resource.RLIMIT_CPU, int(used.ru_utime + used.ru_stime) + 1 + cpu_s)


def _set_soft_limit(kind: int, value: int) -> None:
    _, hard = resource.getrlimit(kind)
    soft = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(kind, (soft, hard))


def _is_grown() -> bool:
    return _peak_bytes() > RETIRE_ABOVE_BYTES


def _peak_bytes() -> int:
    """Return the most memory that this process held.

    Not from getrusage where /proc tells: there a new process begins with its parent's peak, and
    that of a large server would let every parser retire after one document.
    """
    status = Path("/proc/self/status")
    for line in status.read_text().splitlines() if status.exists() else ():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    unit_bytes = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit_bytes


if __name__ == "__main__":
    main()
