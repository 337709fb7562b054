"""The hosts that asked to be left alone: to look at, and to ask again all the same."""

from dataclasses import dataclass
from datetime import datetime

from shared.clock import Clock
from shared.errors import NotFoundError
from shared.store import Stores

MAX_SHOWN = 500
LIFTED = "an operator lifted the host's Retry-After"


@dataclass(frozen=True, slots=True)
class HeldHost:
    """A host that is not asked before ``until``; ``feeds`` have their first URL there."""

    host: str
    until: datetime
    feeds: int


class HeldHosts:
    """Shows hosts whose Retry-After runs, and lifts it. Safe for threads."""

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._stores = stores
        self._clock = clock

    def list(self) -> list[HeldHost]:
        """Return the hosts that are not to be asked now, longest first, at most 500."""
        held = self._stores.hosts.find_blocked(self._clock.now(), MAX_SHOWN)
        counts = self._stores.feeds.count_by_host(held)
        return [HeldHost(host, until, counts.get(host, 0)) for host, until in held.items()]

    def lift(self, host: str) -> int:
        """Let a host be asked again; its feeds that waited for it are due now.

        Returns how many those are. The next Retry-After of the host counts again.

        Raises:
            NotFoundError: the host is not held.
        """
        now = self._clock.now()
        until = self._stores.hosts.blocked_until(host, now)
        if until is None:
            raise NotFoundError(f"host {host[:200]!r} does not ask to be left alone")
        self._stores.hosts.release(host)
        return self._stores.feeds.release_host(host, now, LIFTED)
