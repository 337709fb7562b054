"""Each import's outcome, wherever it is decided: one log line and one count."""

from collections.abc import Callable, Mapping
from datetime import datetime

from shared.clock import Clock
from shared.logs import get_logger
from shared.store import Import, ImportState

log = get_logger("server.imports")

CountOutcome = Callable[[ImportState], None]


class Outcomes:
    """Called right after the guarded update that ended an import, by whoever's update it was.

    ``count`` is called with the state in which it ended. Safe for threads.
    """

    def __init__(self, clock: Clock, count: CountOutcome = lambda _state: None) -> None:
        self._clock = clock
        self._count = count

    def report_completed(
        self, importing: Import, counts: Mapping[str, int], *, queue: str | None, **fields: object
    ) -> None:
        """Log and count an import that is complete; counts of zero are left out of the line."""
        self._count(ImportState.COMPLETED)
        log.info(
            "import_completed",
            **self._about(importing),
            queue=queue,
            **fields,
            **{name: count for name, count in counts.items() if count},
        )

    def report_failed(self, importing: Import, error: str) -> None:
        """Log and count an import of which nothing could be had, and why."""
        self._count(ImportState.FAILED)
        log.warning("import_failed", **self._about(importing), error=error)

    def _about(self, importing: Import) -> dict[str, object]:
        return {
            "import_id": importing.import_id,
            "source": importing.source,
            "trigger": importing.trigger,
            "duration_s": _seconds(importing.requested_at, self._clock.now()),
        }


def _seconds(start: datetime, end: datetime) -> float:
    return round((end - start).total_seconds(), 3)
