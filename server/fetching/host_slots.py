"""How many fetches ask one host at a time, in this process."""

import random
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from shared.clock import Clock
from shared.errors import Postponed

# What a fetch takes, until one has shown it.
FIRST_GUESS_S = 0.25
# Longer lines are asked again in between: the host may have become faster, or the line shorter.
MAX_DELAY_S = 300.0
# How much the latest fetch counts in the mean.
_NEWEST_WEIGHT = 0.3
# Beyond it, hosts that nobody asks or waits for are forgotten.
_MAX_KNOWN = 1000


@dataclass(slots=True)
class _Host:
    """One host: its fetches under way, how long one takes, and when the last in line may come."""

    taken: int = 0
    fetch_s: float = FIRST_GUESS_S
    line_ends_s: float = float("-inf")


class HostSlots:
    """Places to fetch from each host, ``max_per_host`` of them. Safe for threads.

    Whoever needs places at several hosts gets all of them at once or none, and nobody waits here:
    so there is no deadlock, and no thread is idle while other hosts could be asked. Who gets none
    is told when to come again. Each is given a moment of his own, one after the other at the pace
    at which the host's fetches have ended so far, so that most find a place when they come.
    """

    def __init__(
        self, max_per_host: int, clock: Clock, *, draw: Callable[[], float] = random.random
    ) -> None:
        self._max_per_host = max_per_host
        self._clock = clock
        self._draw = draw
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, hosts: Collection[str]) -> Iterator[None]:
        """Hold a place at each of these hosts (each named once); of no host is always possible.

        Raises:
            Postponed: one of them has no place left; none was taken.
        """
        self._take(hosts)
        started_s = self._clock.monotonic_s()
        try:
            yield
        finally:
            self._give_back(hosts, self._clock.monotonic_s() - started_s)

    def _take(self, hosts: Collection[str]) -> None:
        with self._lock:
            known = {name: self._hosts.setdefault(name, _Host()) for name in hosts}
            full = {name: host for name, host in known.items() if self._is_full(host)}
            if full:
                delay_s = max(self._line_up(host) for host in full.values())
                raise Postponed(round(delay_s * 1000), f"{', '.join(full)}: asked enough for now")
            for host in known.values():
                host.taken += 1

    def _give_back(self, hosts: Collection[str], held_s: float) -> None:
        with self._lock:
            for name in hosts:
                host = self._hosts[name]
                host.taken -= 1
                host.fetch_s += (held_s - host.fetch_s) * _NEWEST_WEIGHT
            if len(self._hosts) > _MAX_KNOWN:
                self._forget_idle()

    def _is_full(self, host: _Host) -> bool:
        return host.taken >= self._max_per_host

    def _line_up(self, host: _Host) -> float:
        """Return in how many seconds the next in line may come."""
        now_s = self._clock.monotonic_s()
        latest_s = now_s + MAX_DELAY_S
        turn_s = max(host.line_ends_s, now_s) + host.fetch_s / self._max_per_host
        host.line_ends_s = min(turn_s, latest_s)
        if turn_s > latest_s:
            return MAX_DELAY_S * (1 + self._draw()) / 2
        return turn_s - now_s

    def _forget_idle(self) -> None:
        now_s = self._clock.monotonic_s()
        self._hosts = {
            name: host
            for name, host in self._hosts.items()
            if host.taken or host.line_ends_s > now_s
        }
