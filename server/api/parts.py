"""What route handlers work with, made once an application."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import Depends, Request
from starlette.exceptions import HTTPException

from server.api.events import ImportEvents
from server.api.guards import StartLimit
from server.api.import_answers import ImportReader
from server.api.metrics import Metrics, WorkersWantedMetrics
from server.api.queue_status import QueueRole, QueueStatus
from server.api.readiness import Readiness, StorePings
from server.services import Services
from shared.errors import NotFoundError
from shared.queue import JobQueue, RateLimit, WorkerSigns


@dataclass(frozen=True, slots=True)
class ApiParts:
    """The services, and what the API itself adds to them."""

    services: Services
    imports: ImportReader
    events: ImportEvents
    worker_signs: WorkerSigns
    queue_status: QueueStatus
    start_limit: StartLimit
    readiness: Readiness
    metrics: Metrics

    @classmethod
    def of(cls, services: Services) -> "ApiParts":
        """Make all parts; nothing is asked of a store yet."""
        settings = services.settings
        item_queues = (services.light_queue, services.heavy_queue)
        signs = WorkerSigns(services.fetch_queue.client, prefix=settings.queue_prefix)
        imports = ImportReader(services.stores.imports, item_queues)
        pings = StorePings(services.fetch_queue, services.stores, services.clock)
        queue_status = QueueStatus(
            _queue_roles(services),
            partial(_rate_limits, services),
            services.own_queues,
            signs,
            services.clock,
        )
        return cls(
            services=services,
            imports=imports,
            events=ImportEvents(imports.read_many),
            worker_signs=signs,
            queue_status=queue_status,
            start_limit=StartLimit(
                settings.api_rate_limit,
                client=services.fetch_queue.client,
                key_prefix=f"{settings.queue_prefix}:own:limits",
            ),
            readiness=Readiness({"Redis": pings.ping_redis, "MongoDB": pings.ping_mongodb}),
            metrics=Metrics.of(services, WorkersWantedMetrics(queue_status.count_workers_wanted)),
        )

    def get_queue(self, name: str) -> JobQueue:
        """Return a queue.

        Raises:
            NotFoundError: none has this name.
        """
        queues = self.services.queues
        if name not in queues:
            raise NotFoundError(f"there is no queue {name[:80]!r}; queues: {', '.join(queues)}")
        return queues[name]


async def get_parts(request: Request) -> ApiParts:
    """Return the parts of the application that serves this request."""
    parts: ApiParts = request.app.state.parts
    return parts


Parts = Annotated[ApiParts, Depends(get_parts)]


async def read_body(request: Request) -> bytes:
    """Return the whole body; the size limit has been enforced on the way."""
    return await request.body()


def count_start(request: Request, parts: Parts) -> None:
    """Count a call that starts work against its client's limit; answers 429 beyond it."""
    client = request.client.host if request.client is not None else "unknown"
    wait_s = parts.start_limit.count(client)
    if wait_s is not None:
        raise HTTPException(
            429,
            f"more than {parts.services.settings.api_rate_limit} calls that start work "
            "(API_RATE_LIMIT); "
            f"try again in {wait_s} s",
            {"Retry-After": str(wait_s)},
        )


def _queue_roles(services: Services) -> dict[QueueRole, Sequence[JobQueue]]:
    return {
        QueueRole.ITEMS: (services.light_queue, services.heavy_queue),
        QueueRole.FETCHES: (services.fetch_queue,),
        QueueRole.DEAD_LETTERS: (services.dead_letter_queue,),
    }


def _rate_limits(services: Services) -> dict[str, RateLimit]:
    limit = services.item_limiter.known.of_queue()
    if limit is None:
        return {}
    return {queue.name: limit for queue in (services.light_queue, services.heavy_queue)}
