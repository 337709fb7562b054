"""An own queue under load: jobs are added and worked through whatever happens to its Redis."""

import threading
from collections.abc import Sequence
from typing import Any, Self

from feedmill import Job, Queue, Worker
from feedmill import QueueUnavailable as Unavailable
from tests.processes import wait_until

_CHUNK = 20
_PAUSE_S = 0.02
_PACE_S = 0.1


class Load:
    """Adds ``jobs`` jobs, each until it is accepted, and works them; nothing else may raise."""

    def __init__(self, url: str, jobs: int, *, prefix: str = "bull", concurrency: int = 4) -> None:
        self.jobs = jobs
        self.added = 0
        self.outages = 0
        self.handled: set[str] = set()
        self.error: BaseException | None = None
        self.queue = Queue("load", url, prefix=prefix)
        self._worker = Worker(
            self.queue,
            self._handle,
            concurrency=concurrency,
            lock_duration=2_000,
            stalled_interval=500,
            max_stalled_count=100,
        )
        self._never = threading.Event()
        self._is_stopping = False
        self._adder = threading.Thread(target=self._add_all, name="adder")

    def __enter__(self) -> Self:
        self._worker.start()
        self._adder.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._is_stopping = True
        self._adder.join()
        self._worker.close(5.0)
        self.queue.close()

    def wait_for(self, handled: int, *, within_s: float = 60.0) -> None:
        """Wait until so many jobs were worked."""

        def is_there() -> bool:
            assert self.error is None, repr(self.error)
            return len(self.handled) >= handled

        wait_until(is_there, f"{handled} jobs are worked", within_s=within_s)

    def wait_for_outage(self) -> None:
        """Wait until adding is refused once more."""
        known = self.outages
        wait_until(lambda: self.outages > known, "adding is refused")

    def add_missing(self) -> None:
        """Add what was not worked yet once more, as somebody does who keeps a record of it."""
        self._adder.join()
        missing = sorted(set(map(str_id, range(self.jobs))) - self.handled)
        for start in range(0, len(missing), _CHUNK):
            self._add_until_accepted(missing[start : start + _CHUNK])

    def wait_for_all(self, *, within_s: float = 60.0) -> None:
        """Wait until all jobs were worked, and none is left in the queue."""
        self.wait_for(self.jobs, within_s=within_s)
        wait_until(self._is_empty, "the queue is empty", within_s=within_s)
        assert self.handled == {str_id(number) for number in range(self.jobs)}

    def _is_empty(self) -> bool:
        counts = self.queue.get_job_counts()
        return not any(counts.values())

    def _handle(self, job: Job[Any]) -> None:
        self.handled.add(str(job.id))

    def _add_all(self) -> None:
        ids = list(map(str_id, range(self.jobs)))
        try:
            for start in range(0, self.jobs, _CHUNK):
                self._add_until_accepted(ids[start : start + _CHUNK])
                # Adding is much faster than working: it is to go on as long.
                self._never.wait(_PACE_S)
        except BaseException as exc:
            self.error = exc
            raise

    def _add_until_accepted(self, ids: Sequence[str]) -> None:
        options = {"remove_on_complete": True, "attempts": 100}
        bulk = [
            {"name": "one", "data": {}, "opts": {"job_id": job_id, **options}} for job_id in ids
        ]
        while not self._is_stopping:
            try:
                self.queue.add_bulk(bulk)
            except Unavailable:
                self.outages += 1
                self._never.wait(_PAUSE_S)
            else:
                self.added += len(bulk)
                return


def str_id(number: int) -> str:
    """Return the id of one of the jobs of a load."""
    return f"job-{number}"
