"""An import's counts: derived from the record alone, and as shown while it is open. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.models import Rank
from shared.store import Chunk, DeadLetter, ImportState, StoredVersion
from shared.store.imports import COUNT_NAMES, Import, empty_counts

PENDING = "pending"
# What a worker's settlement may raise; in this order they give way if a redelivery was counted
# twice, so that the sum holds at every moment.
SETTLED_COUNTS = ("new", "updated", "unchanged", "superseded", "dead", "removed")


@dataclass(frozen=True, slots=True)
class Derived:
    """One journal entry and its class: a name of the import's counts."""

    item_id: str
    revision: int
    outcome: str


def derive_chunk(
    chunk: Chunk,
    *,
    is_replay: bool,
    letters: Mapping[str, DeadLetter],
    stored: Mapping[str, StoredVersion],
) -> list[Derived]:
    """Derive the class of each entry of a chunk.

    ``letters`` has to be read before ``stored``: the other way round an item could be stored, and
    its letter cleared, in between, and look as if it had never come.
    """
    lenient_ids = frozenset(chunk.lenient_ids)
    return [
        Derived(
            item_id,
            revision,
            _derive(
                chunk.import_id,
                Rank(item_id not in lenient_ids, revision),
                content_hash,
                is_replay=is_replay,
                letter=letters.get(item_id),
                version=stored.get(item_id),
            ),
        )
        for item_id, revision, content_hash in zip(
            chunk.item_ids, chunk.revisions, chunk.hashes, strict=True
        )
    ]


def _derive(
    import_id: str,
    rank: Rank,
    content_hash: str,
    *,
    is_replay: bool,
    letter: DeadLetter | None,
    version: StoredVersion | None,
) -> str:
    if version is not None and version.rank >= rank:
        return _stored_class(import_id, rank, content_hash, version)
    if letter is None:
        return PENDING
    stored_rank = version.rank if version is not None else None
    if letter.keeps_away(rank.revision, content_hash, stored_rank):
        return "removed"
    # A replay begins with a death of this revision on record: only one in this import ends it. A
    # foreign job that died before it had drawn a revision has 0, and draws one when it is run.
    if is_replay:
        failed = letter.has_failed_in(import_id, rank.revision or None)
    else:
        failed = letter.has_failed_at(rank.revision)
    return "dead" if failed else PENDING


def _stored_class(import_id: str, rank: Rank, content_hash: str, version: StoredVersion) -> str:
    if version.created_by == import_id:
        return "new"
    if version.modified_by == import_id:
        return "updated"
    if not rank.is_strict and not version.is_lenient:
        # A strict reading stands, of whatever revision: a lenient one has nothing to add to it.
        return "unchanged"
    return "unchanged" if version.content_hash == content_hash else "superseded"


def live_counts(shown: Import, tally: Mapping[str, int]) -> dict[str, int]:
    """Return an import's counts; of an open one, what the tally of settled jobs adds.

    ``tally`` serves progress only: it may lag behind or have counted a job twice. ``pending`` is
    what is left, never below zero, so ``fetched`` is always the sum of the others.
    """
    counts = {**empty_counts(), **shown.counts}
    if shown.state is not ImportState.IMPORTING:
        return counts
    left = shown.journaled
    for name in SETTLED_COUNTS:
        settled = min(left, max(0, tally.get(name, 0)))
        counts[name] += settled
        left -= settled
    counts["pending"] = left
    return {name: counts[name] for name in COUNT_NAMES}


def count_settled(tally: Mapping[str, int]) -> int:
    """Return how many of an import's jobs were settled, as far as the tally knows."""
    return sum(tally.get(name, 0) for name in SETTLED_COUNTS)
