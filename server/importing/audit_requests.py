"""What asks the auditor for a look, sooner than it would look by itself; from any thread."""

import threading
from collections.abc import Collection

from shared.clock import Clock


class AuditRequests:
    """Imports that were committed here, and those to be looked at again soon.

    Safe for threads. The auditor looks often while anything is open, and rarely when nothing is:
    :meth:`note_committed` ends its rest. Some items of an import may have been in flight when they
    were to be added: :meth:`note_busy` marks it. A mark is set after its import's commit, taken
    when an audit of it begins, and so never lost: one that is set during an audit stays for the
    next.
    """

    def __init__(self) -> None:
        self._mutex = threading.Lock()
        self._busy_ids: set[str] = set()
        self._woken = threading.Event()

    def note_committed(self) -> None:
        """End the auditor's rest: an import was committed, or the process is to stop."""
        self._woken.set()

    def rest(self, clock: Clock, longest_s: float) -> None:
        """Wait until something was committed since the last call, at most ``longest_s``."""
        clock.wait(self._woken, longest_s)
        # What is committed from here on is read by the look that follows, or ends the next rest.
        self._woken.clear()

    def note_busy(self, import_id: str) -> None:
        """Ask for another audit of an import that is committed."""
        with self._mutex:
            self._busy_ids.add(import_id)
        self._woken.set()

    def take_busy(self, import_id: str) -> None:
        """Take the mark of an import whose audit begins now."""
        with self._mutex:
            self._busy_ids.discard(import_id)

    def forget_busy(self, import_ids: Collection[str]) -> None:
        """Drop the marks of imports that are closed."""
        with self._mutex:
            self._busy_ids.difference_update(import_ids)

    def read_busy(self) -> frozenset[str]:
        """Return the imports that are marked at this moment."""
        with self._mutex:
            return frozenset(self._busy_ids)
