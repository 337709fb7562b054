"""Each import's outcome, wherever it is decided: one log line and one count; and what it took."""

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime

from prometheus_client import Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from shared.clock import Clock
from shared.logs import get_logger
from shared.store import Import, ImportState

log = get_logger("server.imports")

CountOutcome = Callable[[ImportState], None]

_FETCH_S = (0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 30, 60)
_PARSE_S = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
_BODY_BYTES = tuple(float(1 << power) for power in range(10, 27, 2))


class ImportMetrics(Collector):
    """Fetches, parses and ends of imports in this process. Safe for threads.

    An import's end is counted by the server whose update ended it, so the sum over all servers
    counts each once.
    """

    def __init__(self) -> None:
        self._fetch_s = Histogram(
            "feedmill_fetch_seconds",
            "From a request to the end of its body, redirects included.",
            ["outcome"],
            buckets=_FETCH_S,
            registry=None,
        )
        self._body_bytes = Histogram(
            "feedmill_fetch_body_bytes",
            "Decompressed size of bodies that were fetched.",
            buckets=_BODY_BYTES,
            registry=None,
        )
        self._parse_s = Histogram(
            "feedmill_parse_seconds",
            "From a document to its entries, the wait for a free parser included.",
            buckets=_PARSE_S,
            registry=None,
        )
        self._imports = Counter(
            "feedmill_imports", "Imports that this server ended.", ["state"], registry=None
        )
        for state in (ImportState.COMPLETED, ImportState.FAILED):
            self._imports.labels(str(state))

    def note_fetch(self, outcome: str, duration_s: float, body_bytes: int) -> None:
        """Note one request: ``modified``, ``not_modified`` or the kind of its error."""
        self._fetch_s.labels(outcome).observe(duration_s)
        if body_bytes:
            self._body_bytes.observe(body_bytes)

    def note_parse(self, duration_s: float) -> None:
        """Note one document, readable or not; the wait for a free parser included."""
        self._parse_s.observe(duration_s)

    def note_end(self, state: ImportState) -> None:
        """Count an import's end."""
        self._imports.labels(str(state)).inc()

    def collect(self) -> Iterator[Metric]:
        for metric in (self._fetch_s, self._body_bytes, self._parse_s, self._imports):
            yield from metric.collect()


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
