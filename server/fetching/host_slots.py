"""How many fetches ask one host at a time, in this process."""

import random
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

from shared.clock import Clock
from shared.errors import Postponed

# What a fetch takes, until one has shown it.
FIRST_GUESS_S = 0.25
# Longer lines are asked again in between: the host may have become faster, or the line shorter.
MAX_DELAY_S = 300.0
# How much the latest fetch counts in the mean.
_NEWEST_WEIGHT = 0.3
# What a fetch counts for at most, in means: a single slow one must not send all others far away.
_MOST_MEANS = 4.0
# Longer than any run may take.
DEFAULT_LEASE_S = 300.0
# Beyond it, hosts that nobody asks or waits for are forgotten.
_MAX_KNOWN = 1000


@dataclass(slots=True)
class _Host:
    """One host: since when its slots are taken, how long a fetch takes, when its line ends."""

    taken_since_s: dict[int, float] = field(default_factory=dict)
    fetch_s: float = FIRST_GUESS_S
    line_ends_s: float = float("-inf")


class HostSlots:
    """Slots to fetch from each host, ``max_per_host`` of them. Safe for threads.

    Whoever needs slots at several hosts gets all of them at once or none, and nobody waits here:
    so there is no deadlock, and no thread is idle while other hosts could be asked. Who gets none
    is given a time to come again, a time for each, one after the other at the pace
    at which the host's fetches have ended so far, so that most find a slot when they come. While
    no fetch ends that pace slows down: nobody comes in vain again and again.

    A slot is lent for ``lease_s`` at most; whoever has it longer is taken to be stuck.
    """

    def __init__(
        self,
        max_per_host: int,
        clock: Clock,
        *,
        draw: Callable[[], float] = random.random,
        lease_s: float = DEFAULT_LEASE_S,
    ) -> None:
        self._max_per_host = max_per_host
        self._clock = clock
        self._draw = draw
        self._lease_s = lease_s
        self._numbers = count()
        self._hosts: dict[str, _Host] = {}
        self._lock = threading.Lock()

    @contextmanager
    def hold(self, hosts: Collection[str]) -> Iterator[None]:
        """Hold a slot at each of these hosts (each named once); of no host is always possible.

        Raises:
            Postponed: one of them has no slot left; none was taken.
        """
        number, started_s = self._take(hosts)
        try:
            yield
        finally:
            self._give_back(hosts, number, self._clock.monotonic_s() - started_s)

    def _take(self, hosts: Collection[str]) -> tuple[int, float]:
        with self._lock:
            now_s = self._clock.monotonic_s()
            known = {name: self._hosts.setdefault(name, _Host()) for name in hosts}
            for host in known.values():
                self._end_leases(host, now_s)
            full = {name: host for name, host in known.items() if self._is_full(host)}
            if full:
                delay_s = max(self._line_up(host, now_s) for host in full.values())
                raise Postponed(round(delay_s * 1000), f"{', '.join(full)}: asked enough for now")
            number = next(self._numbers)
            for host in known.values():
                host.taken_since_s[number] = now_s
            return number, now_s

    def _give_back(self, hosts: Collection[str], number: int, held_s: float) -> None:
        with self._lock:
            for name in hosts:
                host = self._hosts.get(name)
                # None, or not taken: its lease has ended.
                if host is None or host.taken_since_s.pop(number, None) is None:
                    continue
                counted_s = min(held_s, host.fetch_s * _MOST_MEANS)
                host.fetch_s += (counted_s - host.fetch_s) * _NEWEST_WEIGHT
            if len(self._hosts) > _MAX_KNOWN:
                self._forget_idle()

    def _end_leases(self, host: _Host, now_s: float) -> None:
        oldest_s = now_s - self._lease_s
        for number, since_s in list(host.taken_since_s.items()):
            if since_s < oldest_s:
                del host.taken_since_s[number]

    def _is_full(self, host: _Host) -> bool:
        return len(host.taken_since_s) >= self._max_per_host

    def _line_up(self, host: _Host, now_s: float) -> float:
        """Return in how many seconds the next in line may come."""
        latest_s = now_s + MAX_DELAY_S
        # The fetch that began last has taken this long already, so the next may too.
        youngest_s = now_s - max(host.taken_since_s.values())
        pace_s = max(host.fetch_s, youngest_s) / self._max_per_host
        turn_s = max(host.line_ends_s, now_s) + pace_s
        host.line_ends_s = min(turn_s, latest_s)
        if turn_s > latest_s:
            return MAX_DELAY_S * (1 + self._draw()) / 2
        return turn_s - now_s

    def _forget_idle(self) -> None:
        now_s = self._clock.monotonic_s()
        self._hosts = {
            name: host
            for name, host in self._hosts.items()
            if host.taken_since_s or host.line_ends_s > now_s
        }
