"""Reading a flow back: a job with its children, and theirs, in whatever queue and state."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from shared.errors import InvalidJobOptions
from shared.queue.connection import raw, run_on_any_type, text
from shared.queue.flows import FlowJob, read_views
from shared.queue.job_queue import JobQueue
from shared.queue.keys import split_job_key

# So many jobs are read at once.
BATCH = 500
_OPEN = ":dependencies"
# Where a parent has the keys of its children, and how they are read.
_CHILDREN = {
    ":processed": ("HKEYS",),
    _OPEN: ("SMEMBERS",),
    ":unsuccessful": ("ZRANGE", 0, -1),
    ":failed": ("HKEYS",),
}


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a job of a flow lies, if it is there."""

    queue: JobQueue
    id: str
    parent: int | None


def read_flow(queue: JobQueue, job_id: str, depth: int) -> list[FlowJob]:
    """Return a job, then its descendants level by level; none if it is not there.

    ``depth`` levels, the job's own is the first. Children are in the order completed, open, failed,
    ignored; those that were removed are left out. 500 jobs at a time, so that one which moves
    meanwhile may be seen before it or after it.

    Raises:
        InvalidJobOptions: a depth below 1.
    """
    if depth < 1:
        raise InvalidJobOptions("depth", depth, "a whole number from 1")
    reader = _FlowReader(queue)
    level = reader.places([queue.keys.job(job_id)], None)
    for left in reversed(range(depth)):
        level = reader.read(level, with_children=left > 0)
    return reader.found


class _FlowReader:
    """Reads level after level; a job that was seen is not read again, whoever names it."""

    def __init__(self, queue: JobQueue) -> None:
        self.found: list[FlowJob] = []
        self._first = queue
        self._queues: dict[tuple[str, str], JobQueue] = {}
        self._seen: set[str] = set()

    def places(self, keys: Sequence[str], parent: int | None) -> list[_Place]:
        """Return where jobs lie that were not seen yet; what is no job's key is left out."""
        new = [key for key in dict.fromkeys(keys) if key not in self._seen]
        self._seen.update(new)
        parts = [split_job_key(key, self._first.prefix) for key in new]
        return [
            _Place(self._queue(prefix, name), job_id, parent)
            for prefix, name, job_id in filter(None, parts)
        ]

    def read(self, level: Sequence[_Place], *, with_children: bool) -> list[_Place]:
        """Read a level into ``found`` and return the one below it."""
        below: list[_Place] = []
        for first in range(0, len(level), BATCH):
            batch = level[first : first + BATCH]
            children = _read_children(batch) if with_children else [[]] * len(batch)
            views = read_views([(place.queue, place.id) for place in batch])
            for place, view, keys in zip(batch, views, children, strict=True):
                if view is not None:
                    self.found.append(FlowJob(place.queue, view, place.parent))
                    below += self.places(keys, len(self.found) - 1)
        return below

    def _queue(self, prefix: str, name: str) -> JobQueue:
        first = self._first
        if (prefix, name) not in self._queues:
            queue = JobQueue(first.client, name, prefix=prefix, clock=first.clock)
            self._queues[prefix, name] = queue
        return self._queues[prefix, name]


def _read_children(places: Sequence[_Place]) -> list[list[str]]:
    """Return the keys of each one's children; one round trip for all."""
    commands = [
        (command[0], raw(place.queue.keys.job(place.id) + suffix), *command[1:])
        for place in places
        for suffix, command in _CHILDREN.items()
    ]
    answers = iter(run_on_any_type(places[0].queue.client, commands))
    return [
        [text(key) for suffix in _CHILDREN for key in _in_order(suffix, next(answers))]
        for _ in places
    ]


def _in_order(suffix: str, keys: Collection[bytes] | None) -> Collection[bytes]:
    # A set has no order of its own.
    return sorted(keys or ()) if suffix == _OPEN else keys or ()
