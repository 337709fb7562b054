"""Which of two contents of one item wins. Pure, and asked wherever contents meet."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, order=True)
class Rank:
    """The order of an item's contents: a strict reading wins over a lenient one, whatever their
    revisions; among equals the higher revision wins.

    A lenient reading is a guess at a damaged document. It stands in until a strict one comes, and
    must never take the place of one. The rank of a stored document only ever rises.
    """

    is_strict: bool
    revision: int

    @classmethod
    def of(cls, data: Mapping[str, Any], revision: int) -> "Rank":
        """Return the rank of an item's job data, or document, at a revision."""
        return cls(get_reader(data) is None, revision)


def get_reader(data: Mapping[str, Any]) -> str | None:
    """Return which lenient reader made an item, from its job data or document; None: a strict one.

    What is no name counts as none.
    """
    read_by = data.get("read_by")
    return read_by if isinstance(read_by, str) and read_by else None
