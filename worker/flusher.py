"""Writes a batch to MongoDB, and settles its jobs only after that is durable."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from shared.clock import Clock
from shared.dead_jobs import clear_dead_letters
from shared.errors import ItemError
from shared.queue import Completion, JobQueue, Retry, SettleOutcome, backoff_delay_ms
from shared.store import DeadLetter, ItemWrite, StoredVersion, Stores, WriteReport
from worker.dead_letterer import DeadLetterer, DyingJob
from worker.decisions import Decision, Outcome, decide_all, newest_by_id
from worker.decoding import HeldItem
from worker.job_log import log_settled

REJECTED = "rejected_by_store"


@dataclass(slots=True)
class FlushReport:
    """How the jobs of a batch ended: counts by outcome, and those that were not ended here.

    ``settle_s``: from the acknowledged write to the last settled job.
    """

    outcomes: Counter[Outcome] = field(default_factory=Counter)
    retried: int = 0
    released: int = 0
    lock_lost: int = 0
    settle_s: float = 0.0


@dataclass(slots=True)
class _Verdicts:
    """What became of each item id of a batch, before its jobs are settled."""

    ended: dict[str, Outcome] = field(default_factory=dict)
    rejected: dict[str, str] = field(default_factory=dict)
    stored_revisions: dict[str, int] = field(default_factory=dict)
    letters: Mapping[str, DeadLetter] = field(default_factory=dict)


class Flusher:
    """Brings batches home. Safe for threads; every step is safe to repeat, so is the whole.

    Per batch two reads a hundred items, one bulk write and one settling call; more only for items
    that lose a race, fail, or had a dead letter.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        dead_letterer: DeadLetterer,
        dead_letter_queue: JobQueue,
        clock: Clock,
    ) -> None:
        self._items = stores.items
        self._letters = stores.dead_letters
        self._dead_letterer = dead_letterer
        self._dead_letter_queue = dead_letter_queue
        self._clock = clock

    def flush(self, batch: Sequence[HeldItem]) -> FlushReport:
        """Store a batch of one queue and settle its jobs.

        Raises:
            StoreUnavailable, QueueUnavailable: call again with the same batch; no attempt is used.
            StoreError: MongoDB refuses the batch as a whole.
        """
        newest = newest_by_id(list(batch))
        letters = self._letters.read_many(newest)
        verdicts = self._store(newest, letters)
        stored_s = self._clock.monotonic_s()
        self._clear_letters(letters, verdicts)
        report = self._settle(batch, newest, verdicts)
        report.settle_s = self._clock.monotonic_s() - stored_s
        return report

    def reject(self, item: HeldItem, reason: str) -> None:
        """Charge a failure to one item: a retry with backoff, or its death.

        Raises:
            StoreUnavailable, QueueUnavailable: call again.
        """
        report = FlushReport()
        self._settle_failed(item.queue, [item], {item.item_id: reason}, report)

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
        verdicts.rejected |= report.rejected
        for item_id, decision in decisions.items():
            if item_id not in report.lost and item_id not in report.rejected:
                verdicts.ended[item_id] = decision.outcome
        verdicts.stored_revisions |= _stored_revisions(items, stored, decisions, report)
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
            )
            for item_id, decision in decisions.items()
            if decision.write is not None
        ]

    def _clear_letters(self, letters: Mapping[str, DeadLetter], verdicts: _Verdicts) -> None:
        """Take back the dead letters of what is stored now, in the record and in the queue."""
        cleared = {
            item_id: revision
            for item_id, revision in verdicts.stored_revisions.items()
            if item_id in letters and letters[item_id].revision <= revision
        }
        clear_dead_letters(self._letters, self._dead_letter_queue, cleared)

    def _settle(
        self, batch: Sequence[HeldItem], newest: Mapping[str, HeldItem], verdicts: _Verdicts
    ) -> FlushReport:
        """Settle each job by its item's verdict; one call for each kind of end that occurs."""
        report = FlushReport()
        queue = batch[0].queue
        done: list[tuple[HeldItem, Outcome]] = []
        rejected: list[HeldItem] = []
        dead: list[HeldItem] = []
        released: list[HeldItem] = []
        for item in batch:
            outcome = self._outcome_of(item, newest, verdicts)
            if outcome is Outcome.DEAD:
                dead.append(item)
            elif outcome is not None:
                done.append((item, outcome))
            elif newest[item.item_id] is item and item.item_id in verdicts.rejected:
                rejected.append(item)
            else:
                released.append(item)
        self._complete(queue, done, report)
        self._settle_failed(queue, rejected, verdicts.rejected, report)
        if dead:
            dying = [_dying(item, _known_error(verdicts.letters[item.item_id])) for item in dead]
            self._count_dead(self._dead_letterer.move(queue, dying), report)
        if released:
            queue.release_many([item.lock for item in released])
            report.released = len(released)
        return report

    def _complete(
        self, queue: JobQueue, done: Sequence[tuple[HeldItem, Outcome]], report: FlushReport
    ) -> None:
        report.outcomes.update(outcome for _, outcome in done)
        outcomes = queue.complete_many(
            [Completion(*_lock(item), str(outcome), outcome) for item, outcome in done]
        )
        report.lock_lost += _count_lost(outcomes)
        log_settled("job_succeeded", queue, ((item.job, end) for item, end in done), outcomes)

    def _outcome_of(
        self, item: HeldItem, newest: Mapping[str, HeldItem], verdicts: _Verdicts
    ) -> Outcome | None:
        """Return how a job ended; None when its item is not stored."""
        winner = newest[item.item_id]
        outcome = verdicts.ended.get(item.item_id)
        if winner is item or outcome in (None, Outcome.DEAD):
            return outcome if winner is item else None
        # A job of the same item with newer content went ahead in this batch.
        is_same = winner.content_hash == item.content_hash
        return Outcome.UNCHANGED if is_same else Outcome.SUPERSEDED

    def _settle_failed(
        self,
        queue: JobQueue,
        rejected: Sequence[HeldItem],
        reasons: Mapping[str, str],
        report: FlushReport,
    ) -> None:
        final = [item for item in rejected if _is_last_attempt(item)]
        again = [item for item in rejected if not _is_last_attempt(item)]
        outcomes = queue.retry_many([_retry(item, reasons[item.item_id]) for item in again])
        report.lock_lost += _count_lost(outcomes)
        report.retried = len(again)
        ends = ((item.job, reasons[item.item_id]) for item in again)
        log_settled("job_failed", queue, ends, outcomes)
        dying = [_dying(item, ItemError(REJECTED, reasons[item.item_id])) for item in final]
        self._count_dead(self._dead_letterer.bury(queue, dying), report)

    def _count_dead(self, outcomes: Sequence[SettleOutcome], report: FlushReport) -> None:
        report.lock_lost += _count_lost(outcomes)
        report.outcomes[Outcome.DEAD] += len(outcomes)


