"""Which items were read in an epoch that is over: nothing of it may be stored any more."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from shared.dead_jobs import readable_data
from shared.errors import UnreadableDocument
from shared.logs import get_logger
from shared.queue import ClaimedJob
from shared.store import IntervalStore
from worker.decoding import DecodedItem, read_epoch

log = get_logger("worker.epochs")

_NAMES_ONE = '"epoch":'


@dataclass(frozen=True, slots=True)
class Judged:
    """Ids of jobs that are not to be stored now; all others are.

    ``stale``: their indexer is in another epoch, or is not there. ``unknown``: it cannot be read.
    """

    stale: frozenset[str] = frozenset()
    unknown: frozenset[str] = frozenset()


class EpochGuard:
    """Knows stale items by the epochs of their indexers. Safe for threads.

    Raises (all methods): ``StoreUnavailable``; nothing is known of any item then.
    """

    def __init__(self, intervals: IntervalStore) -> None:
        self._intervals = intervals

    def judge(self, items: Sequence[DecodedItem]) -> Judged:
        """Judge items by the epochs of their indexers; items of none are always stored.

        One find for a hundred indexers; more only where one of them cannot be read.
        """
        return self._judge({item.job.id: item.epoch for item in items if item.epoch is not None})

    def judge_jobs(self, jobs: Iterable[ClaimedJob]) -> Judged:
        """Judge jobs that could not be made items."""
        pulled = [job for job in jobs if _NAMES_ONE in job.raw_data]
        epochs = {job.id: _epoch_of(job) for job in pulled}
        return self._judge({job_id: epoch for job_id, epoch in epochs.items() if epoch is not None})

    def _judge(self, epochs: Mapping[str, tuple[str, int]]) -> Judged:
        if not epochs:
            return Judged()
        current, unreadable = self._read({name for name, _ in epochs.values()})
        unknown = {job_id for job_id, (name, _) in epochs.items() if name in unreadable}
        stale = {job_id for job_id, (name, epoch) in epochs.items() if current.get(name) != epoch}
        return Judged(frozenset(stale - unknown), frozenset(unknown))

    def _read(self, names: set[str]) -> tuple[dict[str, int], set[str]]:
        """Return the epochs of indexers, and the names of those that cannot be read."""
        try:
            return self._intervals.read_epochs(names), set()
        except UnreadableDocument as exc:
            if len(names) == 1:
                log.warning("epoch_unreadable", error=str(exc))
                return {}, names
        # Only one by one it shows which: the items of the others are not to wait for it.
        current: dict[str, int] = {}
        unreadable: set[str] = set()
        for name in names:
            epoch, spoilt = self._read({name})
            current |= epoch
            unreadable |= spoilt
        return current, unreadable


def _epoch_of(job: ClaimedJob) -> tuple[str, int] | None:
    data = readable_data(job.raw_data)
    return read_epoch(job, data) if isinstance(data, dict) else None
