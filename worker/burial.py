"""Takes jobs that cannot be read to their end, however long the stores are away."""

import threading
from collections.abc import Sequence

from shared.clock import Clock
from shared.errors import QueueError, StoreError
from shared.logs import get_logger
from shared.queue import Lock
from worker.batch_runner import pause_s
from worker.breaker import Breaker
from worker.dead_letterer import DeadLetterer, DyingJob
from worker.holdings import Holdings

log = get_logger("worker.burial")


class BurialRunner:
    """Dead-letters jobs of one queue, trying again until it is done. Safe for threads."""

    def __init__(
        self, *, dead_letterer: DeadLetterer, holdings: Holdings, breaker: Breaker, clock: Clock
    ) -> None:
        self._dead_letterer = dead_letterer
        self._holdings = holdings
        self._breaker = breaker
        self._clock = clock

    def run(self, dying: Sequence[DyingJob], stop: threading.Event) -> None:
        """Bury all of them; stopped midway, the jobs stay in the holdings."""
        queue = dying[0].queue
        failures = 0
        while not stop.is_set():
            try:
                self._dead_letterer.bury(queue, dying)
            except StoreError as exc:
                self._breaker.trip(str(exc))
            except QueueError as exc:
                log.warning("burial_failed", jobs=len(dying), error=str(exc))
            else:
                self._holdings.remove(queue, [Lock(d.job.id, d.job.token) for d in dying])
                self._breaker.close()
                log.warning("jobs_died", queue=queue.name, jobs=len(dying))
                return
            failures += 1
            self._clock.wait(stop, pause_s(failures))
