"""Reads imports as the API shows them: the record, and the live counters of those in progress."""

from collections.abc import Iterable, Sequence

from server.api.answers import ImportAnswer
from server.api.presentation import show_import
from shared.errors import QueueUnavailable
from shared.queue import JobQueue
from shared.store import Import, ImportState, ImportStore


class ImportReader:
    """Shows imports. Without Redis they are shown as the record has them, all work pending."""

    def __init__(self, imports: ImportStore, item_queues: Sequence[JobQueue]) -> None:
        self._imports = imports
        self._item_queues = item_queues

    def show_many(self, imports: Sequence[Import]) -> list[ImportAnswer]:
        """Return imports in the order given; one call to Redis a queue, if any is in progress."""
        tallies = self._read_tallies(imports)
        return [show_import(shown, tallies.get(shown.import_id, {})) for shown in imports]

    def read_many(self, import_ids: Iterable[str]) -> dict[str, ImportAnswer]:
        """Return those of these imports that exist."""
        found = self._imports.read_many(import_ids)
        return {shown.id: shown for shown in self.show_many(list(found.values()))}

    def _read_tallies(self, imports: Sequence[Import]) -> dict[str, dict[str, int]]:
        open_ids = [shown.import_id for shown in imports if shown.state is ImportState.IMPORTING]
        tallies: dict[str, dict[str, int]] = {import_id: {} for import_id in open_ids}
        if not open_ids:
            return tallies
        # Jobs of one import may be settled in either queue: a foreign hand may have moved some.
        for queue in self._item_queues:
            try:
                counted = queue.read_tallies(open_ids)
            except QueueUnavailable:
                continue
            for import_id, tally in zip(open_ids, counted, strict=True):
                for name, count in tally.items():
                    tallies[import_id][name] = tallies[import_id].get(name, 0) + count
        return tallies
