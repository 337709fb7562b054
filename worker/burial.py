"""Takes jobs that cannot be read to their end, however long the stores are away."""

import threading
from collections.abc import Sequence

from shared.logs import get_logger
from worker.dead_letterer import DyingJob
from worker.settlement import RecordDeadLetter, Settlement
from worker.settler import SettlementRunner

log = get_logger("worker.burial")


class BurialRunner:
    """Dead-letters jobs of one queue, trying again until it is done. Safe for threads."""

    def __init__(self, settlements: SettlementRunner) -> None:
        self._settlements = settlements

    def run(self, dying: Sequence[DyingJob], stop: threading.Event) -> None:
        """Record and move all of them; stopped midway, the jobs stay in the holdings."""
        queue = dying[0].queue
        if self._settlements.run(Settlement(queue, [RecordDeadLetter(one) for one in dying]), stop):
            log.warning("jobs_died", queue=queue.name, jobs=len(dying))
