"""A stand-in for the time, which tests cannot have for real."""

import threading
from datetime import UTC, datetime, timedelta

from shared.clock import datetime_from_ms


class FakeClock:
    """A clock that stands still until a test moves it. Safe for threads."""

    def __init__(self, start: datetime = datetime(2026, 11, 1, 12, tzinfo=UTC)) -> None:
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
