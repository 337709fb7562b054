"""Writes a batch to MongoDB, and decides how its jobs are to end. Settling is another stage."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.errors import ItemError
from shared.store import DeadLetter, ItemWrite, Rank, StoredVersion, Stores, WriteReport
from worker.dead_letters import letter_of_item
from worker.decisions import Decision, Outcome, decide_all, newest_by_id, outcome_beneath
from worker.decoding import HeldItem
from worker.settlement import (
    Complete,
    JobEnd,
    MoveDeadLetter,
    RecordDeadLetter,
    Release,
    RetryLater,
    Settlement,
)

REJECTED = "rejected_by_store"


@dataclass(slots=True)
class _Verdicts:
    """What became of each item id of a batch, before its jobs are settled."""

    ended: dict[str, Outcome] = field(default_factory=dict)
    rejected: dict[str, ItemError] = field(default_factory=dict)
    stored_ranks: dict[str, Rank] = field(default_factory=dict)
    letters: Mapping[str, DeadLetter] = field(default_factory=dict)


class Flusher:
    """Stores batches; touches MongoDB only. Safe for threads, and safe to repeat.

    Per batch two reads a hundred items and one bulk write; more only for items that lose a race.
    """

    def __init__(self, *, stores: Stores, clock: Clock) -> None:
        self._items = stores.items
        self._letters = stores.dead_letters
        self._clock = clock

    def store(self, batch: Sequence[HeldItem]) -> Settlement:
        """Store a batch of one queue; return how its jobs are to end, now that it is durable.

        Raises:
            StoreUnavailable: call again with the same batch; no attempt is used.
            StoreError: MongoDB refuses the batch as a whole.
        """
        newest = newest_by_id(list(batch))
        letters = self._letters.read_many(newest)
        verdicts = self._store(newest, letters)
        return Settlement(batch[0].queue, [self._end_of(item, newest, verdicts) for item in batch])

    def reject(self, item: HeldItem, cause: Exception) -> Settlement:
        """Return the end of an item at whose fault ``cause`` is: its retry, or its dead letter."""
        reason = str(cause) or type(cause).__name__
        error = ItemError(REJECTED, reason)
        error.__cause__ = cause
        return Settlement(item.queue, [_failed(item, error)])

    def _store(self, items: Mapping[str, HeldItem], letters: Mapping[str, DeadLetter]) -> _Verdicts:
        """Decide and write; what lost a race is read and decided once more."""
        verdicts = _Verdicts(letters=letters)
        lost = self._try(items, letters, verdicts)
        if lost:
            self._try({item_id: items[item_id] for item_id in lost}, letters, verdicts)
        return verdicts

    def _try(
        self,
        items: Mapping[str, HeldItem],
        letters: Mapping[str, DeadLetter],
        verdicts: _Verdicts,
    ) -> set[str]:
        """Decide and write once; return the ids whose guard no longer held."""
        stored = self._items.read_versions(items)
        decisions = decide_all(items, stored, letters)
        report = self._items.write_many(self._writes(items, decisions))
        verdicts.rejected |= {
            item_id: ItemError(REJECTED, reason) for item_id, reason in report.rejected.items()
        }
        for item_id, decision in decisions.items():
            if item_id not in report.lost and item_id not in report.rejected:
                verdicts.ended[item_id] = decision.outcome
        verdicts.stored_ranks |= _stored_ranks(items, stored, decisions, report)
        return report.lost

    def _writes(
        self, items: Mapping[str, HeldItem], decisions: Mapping[str, Decision]
    ) -> list[ItemWrite]:
        now = self._clock.now()
        return [
            ItemWrite(
                item_id=item_id,
                kind=decision.write,
                revision=items[item_id].revision,
                content=items[item_id].content,
                import_id=items[item_id].import_id,
                now=now,
                over_lenient=decision.over_lenient,
            )
            for item_id, decision in decisions.items()
            if decision.write is not None
        ]

    def _end_of(
        self, item: HeldItem, newest: Mapping[str, HeldItem], verdicts: _Verdicts
    ) -> JobEnd:
        outcome = self._outcome_of(item, newest, verdicts)
        if outcome is Outcome.DEAD:
            known = verdicts.letters[item.item_id]
            error = ItemError(known.error_type, known.reason)
            return MoveDeadLetter(item.job, letter_of_item(item, error))
        is_newest = newest[item.item_id] is item
        if outcome is not None:
            return Complete(item.job, outcome, _clears(item, verdicts) if is_newest else None)
        if is_newest and item.item_id in verdicts.rejected:
            return _failed(item, verdicts.rejected[item.item_id])
        return Release(item.job)

    def _outcome_of(
        self, item: HeldItem, newest: Mapping[str, HeldItem], verdicts: _Verdicts
    ) -> Outcome | None:
        """Return how a job ended; None when its item is not stored."""
        winner = newest[item.item_id]
        outcome = verdicts.ended.get(item.item_id)
        if winner is item or outcome in (None, Outcome.DEAD):
            return outcome if winner is item else None
        # A job of the same item with content of a higher rank went ahead in this batch.
        return outcome_beneath(item, winner.rank, winner.content_hash)


def _stored_ranks(
    items: Mapping[str, HeldItem],
    stored: Mapping[str, StoredVersion],
    decisions: Mapping[str, Decision],
    report: WriteReport,
) -> dict[str, Rank]:
    """Return the rank that is stored now, of each item that is stored."""
    ranks: dict[str, Rank] = {}
    for item_id, decision in decisions.items():
        if item_id in report.written:
            ranks[item_id] = items[item_id].rank
        elif decision.write is None and item_id in stored:
            ranks[item_id] = stored[item_id].rank
    return ranks


def _clears(item: HeldItem, verdicts: _Verdicts) -> tuple[str, Rank] | None:
    """Return up to which rank the item's dead letters are outdated, if it has any."""
    letter = verdicts.letters.get(item.item_id)
    rank = verdicts.stored_ranks.get(item.item_id)
    if letter is None or rank is None or letter.rank > rank:
        return None
    return item.item_id, rank


def _failed(item: HeldItem, error: ItemError) -> JobEnd:
    """Charge an item's own failure to it."""
    if item.job.attempts_made + 1 >= item.job.max_attempts:
        return RecordDeadLetter(item.job, letter_of_item(item, error))
    return RetryLater(item.job, error)
