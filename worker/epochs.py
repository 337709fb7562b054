"""Which items were read in an epoch that is over: nothing of it may be stored any more."""

from collections.abc import Iterable, Mapping, Sequence

from shared.dead_jobs import readable_data
from shared.queue import ClaimedJob
from shared.store import IntervalStore
from worker.decoding import DecodedItem, read_epoch

_NAMES_ONE = '"epoch":'


class EpochGuard:
    """Knows stale items by the epochs of their indexers. Safe for threads.

    Raises (all methods): ``StoreUnavailable``; nothing is known of any item then.
    """

    def __init__(self, intervals: IntervalStore) -> None:
        self._intervals = intervals

    def find_stale(self, items: Sequence[DecodedItem]) -> set[str]:
        """Return the job ids of items whose indexer is in another epoch, or is not there.

        One find for a hundred indexers; items of none are never stale.
        """
        return self._find({item.job.id: item.epoch for item in items if item.epoch is not None})

    def find_stale_jobs(self, jobs: Iterable[ClaimedJob]) -> set[str]:
        """Return the same of jobs that could not be made items."""
        pulled = [job for job in jobs if _NAMES_ONE in job.raw_data]
        epochs = {job.id: _epoch_of(job) for job in pulled}
        return self._find({job_id: epoch for job_id, epoch in epochs.items() if epoch is not None})

    def _find(self, epochs: Mapping[str, tuple[str, int]]) -> set[str]:
        if not epochs:
            return set()
        current = self._intervals.read_epochs({name for name, _ in epochs.values()})
        return {job_id for job_id, (name, epoch) in epochs.items() if current.get(name) != epoch}


def _epoch_of(job: ClaimedJob) -> tuple[str, int] | None:
    data = readable_data(job.raw_data)
    return read_epoch(data) if isinstance(data, dict) else None
