"""Which imports are to be audited again soon; any thread may ask for it at any moment."""

import threading
from collections.abc import Collection


class BusyMarks:
    """Imports some of whose items were being run when they were to be added.

    Safe for threads. A mark is set after its import's commit, taken when an audit of it begins,
    and so never lost: one that is set during an audit stays for the next.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._import_ids: set[str] = set()

    def note(self, import_id: str) -> None:
        """Ask for an audit of an import that is committed."""
        with self._lock:
            self._import_ids.add(import_id)

    def take(self, import_id: str) -> None:
        """Take the mark of an import whose audit begins now."""
        with self._lock:
            self._import_ids.discard(import_id)

    def forget(self, import_ids: Collection[str]) -> None:
        """Drop the marks of imports that are closed."""
        with self._lock:
            self._import_ids.difference_update(import_ids)

    def has(self, import_id: str) -> bool:
        """Tell whether an import is marked at this moment."""
        with self._lock:
            return import_id in self._import_ids

    def read(self) -> frozenset[str]:
        """Return the imports that are marked at this moment."""
        with self._lock:
            return frozenset(self._import_ids)
