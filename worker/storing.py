"""Store: write a batch, decide how its jobs are to end, and what to do when MongoDB is away."""

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.errors import ItemError, StoreError
from shared.logs import get_logger
from shared.models import Rank
from shared.queue import Breaker
from shared.store import DeadLetter, ItemWrite, StoredVersion, Stores, WriteReport
from worker.dead_letters import letter_of_item
from worker.decisions import Decision, Outcome, decide_all, newest_by_id, outcome_beneath
from worker.decoding import DecodedItem
from worker.epochs import EpochGuard, Judged
from worker.observing import WorkerMetrics
from worker.outages import Owner, is_outage, owner_of, pause_s
from worker.settling import (
    GIVE_UP_AFTER_S,
    Complete,
    Counts,
    JobEnd,
    MoveDeadLetter,
    RecordDeadLetter,
    Release,
    RetryLater,
    Settlement,
    Settler,
    end_unwritten,
)

log = get_logger("worker.flush")

# After as many failures in a row while the store takes other writes, a batch is bisected.
FAILURES_BEFORE_BISECTING = 3
# An item that fails alone as often in a row, the store taking other writes in between, is at fault.
FAILURES_BEFORE_REJECTING = 6

REJECTED = "rejected_by_store"


@dataclass(slots=True)
class _Verdicts:
    """What became of each item id of a batch, before its jobs are settled."""

    ended: dict[str, Outcome] = field(default_factory=dict)
    rejected: dict[str, ItemError] = field(default_factory=dict)
    stored_ranks: dict[str, Rank] = field(default_factory=dict)
    letters: Mapping[str, DeadLetter] = field(default_factory=dict)


class Storer:
    """Stores batches; touches MongoDB only. Safe for threads, and safe to repeat.

    Per batch two reads a hundred items and one bulk write; more only for items that lose a race.
    """

    def __init__(self, *, stores: Stores, clock: Clock) -> None:
        self._items = stores.items
        self._letters = stores.dead_letters
        self._epochs = EpochGuard(stores.intervals)
        self._clock = clock

    def store(self, batch: Sequence[DecodedItem]) -> Settlement:
        """Store a batch of one queue; return how its jobs are to end, now that it is durable.

        Raises:
            StoreUnavailable: call again with the same batch; no attempt is used.
            StoreError: MongoDB refuses the batch as a whole.
        """
        judged = self._judge(batch)
        unwritten = judged.stale | judged.unknown
        newest = newest_by_id([item for item in batch if item.job.id not in unwritten])
        letters = self._letters.read_many(newest.keys())
        verdicts = self._store(newest, letters)
        ends = [
            end_unwritten(item.job, judged)
            if item.job.id in unwritten
            else self._end_of(item, newest, verdicts)
            for item in batch
        ]
        return Settlement(batch[0].queue, ends)

    def _judge(self, batch: Sequence[DecodedItem]) -> Judged:
        """Judge by epochs which items may be stored; ordinary items cost nothing here.

        Read behind the claim and before the writes: a rollback waits for jobs that were claimed
        before it began, and those that are claimed later see it.
        """
        pulled = [item for item in batch if item.epoch is not None]
        return self._epochs.judge(pulled) if pulled else Judged()

    def reject(self, item: DecodedItem, cause: Exception) -> Settlement:
        """Return the end of an item at whose fault ``cause`` is: its retry, or its dead letter."""
        reason = str(cause) or type(cause).__name__
        error = ItemError(REJECTED, reason)
        error.__cause__ = cause
        return Settlement(item.queue, [_failed(item, error)])

    def _store(
        self, items: Mapping[str, DecodedItem], letters: Mapping[str, DeadLetter]
    ) -> _Verdicts:
        """Decide and write; what lost a race is read and decided once more."""
        verdicts = _Verdicts(letters=letters)
        lost = self._try(items, letters, verdicts)
        if lost:
            self._try({item_id: items[item_id] for item_id in lost}, letters, verdicts)
        return verdicts

    def _try(
        self,
        items: Mapping[str, DecodedItem],
        letters: Mapping[str, DeadLetter],
        verdicts: _Verdicts,
    ) -> set[str]:
        """Decide and write once; return the ids whose guard no longer held."""
        stored = self._items.read_versions(items.keys())
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
        self, items: Mapping[str, DecodedItem], decisions: Mapping[str, Decision]
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
        self, item: DecodedItem, newest: Mapping[str, DecodedItem], verdicts: _Verdicts
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
        self, item: DecodedItem, newest: Mapping[str, DecodedItem], verdicts: _Verdicts
    ) -> Outcome | None:
        """Return how a job ended; None when its item is not stored."""
        winner = newest[item.item_id]
        outcome = verdicts.ended.get(item.item_id)
        if winner is item or outcome in (None, Outcome.DEAD):
            return outcome if winner is item else None
        # A job of the same item with content of a higher rank went ahead in this batch.
        return outcome_beneath(item, winner.rank, winner.content_hash)


