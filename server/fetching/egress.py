"""Tells a broken publisher from a broken line of our own."""

import threading

from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import FetchError
from shared.urls import host_of

WINDOW_S = 60.0
MIN_HOSTS = 5
# Nothing but silence from the other side: a name not found, a connection not made.
UNREACHABLE = frozenset({ErrorKind.DNS, ErrorKind.CONNECT})


class Egress:
    """Watches the ends of all fetches of this server. Safe for threads.

    It is us when within a minute at least five hosts could not be reached and no host was: any
    answer, be it an error, proves that the line works.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed_s: dict[str, float] = {}
        self._reached_s = float("-inf")

    def note_end(self, url: str, error: FetchError | None) -> None:
        """Take in how a fetch of ``url`` ended; ``error`` is None for an answer with a feed.

        One that failed at the target of a redirect reached the host that redirected.
        """
        now_s = self._clock.monotonic_s()
        first = host_of(url)
        with self._lock:
            if error is None or error.http_status is not None or error.host not in (None, first):
                self._reached_s = now_s
            elif error.kind in UNREACHABLE:
                self._failed_s[first] = now_s
            self._forget_old(now_s)

    def is_out(self) -> bool:
        """Return whether this server seems to be cut off from all hosts."""
        now_s = self._clock.monotonic_s()
        with self._lock:
            self._forget_old(now_s)
            return len(self._failed_s) >= MIN_HOSTS and now_s - self._reached_s > WINDOW_S

    def _forget_old(self, now_s: float) -> None:
        old = [host for host, at_s in self._failed_s.items() if now_s - at_s > WINDOW_S]
        for host in old:
            del self._failed_s[host]
