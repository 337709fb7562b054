"""What to do with one item, given what is stored about it. Pure: the highest rank wins."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from shared.models import Rank
from shared.store import DeadLetter, StoredVersion, WriteKind
from worker.decoding import DecodedItem


class Outcome(StrEnum):
    """How an item of an import ends; the names of the counts in the interface."""

    NEW = "new"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    SUPERSEDED = "superseded"
    DEAD = "dead"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class Decision:
    """The write that an item needs (None: none), and how it ends when that is done.

    ``over_lenient``: what is stored is a lenient reading.
    """

    write: WriteKind | None
    outcome: Outcome
    over_lenient: bool = False


def decide(item: DecodedItem, stored: StoredVersion | None, letter: DeadLetter | None) -> Decision:
    """Decide one item by what MongoDB holds of it.

    An item that an operator removed, with this content or at this revision or a later one, is not
    written, nor one whose failure at this revision in this import is on record already: none may
    come back.
    """
    is_behind = stored is None or stored.rank < item.rank
    if letter is not None and is_behind:
        stored_rank = stored.rank if stored is not None else None
        if letter.keeps_away(item.revision, item.content_hash, stored_rank):
            return Decision(None, Outcome.REMOVED)
        if letter.has_failed_in(item.import_id, item.revision):
            return Decision(None, Outcome.DEAD)
    if stored is None:
        return Decision(WriteKind.INSERT, Outcome.NEW)
    if not is_behind:
        return Decision(None, _already_stored(item, stored))
    if stored.content_hash == item.content_hash:
        return Decision(WriteKind.RAISE, Outcome.UNCHANGED, stored.is_lenient)
    return Decision(WriteKind.UPDATE, Outcome.UPDATED, stored.is_lenient)


def _already_stored(item: DecodedItem, stored: StoredVersion) -> Outcome:
    if item.import_id is not None and stored.created_by == item.import_id:
        return Outcome.NEW
    if item.import_id is not None and stored.modified_by == item.import_id:
        return Outcome.UPDATED
    return outcome_beneath(item, stored.rank, stored.content_hash)


def outcome_beneath(item: DecodedItem, rank: Rank, content_hash: str) -> Outcome:
    """Return how an item ends beneath content that wins over it and is not its import's.

    A lenient reading has nothing to add to a strict one, whatever it holds.
    """
    if content_hash == item.content_hash or rank.is_strict > item.rank.is_strict:
        return Outcome.UNCHANGED
    return Outcome.SUPERSEDED


def newest_by_id(items: list[DecodedItem]) -> dict[str, DecodedItem]:
    """Return per item id the one with the highest rank: two writes of one document in an
    unordered batch would race."""
    newest: dict[str, DecodedItem] = {}
    for item in items:
        rival = newest.get(item.item_id)
        if rival is None or rival.rank < item.rank:
            newest[item.item_id] = item
    return newest


def decide_all(
    items: Mapping[str, DecodedItem],
    stored: Mapping[str, StoredVersion],
    letters: Mapping[str, DeadLetter],
) -> dict[str, Decision]:
    """Decide a batch, by item id."""
    return {
        item_id: decide(item, stored.get(item_id), letters.get(item_id))
        for item_id, item in items.items()
    }
