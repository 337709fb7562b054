"""Messages between the server and its parser processes: length, then bytes."""

import os
import select
import struct
import time
from typing import Final

_HEADER: Final = struct.Struct("!Q")
_CHUNK_BYTES = 1 << 20


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
