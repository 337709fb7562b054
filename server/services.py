"""What the HTTP API works with: everything the composition root has made, in one place."""

from dataclasses import dataclass

from server.feeds.backfills import BackFills
from server.feeds.discovery import FeedDiscoverer
from server.feeds.outcomes import ImportMetrics
from server.feeds.retry_after import RetryAfter
from server.feeds.service import FeedService
from server.feeds.starter import ImportStarter
from server.feeds.windows import Windows
from server.importing.dispatcher import Dispatcher
from server.importing.remover import Remover
from server.importing.replayer import Replayer
from server.importing.rollbacks import Rollbacks
from server.item_limits import ItemLimiter
from server.own_queues import OwnQueues
from shared.clock import Clock
from shared.queue import JobQueue
from shared.settings import Settings
from shared.store import Stores
from shared.supervision import Supervisor


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
    own_queues: OwnQueues
    item_limiter: ItemLimiter
    starter: ImportStarter
    feeds: FeedService
    windows: Windows
    backfills: BackFills
    dispatcher: Dispatcher
    rollbacks: Rollbacks
    retry_after: RetryAfter
    discoverer: FeedDiscoverer
    replayer: Replayer
    remover: Remover
    supervisor: Supervisor
    import_metrics: ImportMetrics

    @property
    def queues(self) -> dict[str, JobQueue]:
        """Return all queues by name, in the order they are shown: programs' own come last."""
        shown = (self.light_queue, self.heavy_queue, self.fetch_queue, self.dead_letter_queue)
        own = {name: own.queue for name, own in self.own_queues.read().items()}
        return {**{queue.name: queue for queue in shown}, **own}
