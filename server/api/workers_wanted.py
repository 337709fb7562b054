"""How many workers an item queue can use now: the number that an autoscaler follows.

    needed = ready / (per worker and second * DRAIN_S)      to work off what is ready within DRAIN_S
    useful = rate limit per second / per worker and second  what the rate limit lets work
    wanted = max(1, ceil(min(needed, useful)))

``ready`` is what may start now, with what is in flight: not what is delayed, nor what waits in the
line of its source. Never 0: workers do the upkeep of item queues. A paused queue wants 1, and while
MongoDB stores nothing more workers than there are would not help.
"""

import math
import threading
from dataclasses import dataclass

from shared.clock import Clock

# Within this a backlog is to be worked off, by the speed that one worker has shown.
DRAIN_S = 60.0
# Of one worker, items a second, until its own speed is known.
ASSUMED_PER_WORKER = 100.0
# A worker that was that fast once counts half as fast after so long at full speed. So slow that
# workers which share a busy MongoDB do not look as if each needed many more beside it.
HALF_LIFE_S = 600.0
# A speed is believed after so long at full speed: shorter ones are still of the time before it.
LEARN_S = 60.0
_SLOWEST = 0.1


@dataclass(frozen=True, slots=True)
class Load:
    """What an item queue has to do, and what else limits it."""

    ready: int
    workers: int
    limit_per_s: float | None = None
    is_paused: bool = False
    is_store_away: bool = False


def count_workers_wanted(load: Load, per_worker: float) -> int:
    """Return how many workers are useful; ``per_worker`` is what one does in a second."""
    if load.is_paused:
        return 1
    wanted = load.ready / (per_worker * DRAIN_S)
    if load.limit_per_s is not None:
        wanted = min(wanted, load.limit_per_s / per_worker)
    if load.is_store_away:
        wanted = min(wanted, load.workers)
    return max(1, math.ceil(wanted))


class WorkerSpeed:
    """Learns what one worker does in a second from what a queue's workers do. Safe for threads.

    It is the highest speed of late: when a queue idles or its rate limit holds, a worker could do
    more than it does.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._known: float | None = None
        # Since when the workers have been at full speed without a break, and when that was seen.
        self._busy_since_s: float | None = None
        self._seen_s = 0.0

    def learn(self, rate_per_s: float | None, workers: int, *, is_busy: bool) -> float:
        """Take in a rate of all workers together; returns items a second of one of them.

        ``is_busy``: nothing but the workers limits the queue.
        """
        with self._lock:
            now_s = self._clock.monotonic_s()
            if rate_per_s is not None and workers:
                self._take(max(rate_per_s / workers, _SLOWEST), now_s, is_busy=is_busy)
            if not is_busy:
                self._busy_since_s = None
            elif self._busy_since_s is None:
                self._busy_since_s = now_s
            self._seen_s = now_s
            return self._speed

    @property
    def _speed(self) -> float:
        return ASSUMED_PER_WORKER if self._known is None else self._known

    def _take(self, measured: float, now_s: float, *, is_busy: bool) -> None:
        is_settled = self._busy_since_s is not None and now_s - self._busy_since_s >= LEARN_S
        if not (is_busy and is_settled):
            if measured > self._speed:
                self._known = measured
        elif self._known is None:
            self._known = measured
        else:
            faded = self._known * 0.5 ** ((now_s - self._seen_s) / HALF_LIFE_S)
            self._known = max(measured, faded)
