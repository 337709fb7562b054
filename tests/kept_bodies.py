"""Kept bodies, as tests look at them."""

from datetime import UTC, datetime

from shared.store import BodyStore, KeptBody

_EVER = datetime(1970, 1, 1, tzinfo=UTC)


def read_kept(bodies: BodyStore, source: str) -> list[KeptBody]:
    """Return a source's bodies, latest read first."""
    found = [bodies.get(key) for key in bodies.find_keys(source, _EVER)]
    return [each for each in found if each is not None]
