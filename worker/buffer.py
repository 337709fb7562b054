"""Holds decoded items, per queue and source, until a batch of them is worth a round trip."""

from collections import deque
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.queue import Lock
from worker.decoding import DecodedItem


@dataclass(slots=True)
class _SourceBuffer:
    since_s: float
    items: deque[DecodedItem] = field(default_factory=deque)


class Buffer:
    """Per-source buffers in the order in which their oldest item came.

    Not safe for threads: only the consumer's thread adds and drains. Any may ask how full it is.
    """

    def __init__(self, *, max_items: int, max_age_s: float, clock: Clock) -> None:
        self._max_items = max_items
        self._max_age_s = max_age_s
        self._clock = clock
        self._buffers: dict[tuple[str, str], _SourceBuffer] = {}
        self._jobs = 0
        self._bytes = 0

    def __len__(self) -> int:
        return self._jobs

    @property
    def held_bytes(self) -> int:
        """How many bytes of data the jobs carry that wait here."""
        return self._bytes

    def add(self, item: DecodedItem) -> None:
        """Put an item behind those of its source."""
        key = (item.queue.name, item.source)
        buffer = self._buffers.get(key)
        if buffer is None:
            buffer = self._buffers[key] = _SourceBuffer(self._clock.monotonic_s())
        buffer.items.append(item)
        self._jobs += 1
        self._bytes += item.size_bytes

    def drain_due(self, *, everything: bool = False) -> list[DecodedItem]:
        """Take the next batch out: all of one queue, at most ``max_items``; empty when none is due.

        Due is a source with a full batch or an item older than ``max_age_s``, or any source with
        ``everything``. A batch with room left takes along what waits of other sources of its
        queue: a round trip costs the same for one source as for many.
        """
        due = [key for key, buffer in self._buffers.items() if everything or self._is_due(buffer)]
        if not due:
            return []
        queue_name = due[0][0]
        same_queue = [key for key in self._buffers if key[0] == queue_name]
        same_queue.sort(key=lambda key: key not in due)
        batch: list[DecodedItem] = []
        for key in same_queue:
            self._take(key, batch)
        return batch

    def next_due_in_s(self) -> float | None:
        """Return in how many seconds the oldest item is due; None when there is none."""
        if not self._buffers:
            return None
        oldest_s = min(buffer.since_s for buffer in self._buffers.values())
        return max(0.0, oldest_s + self._max_age_s - self._clock.monotonic_s())

    def discard(self, lost: set[Lock]) -> None:
        """Drop items held by locks that were lost: they are another worker's now."""
        for key, buffer in list(self._buffers.items()):
            kept = deque(item for item in buffer.items if item.lock not in lost)
            for item in buffer.items:
                if item.lock in lost:
                    self._count_out(item)
            buffer.items = kept
            if not buffer.items:
                del self._buffers[key]

    def _is_due(self, buffer: _SourceBuffer) -> bool:
        is_old = self._clock.monotonic_s() - buffer.since_s >= self._max_age_s
        return is_old or len(buffer.items) >= self._max_items

    def _take(self, key: tuple[str, str], batch: list[DecodedItem]) -> None:
        buffer = self._buffers[key]
        while buffer.items and len(batch) < self._max_items:
            item = buffer.items.popleft()
            self._count_out(item)
            batch.append(item)
        if not buffer.items:
            del self._buffers[key]

    def _count_out(self, item: DecodedItem) -> None:
        self._jobs -= 1
        self._bytes -= item.size_bytes
