"""How many items may start: from the settings or changed since, as a queue obeys it."""

from collections.abc import Callable
from dataclasses import dataclass

from shared.errors import UnreadableDocument
from shared.logs import get_logger
from shared.queue import GroupLimit, JobQueue, RateLimit
from shared.queue.limits import limit_groups, limit_rate
from shared.settings import Settings
from shared.store import ItemLimits, ItemLimitStore, StoredLimits

log = get_logger("item_limits")

# A window is shown in the largest of these that fits, and may be typed in any.
WINDOW_UNITS_MS = {3_600_000: "hours", 60_000: "minutes", 1000: "seconds", 1: "milliseconds"}
# As no limit at all, where a worker's own one would hold if the queue had none.
UNLIMITED = RateLimit(max_jobs=10_000_000, duration_ms=1000)


@dataclass(frozen=True, slots=True)
class CurrentLimits:
    """What holds; ``is_changed``: not as the environment has it, but as it was changed since."""

    limits: ItemLimits
    is_changed: bool = False

    def of_partition(self, partitions: int) -> RateLimit | None:
        """Return the limit of items started in one of so many partitions; None for none."""
        if self.limits.max_items == 0:
            return UNLIMITED if self.is_changed else None
        return RateLimit(max(self.limits.max_items // partitions, 1), self.limits.duration_ms)

    def of_queue(self) -> RateLimit | None:
        """Return the limit of items started in an item queue as a whole; None for none."""
        limits = self.limits
        return RateLimit(limits.max_items, limits.duration_ms) if limits.max_items else None

    def of_source(self) -> GroupLimit | None:
        """Return the limit of items of one source started; None for none."""
        limits = self.limits
        if limits.source_max_items == 0:
            return None
        return GroupLimit(limits.source_max_items, limits.duration_ms, "source")


def describe_limits(limits: ItemLimits) -> str:
    """Return limits in words: ``100 items per second, 5 of one source``."""
    window = _describe_window(limits.duration_ms)
    items = "item" if limits.max_items == 1 else "items"
    of_source = f"{limits.source_max_items:,} of one source"
    if not limits.max_items:
        return f"no limit, {of_source} per {window}" if limits.source_max_items else "no limit"
    whole = f"{limits.max_items:,} {items} per {window}"
    return f"{whole}, {of_source}" if limits.source_max_items else whole


def split_window(duration_ms: int) -> tuple[int, int]:
    """Return a window as a whole number of the largest unit that fits, and that unit in ms."""
    unit_ms = next(unit for unit in WINDOW_UNITS_MS if duration_ms % unit == 0)
    return duration_ms // unit_ms, unit_ms


def _describe_window(duration_ms: int) -> str:
    count, unit_ms = split_window(duration_ms)
    name = WINDOW_UNITS_MS[unit_ms]
    return name.removesuffix("s") if count == 1 else f"{count:,} {name}"


def limits_of(settings: Settings) -> ItemLimits:
    """Return the limits that the settings name."""
    return ItemLimits(
        settings.worker_rate_limit_max,
        settings.worker_rate_limit_duration_ms,
        settings.worker_source_rate_limit_max,
    )


def current_limits(stored: StoredLimits, environment: ItemLimits) -> CurrentLimits:
    """Return what holds: a stored limit wins over the environment's."""
    if stored.limits is None:
        return CurrentLimits(environment)
    return CurrentLimits(stored.limits, is_changed=True)


def read_or_ignore(store: ItemLimitStore) -> StoredLimits:
    """Return the stored limits; what cannot be read is logged, and counts as none.

    Raises:
        StoreUnavailable: it is not known whether there are any.
    """
    try:
        return store.read()
    except UnreadableDocument as exc:
        log.warning("item_limits_unreadable", error=str(exc))
        return StoredLimits()


def limit_items(queue: JobQueue, current: CurrentLimits) -> None:
    """Write into an item queue how many items may start, in all and of one source.

    Safe to repeat. A limit that changes begins with a new window: what the old one has let start
    does not count, nor does its length.

    Raises:
        QueueUnavailable: Redis cannot serve.
    """
    wanted = current.of_partition(len(queue.parts))
    for part in queue.parts:
        limit_rate(part, wanted)
        limit_groups(part, current.of_source())


def source_limiter(store: ItemLimitStore, environment: ItemLimits) -> Callable[[JobQueue], None]:
    """Return what writes the limit of one source into a queue, as a worker does before it claims.

    So that it holds also where no server has written it since Redis was lost.
    """

    def limit_sources(queue: JobQueue) -> None:
        current = current_limits(read_or_ignore(store), environment)
        limit_groups(queue, current.of_source())

    return limit_sources
