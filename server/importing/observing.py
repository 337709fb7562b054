"""What an importer tells whoever measures it; it knows nothing of how that is kept."""

from typing import Protocol


class Observer(Protocol):
    """Is told of fetches and parses as they end. Safe for threads, and quick."""

    def note_fetch(self, outcome: str, duration_s: float, body_bytes: int) -> None:
        """Note one request: ``modified``, ``not_modified`` or the kind of its error."""

    def note_parse(self, duration_s: float) -> None:
        """Note one document, readable or not; the wait for a free parser included."""


class Unobserved:
    """Nobody measures."""

    def note_fetch(self, outcome: str, duration_s: float, body_bytes: int) -> None:
        """Forget it."""

    def note_parse(self, duration_s: float) -> None:
        """Forget it."""
