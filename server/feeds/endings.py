"""Tells of each import's end, wherever it comes: one log line, and one call for whoever counts."""

from collections.abc import Callable, Mapping
from datetime import datetime

from shared.clock import Clock
from shared.logs import get_logger
from shared.store import Import, ImportState

log = get_logger("server.imports")

NoteEnd = Callable[[ImportState], None]


class Endings:
    """Called right after the guarded update that ended an import, by whoever's update it was.

    ``note_end`` is told the state in which it ended. Safe for threads.
    """

    def __init__(self, clock: Clock, note_end: NoteEnd = lambda _state: None) -> None:
        self._clock = clock
        self._note_end = note_end

    def tell_completed(
        self, importing: Import, counts: Mapping[str, int], *, queue: str | None, **fields: object
    ) -> None:
        """Tell that an import is complete; counts of zero are left out of the line."""
        self._note_end(ImportState.COMPLETED)
        log.info(
            "import_completed",
            **self._about(importing),
            queue=queue,
            **fields,
            **{name: count for name, count in counts.items() if count},
        )

    def tell_failed(self, importing: Import, error: str) -> None:
        """Tell that nothing could be imported, and why."""
        self._note_end(ImportState.FAILED)
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
