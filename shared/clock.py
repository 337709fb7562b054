"""The time, as something that is handed in, so that tests can move it."""

import threading
import time
from datetime import UTC, datetime
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


def datetime_from_ms(epoch_ms: int) -> datetime:
    """Turn milliseconds since 1970 into an aware UTC time without losing one to rounding."""
    seconds, milliseconds = divmod(epoch_ms, 1000)
    return datetime.fromtimestamp(seconds, UTC).replace(microsecond=milliseconds * 1000)
