"""What a worker's parts tell whoever measures them; they know nothing of how that is kept."""

from collections.abc import Sequence
from typing import Protocol


class Observer(Protocol):
    """Is told of claims and flushes as they end. Safe for threads, and quick."""

    def note_waits(self, queue_name: str, waits_s: Sequence[float]) -> None:
        """Note how long jobs waited from their making to their first claim."""

    def note_flush(self, queue_name: str, jobs: int, *, duration_s: float, settle_s: float) -> None:
        """Note a batch that was written and settled; ``settle_s`` is the part after the write."""


class Unobserved:
    """Nobody measures."""

    def note_waits(self, queue_name: str, waits_s: Sequence[float]) -> None:
        """Forget them."""

    def note_flush(self, queue_name: str, jobs: int, *, duration_s: float, settle_s: float) -> None:
        """Forget it."""
