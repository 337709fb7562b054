"""Stops the claims while MongoDB cannot store anything, or Redis cannot settle it."""

import threading

from shared.clock import Clock
from shared.logs import get_logger

log = get_logger("worker.breaker")


class Breaker:
    """Open while a store is away. Safe for threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._mutex = threading.Lock()
        self._opened_s: float | None = None
        self._reason = ""

    @property
    def is_open(self) -> bool:
        """Whether nothing may be claimed now."""
        return self._opened_s is not None

    def open_for_s(self) -> float:
        """Return for how many seconds it has been open; 0 when it is closed."""
        opened_s = self._opened_s
        return 0.0 if opened_s is None else self._clock.monotonic_s() - opened_s

    @property
    def reason(self) -> str | None:
        """Why it is open; None when it is closed."""
        return self._reason if self.is_open else None

    def trip(self, reason: str) -> None:
        """Open it, if it is not."""
        with self._mutex:
            if self._opened_s is not None:
                return
            self._reason = reason
            self._opened_s = self._clock.monotonic_s()
        log.warning("breaker_opened", reason=reason)

    def close(self) -> None:
        """Close it, if it is open."""
        with self._mutex:
            if self._opened_s is None:
                return
            open_s = self._clock.monotonic_s() - self._opened_s
            self._opened_s = None
        log.info("breaker_closed", open_s=round(open_s, 1))
