"""The time, as something that is handed in, so that tests and simulations can move it."""

import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """What code may ask about time. Tests pass a fake one."""

    def now(self) -> datetime:
        """Return the wall-clock time: aware, UTC, whole milliseconds (MongoDB keeps no more)."""

    def now_ms(self) -> int:
        """Return the wall-clock time in milliseconds since 1970, as BullMQ writes it."""

    def monotonic_s(self) -> float:
        """Return seconds that never run backwards; only differences mean anything."""

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Wait until ``event`` is set or ``timeout_s`` has passed; answer whether it is set."""


class SystemClock:
    """The real time."""

    def now(self) -> datetime:
        return datetime_from_ms(self.now_ms())

    def now_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def monotonic_s(self) -> float:
        return time.monotonic()

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        return event.wait(timeout_s)


class SimulatedClock:
    """A clock that stands still until somebody moves it. Safe for threads."""

    def __init__(self, start: datetime) -> None:
        self._lock = threading.Lock()
        self._epoch_ms = int(start.timestamp() * 1000)
        self._monotonic_s = 1000.0

    def now(self) -> datetime:
        return datetime_from_ms(self._epoch_ms)

    def now_ms(self) -> int:
        return self._epoch_ms

    def monotonic_s(self) -> float:
        return self._monotonic_s

    def wait(self, event: threading.Event, timeout_s: float) -> bool:
        """Let the whole time pass at once."""
        if not event.is_set():
            self.advance(seconds=timeout_s)
        return event.is_set()

    def advance(self, *, seconds: float = 0.0, **delta: float) -> None:
        """Move on by a ``timedelta``'s worth: ``seconds``, ``hours``, ``days``."""
        moved = timedelta(seconds=seconds, **delta)
        with self._lock:
            self._epoch_ms += int(moved.total_seconds() * 1000)
            self._monotonic_s += moved.total_seconds()

    def advance_to(self, moment: datetime) -> None:
        """Move on until it is ``moment``; it may be past already."""
        ahead = moment - self.now()
        if ahead > timedelta(0):
            self.advance(seconds=ahead.total_seconds())


def datetime_from_ms(epoch_ms: int) -> datetime:
    """Turn milliseconds since 1970 into an aware UTC time without losing one to rounding."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