def _stored_revisions(
    items: Mapping[str, HeldItem],
    stored: Mapping[str, StoredVersion],
    decisions: Mapping[str, Decision],
    report: WriteReport,
) -> dict[str, int]:
    """Return the revision that is stored now, of each item that is stored."""
    revisions: dict[str, int] = {}
    for item_id, decision in decisions.items():
        if item_id in report.written:
            revisions[item_id] = items[item_id].revision
        elif decision.write is None and item_id in stored:
            revisions[item_id] = stored[item_id].revision
    return revisions


def _lock(item: HeldItem) -> tuple[str, str]:
    return item.job.id, item.job.token


def _is_last_attempt(item: HeldItem) -> bool:
    return item.job.attempts_made + 1 >= item.job.max_attempts


def _retry(item: HeldItem, reason: str) -> Retry:
    return Retry(
        job_id=item.job.id,
        token=item.job.token,
        reason=reason,
        stacktrace="",
        delay_ms=backoff_delay_ms(item.job.backoff, item.job.attempts_made + 1),
    )


def _known_error(letter: DeadLetter) -> ItemError:
    """Return what a death that is on record already was recorded with."""
    return ItemError(letter.error_type, letter.reason)


def _dying(item: HeldItem, error: ItemError) -> DyingJob:
    return DyingJob(
        queue=item.queue,
        job=item.job,
        source=item.source,
        guid=str(item.content["guid"]),
        revision=item.revision,
        import_id=item.import_id,
        content_hash=item.content_hash,
        error=error,
    )


def _count_lost(outcomes: Sequence[SettleOutcome]) -> int:
    return sum(outcome is SettleOutcome.LOCK_LOST for outcome in outcomes)
