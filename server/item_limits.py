"""The limits of items started: brought to the item queues, and changed while the service runs."""

import threading
from collections.abc import Sequence

from shared.clock import Clock
from shared.item_limits import CurrentLimits, current_limits, limit_items, read_or_ignore
from shared.queue import JobQueue
from shared.store import ItemLimits, ItemLimitStore, LimitChange, StoredLimits


class ItemLimiter:
    """Changes the limits of all item queues, and keeps Redis at what MongoDB has of them.

    What is changed here holds over the ``environment`` of every server and worker until it is
    reset: MongoDB keeps it, and each server writes it to Redis at its start, after a loss of Redis,
    and every few seconds. Any number of servers and threads may.

    Raises (all methods): ``StoreUnavailable``, ``QueueUnavailable`` when a store is away.
    """

    def __init__(
        self,
        store: ItemLimitStore,
        queues: Sequence[JobQueue],
        environment: ItemLimits,
        clock: Clock,
    ) -> None:
        self.environment = environment
        self._store = store
        self._queues = queues
        self._clock = clock
        # What this server has last seen, and the revision that it has last brought to Redis.
        self._known = CurrentLimits(environment)
        self._applied: int | None = None
        # Between reading MongoDB and writing Redis no other thread of this server does both.
        self._applying = threading.Lock()

    @property
    def known(self) -> CurrentLimits:
        """What held a few seconds ago, or since a change by this server; nobody is asked."""
        return self._known

    def read(self) -> StoredLimits:
        """Return what was changed, and the last changes; what cannot be read counts as none."""
        stored = read_or_ignore(self._store)
        self._known = current_limits(stored, self.environment)
        return stored

    def apply(self) -> None:
        """Bring what is stored to Redis, else the environment's limits. Safe to repeat."""
        with self._applying:
            self._apply(read_or_ignore(self._store))

    def keep(self) -> None:
        """Bring to Redis what another server has changed, or somebody else has overwritten.

        Where nothing is changed the limits in Redis are left alone: an operator may have set them.
        """
        with self._applying:
            stored = read_or_ignore(self._store)
            if stored.limits is not None or stored.revision != self._applied:
                self._apply(stored)

    def change(self, limits: ItemLimits, *, by: str, client: str) -> StoredLimits:
        """Let other limits hold from now on, for all workers; returns what is stored then.

        It is safe in MongoDB first: should Redis be away, a server brings it there later.

        Raises:
            UnreadableDocument: what is stored makes no sense.
        """
        return self._change(limits, by, client, is_reset=False)

    def reset(self, *, by: str, client: str) -> StoredLimits:
        """Let the environment's limits hold again; as :meth:`change`."""
        return self._change(self.environment, by, client, is_reset=True)

    def _change(self, limits: ItemLimits, by: str, client: str, *, is_reset: bool) -> StoredLimits:
        now = self._clock.now()
        change = LimitChange(now, by, client, self.environment, limits, is_reset)
        stored = self._store.change(change, self.environment)
        # Read again: of two changes at once the later one is to be in Redis, not the slower one.
        self.apply()
        return stored

    def _apply(self, stored: StoredLimits) -> None:
        self._known = current_limits(stored, self.environment)
        for queue in self._queues:
            limit_items(queue, self._known)
        self._applied = stored.revision