class BatchRunner:
    """Stores batches of items and has their jobs settled, whatever happens. Safe for threads."""

    def __init__(
        self,
        *,
        storer: Storer,
        settler: Settler,
        stores: Stores,
        breaker: Breaker,
        clock: Clock,
        metrics: WorkerMetrics,
    ) -> None:
        self._storer = storer
        self._settler = settler
        self._stores = stores
        self._breaker = breaker
        self._clock = clock
        self._metrics = metrics

    def run(self, batch: Sequence[DecodedItem], stop: threading.Event) -> None:
        """Flush a batch of one queue until it is settled, released, or ``stop`` is set.

        Stopped midway, its locks are still held; nothing that was written is undone.
        """
        failures = 0
        while not stop.is_set():
            if self._try(batch, stop) is None:
                return
            failures += 1
            if failures >= FAILURES_BEFORE_BISECTING and self._takes_writes():
                self._bisect(batch, stop)
                return
            if self._breaker.open_for_s() > GIVE_UP_AFTER_S:
                # For a worker that may reach the store.
                released = [Release(item.job) for item in batch]
                self._settler.run(Settlement(batch[0].queue, released), stop)
                return
            self._clock.wait(stop, pause_s(failures))

    def _try(self, batch: Sequence[DecodedItem], stop: threading.Event) -> Exception | None:
        """Store a batch and have it settled; return why it could not be stored, if so."""
        started_s = self._clock.monotonic_s()
        try:
            settlement = self._storer.store(batch)
        except Exception as exc:  # noqa: BLE001 - sorted and logged in _note; it must not be lost
            self._note(batch, exc)
            return exc
        stored_s = self._clock.monotonic_s()
        counts = self._settler.run(settlement, stop)
        settled_s = self._clock.monotonic_s()
        if counts is not None:
            self._log_flushed(batch, counts, settled_s - started_s, settled_s - stored_s)
        return None

    def _note(self, batch: Sequence[DecodedItem], error: Exception) -> None:
        if is_outage(error):
            self._breaker.trip(str(error))
        elif owner_of(error) is Owner.OURSELVES:
            log.error("flush_failed", jobs=len(batch), exc_info=error)
        else:
            log.warning("batch_refused", jobs=len(batch), error=str(error))

    def _log_flushed(
        self, batch: Sequence[DecodedItem], counts: Counts, duration_s: float, settle_s: float
    ) -> None:
        queue = batch[0].queue
        self._metrics.note_flush(queue.name, len(batch), duration_s=duration_s, settle_s=settle_s)
        log.info(
            "batch_flushed",
            queue=queue.name,
            jobs=len(batch),
            **{outcome.value: counts[outcome] for outcome in Outcome if counts[outcome]},
            retried=counts["retried"],
            released=counts["released"],
            postponed=counts["postponed"],
            lock_lost=counts["lock_lost"],
            duration_ms=round(duration_s * 1000),
            settle_ms=round(settle_s * 1000),
        )

    def _bisect(self, batch: Sequence[DecodedItem], stop: threading.Event) -> None:
        """Find the items for whose sake a batch fails while the store takes other writes."""
        if len(batch) == 1:
            self._run_alone(batch[0], stop)
            return
        middle = len(batch) // 2
        for half in (batch[:middle], batch[middle:]):
            if stop.is_set() or self._try(half, stop) is None:
                continue
            if self._takes_writes():
                self._bisect(half, stop)
            else:
                self.run(half, stop)

    def _run_alone(self, item: DecodedItem, stop: threading.Event) -> None:
        """Try one item until it is stored, or found at fault: then it is charged with it.

        It is at fault only if MongoDB takes other writes before and after each of its failures: an
        outage, also one that comes and goes, is nobody's.
        """
        for failures in range(1, FAILURES_BEFORE_REJECTING + 1):
            error = None if stop.is_set() else self._try([item], stop)
            if error is None:
                return
            if not self._takes_writes():
                self.run([item], stop)
                return
            if failures == FAILURES_BEFORE_REJECTING:
                self._settler.run(self._storer.reject(item, error), stop)
            else:
                self._clock.wait(stop, pause_s(failures))

    def _takes_writes(self) -> bool:
        try:
            self._stores.probe_write(self._clock.now())
        except StoreError as exc:
            # Also when it refuses: a login that is no longer accepted is no item's fault.
            self._breaker.trip(str(exc))
            return False
        return True


def _stored_ranks(
    items: Mapping[str, DecodedItem],
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


def _clears(item: DecodedItem, verdicts: _Verdicts) -> tuple[str, Rank] | None:
    """Return up to which rank the item's dead letters are outdated, if it has any."""
    letter = verdicts.letters.get(item.item_id)
    rank = verdicts.stored_ranks.get(item.item_id)
    if letter is None or rank is None or letter.rank > rank:
        return None
    return item.item_id, rank


def _failed(item: DecodedItem, error: ItemError) -> JobEnd:
    """Charge an item's own failure to it."""
    if item.job.attempts_made + 1 >= item.job.max_attempts:
        return RecordDeadLetter(item.job, letter_of_item(item, error))
    return RetryLater(item.job, error)
