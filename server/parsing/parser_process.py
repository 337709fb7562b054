"""A process that parses one document at a time and can be killed without harm.

Started by ``isolation.ParserPool`` with a fresh interpreter: ``python -m
server.parsing.parser_process CPU_S MEMORY_BYTES LENIENCE``. Standard input is a socket: requests
come in, answers go out, each as its length and its bytes. The process ends when the other side
closes it, even in the middle of a document, so that nothing is left behind however the server died.
"""

import gc
import os
import pickle
import queue
import resource
import signal
import socket
import struct
import sys
import threading
import time
from pathlib import Path
from typing import Final, cast

from server.parsing import ParsedFeed, parse_feed
from server.parsing.lenient import Lenience
from server.parsing.page_feeds import WebPageError
from server.parsing.parsed import Refusal
from shared.error_kinds import ErrorKind
from shared.errors import ParseError

# The feed or its refusal, and whether the process ends after this answer.
Answer = tuple[ParsedFeed | Refusal, bool]

# A process that grew beyond this answers and makes way for a small one.
RETIRE_ABOVE_BYTES = 400 * 1024 * 1024
_HEADER: Final = struct.Struct("!Q")
_SHORTEST_WAIT_S = 0.001


def send_message(connection: socket.socket, payload: bytes, ends_at: float | None = None) -> None:
    """Send one message; waits until the other side has taken it.

    Raises:
        OSError: the other side is gone; as ``TimeoutError``, it did not take the whole message by
            ``ends_at`` of the monotonic clock.
    """
    for part in (_HEADER.pack(len(payload)), payload):
        _limit_wait(connection, ends_at)
        connection.sendall(part)


def receive_message(connection: socket.socket, ends_at: float | None = None) -> bytearray | None:
    """Return one message, or None when the other side closed its end.

    Raises:
        OSError: the other side is gone; as ``TimeoutError``, the whole message did not arrive by
            ``ends_at`` of the monotonic clock.
    """
    header = _receive(connection, _HEADER.size, ends_at)
    if header is None:
        return None
    return _receive(connection, _HEADER.unpack(header)[0], ends_at)


def _receive(connection: socket.socket, size: int, ends_at: float | None) -> bytearray | None:
    received = bytearray(size)
    rest = memoryview(received)
    while rest:
        _limit_wait(connection, ends_at)
        count = connection.recv_into(rest)
        if not count:
            return None
        rest = rest[count:]
    return received


def _limit_wait(connection: socket.socket, ends_at: float | None) -> None:
    if ends_at is not None:
        connection.settimeout(max(ends_at - time.monotonic(), _SHORTEST_WAIT_S))


def main() -> None:
    """Serve until the other side closes the connection."""
    cpu_s, memory_bytes, lenience = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3]
    connection = socket.socket(fileno=0)
    _limit_memory(memory_bytes)
    requests: queue.SimpleQueue[bytearray] = queue.SimpleQueue()
    threading.Thread(target=_read_requests, args=(connection, requests), daemon=True).start()
    # Trees of a document hold no cycles, and looking for some takes a third of the time.
    gc.disable()
    gc.freeze()
    is_retiring = False
    while not is_retiring:
        request = requests.get()
        _limit_cpu(cpu_s)
        outcome = _parse(request, cast("Lenience", lenience))
        is_retiring = _is_grown()
        answer = pickle.dumps((outcome, is_retiring), pickle.HIGHEST_PROTOCOL)
        del outcome
        send_message(connection, answer)
        gc.collect()


def _read_requests(connection: socket.socket, requests: "queue.SimpleQueue[bytearray]") -> None:
    """Read until the other side closes the connection, then end the process.

    Any error ends it too, a request too large for its memory above all. Else the server would wait
    for a process that no longer reads, and that would outlive it.
    """
    exit_code = 1
    try:
        while (request := receive_message(connection)) is not None:
            requests.put(request)
        exit_code = 0
    finally:
        os._exit(exit_code)


def _parse(request: bytearray, lenience: Lenience) -> ParsedFeed | Refusal:
    """Return the feed, or why it is refused."""
    try:
        body, content_type, url, now = pickle.loads(request)
        return parse_feed(body, content_type=content_type, url=url, now=now, lenience=lenience)
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
