"""What the HTTP API works with: everything the composition root has made, in one place."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from server.feeds.discovery import FeedDiscoverer
from server.feeds.service import FeedService
from server.feeds.starter import ImportStarter
from server.importing.metrics import ImportMetrics
from shared.clock import Clock
from shared.queue import JobQueue, JobState
from shared.settings import Settings
from shared.store import Import, Stores
from shared.supervision import Supervisor


class Replayed(Protocol):
    """How a replay went: ``replayed`` items, in one import a source."""

    @property
    def replayed(self) -> int:
        """Return how many dead letters were taken."""

    @property
    def imports(self) -> list[Import]:
        """Return the imports that bring them home."""


class ReplaysDeadLetters(Protocol):
    """What the API needs of the replayer."""

    def replay(
        self,
        *,
        item_ids: Sequence[str] | None = None,
        source: str | None = None,
        cause: str | None = None,
        everything: bool = False,
    ) -> Replayed:
        """Bring dead letters (not removed ones) back; exactly one way to choose is given."""


class Removes(Protocol):
    """What the API needs of the remover: all that leaves a ``removed`` record behind."""

    def remove_dead_letter(self, item_id: str) -> None:
        """Mark a dead letter removed.

        NotFoundError when there is none, ConflictError while a replay of it is being run.
        """

    def remove_job(self, queue: JobQueue, job_id: str) -> None:
        """Remove a job; NotFoundError when there is none, ConflictError while it is locked."""

    def clean(self, queue: JobQueue, state: JobState, grace_ms: int) -> int:
        """Remove a state's jobs that are at least ``grace_ms`` old; returns how many."""


@dataclass(frozen=True, slots=True)
class Services:
    """The parts that serve requests. Every one is safe for threads."""

    settings: Settings
    clock: Clock
    stores: Stores
    light_queue: JobQueue
    heavy_queue: JobQueue
    dead_letter_queue: JobQueue
    fetch_queue: JobQueue
    starter: ImportStarter
    feeds: FeedService
    discoverer: FeedDiscoverer
    replayer: ReplaysDeadLetters
    remover: Removes
    supervisor: Supervisor
    import_metrics: ImportMetrics = field(default_factory=ImportMetrics)

    @property
    def queues(self) -> dict[str, JobQueue]:
        """Return all queues by name, in the order they are shown."""
        shown = (self.light_queue, self.heavy_queue, self.fetch_queue, self.dead_letter_queue)
        return {queue.name: queue for queue in shown}
