"""What becomes of indexers, watched at the one write that changes them."""

from collections.abc import Iterable
from unittest import mock

from server.feeds.pulls import pull_import_id
from shared.store import ImportState, IndexerState, IntervalStore, Stores


class SwapLog:
    """Checks each write of an indexer, and knows which revisions must not be written any more.

    ``faults`` says in words what was wrong. Watches all stores of the process until :meth:`end`.
    """

    def __init__(self, stores: Stores) -> None:
        self.faults: list[str] = []
        self.settled: dict[str, int] = {}
        self._stores = stores
        self._stale_documents: dict[str, set[tuple[str, int]]] = {}
        self._patch = mock.patch.object(IntervalStore, "swap", self._make_swap(IntervalStore.swap))
        self._patch.start()

    def end(self) -> None:
        """Watch no more."""
        self._patch.stop()

    def check_documents(self) -> None:
        """Fail if, since a rollback was answered, anything of an epoch before it was written."""
        for name in self.settled:
            written = self._find_stale(name) - self._stale_documents[name]
            assert not written, f"written after the rollback of {name} was answered: {written}"

    def _make_swap(self, original):  # type: ignore[no-untyped-def]
        def swap(
            store: IntervalStore, seen: IndexerState, new: IndexerState
        ) -> IndexerState | None:
            stored = original(store, seen, new)
            if stored is not None:
                self._look(seen, stored)
            return stored

        return swap

    def _look(self, seen: IndexerState, new: IndexerState) -> None:
        kept = {(each.start, each.ended, each.epoch) for each in seen.open}
        taken = sorted(
            (each.start, each.ended)
            for each in new.open
            if (each.start, each.ended, each.epoch) not in kept
        )
        if new.epoch < seen.epoch or new.settled_epoch < seen.settled_epoch:
            self._say(f"{new.name} went back to epoch {new.epoch} from {seen.epoch}")
        if new.epoch == seen.epoch:
            self._check_taken(seen, new, taken)
            self._check_closed(seen, new)
        elif new.backfill is None and _is_lost(seen, new):
            self._say(f"{new.name} lost what was open when it began epoch {new.epoch}")
        if new.settled_epoch > seen.settled_epoch:
            self.settled[new.name] = new.settled_epoch
            self._stale_documents[new.name] = self._find_stale(new.name)

    def _check_taken(self, seen: IndexerState, new: IndexerState, taken: Iterable[tuple]) -> None:  # type: ignore[type-arg]
        end = seen.cursor
        for start, ended in taken:
            if start != end:
                self._say(f"{new.name}: an interval from {start}, the one before ended at {end}")
            end = ended
        if end != new.cursor:
            self._say(f"{new.name}: its cursor is {new.cursor}, its intervals end at {end}")
        if taken and seen.settled_epoch < seen.epoch:
            self._say(f"{new.name}: an interval was taken before its rollback was settled")

    def _check_closed(self, seen: IndexerState, new: IndexerState) -> None:
        if new.backfill is not None and new.backfill.outcome not in (None, "done"):
            return
        left = {each.start for each in new.open}
        for each in seen.open:
            if each.start in left:
                continue
            found = self._stores.imports.get(pull_import_id(seen.name, each))
            if found is None or found.state is not ImportState.COMPLETED:
                self._say(f"{new.name}: the interval from {each.start} was closed by {found}")

    def _find_stale(self, name: str) -> set[tuple[str, int]]:
        """Return the documents whose revision is of an import of an epoch before the settled."""
        imports = self._stores.imports._imports.find({"indexer": name})
        stale = {
            each["revision"]
            for each in imports
            if each.get("revision") and each["epoch"] < self.settled[name]
        }
        found = self._stores.items._items.find({}, {"revision": 1})
        return {(each["_id"], each["revision"]) for each in found if each["revision"] in stale}

    def _say(self, fault: str) -> None:
        self.faults.append(fault)


def _is_lost(seen: IndexerState, new: IndexerState) -> bool:
    """Return whether a further epoch leaves out what was not done: back-fills may, windows not."""
    return bool(new.open) or new.cursor > min([seen.cursor, *(each.start for each in seen.open)])
