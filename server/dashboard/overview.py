"""What the overview shows, read from the stores that answer; indexes answer all of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from server.api.import_answers import ImportAnswer
from server.api.parts import ApiParts
from server.api.queue_status import QueueAnswer
from server.api.readiness import describe_trouble
from server.api.routes.queues import WorkerAnswer, show_worker
from server.feeds.progress import BackFillView
from shared.errors import QueueUnavailable, StoreUnavailable
from shared.queue import JobState

MAX_RUNNING = 20
MAX_FINISHED = 8


@dataclass(frozen=True, slots=True)
class Overview:
    """All that the page shows. ``absent`` is what a store does instead of serving.

    What Redis knows is empty while it is away, and what MongoDB knows while that is. ``titles`` of
    the feeds that are shown are by source.
    """

    absent: Mapping[str, str]
    dead_letter_queue: str = ""
    queues: Sequence[QueueAnswer] = ()
    workers: Sequence[WorkerAnswer] = ()
    running: Sequence[ImportAnswer] = ()
    running_total: int = 0
    finished: Sequence[ImportAnswer] = ()
    backfills: Sequence[BackFillView] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    feeds_exist: bool = True
    failing_feeds: int = 0

    @property
    def is_busy(self) -> bool:
        """Whether something moves, so that looking often is worth it."""
        return bool(self.running) or any(queue.counts[JobState.ACTIVE] for queue in self.queues)


def read_overview(parts: ApiParts, absent: Mapping[str, str]) -> Overview:
    """Ask the stores that answer; one that stops answering meanwhile counts as absent."""
    overview = Overview(absent, parts.services.dead_letter_queue.name)
    for store, read in (("Redis", _read_queues), ("MongoDB", _read_imports)):
        if store in absent:
            continue
        try:
            overview = read(parts, overview)
        except (QueueUnavailable, StoreUnavailable) as exc:
            found = {**overview.absent, store: describe_trouble(exc)}
            overview = replace(overview, absent=found)
    return overview


def _read_queues(parts: ApiParts, overview: Overview) -> Overview:
    workers = [show_worker(sign) for sign in parts.worker_signs.read()]
    return replace(overview, queues=parts.queue_status.show_all(), workers=workers)


def _read_imports(parts: ApiParts, overview: Overview) -> Overview:
    stores = parts.services.stores
    running = sorted(stores.imports.find_open(), key=lambda each: each.requested_at, reverse=True)
    finished = stores.imports.find_finished(MAX_FINISHED)
    backfills = parts.services.backfills.list_running()[:MAX_RUNNING]
    imports = (*running[:MAX_RUNNING], *finished)
    shown = {each.source for each in imports} | {each.source for each in backfills}
    return replace(
        overview,
        running_total=len(running),
        running=parts.imports.show_many(running[:MAX_RUNNING]),
        finished=parts.imports.show_many(finished),
        backfills=backfills,
        titles=stores.feed_lists.find_titles(shown),
        feeds_exist=bool(running or stores.feed_lists.find_page(limit=1).items),
        failing_feeds=stores.feeds.count_failing(),
    )
