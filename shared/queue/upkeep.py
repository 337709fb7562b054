"""What a queue needs from time to time, whoever else works it: reclaim and promote."""

import threading
from collections.abc import Callable, Sequence

from shared.clock import Clock
from shared.errors import QueueError, QueueUnavailable
from shared.queue.job import ReclaimReport
from shared.queue.job_queue import JobQueue
from shared.queue.reports import LogEvent
from shared.supervision import Supervisor

OnStalled = Callable[[JobQueue, Sequence[str]], None]
# A refused script is no passing outage: asking each second would only fill the log.
_PAUSE_AFTER_ERROR = 5
# A Redis that answers later than this part of a lock time was away: heartbeats came too late too.
_LATE_PART_OF_LOCK = 1 / 6
_NOTHING_RECLAIMED = ReclaimReport(0, 0, 0)


class Upkeep:
    """A thread that looks after queues each ``every_ms``: stalled jobs back, due ones into line.

    A round asks each queue once, and does no more where no job is claimed and none is due.

    Any number of processes may do so for the same queues. Locks that run out while Redis is away,
    or within ``lock_ms`` of its return, count as nobody's stall: no heartbeat could extend them.
    ``log_event`` is called with a constant event and fields: ``jobs_reclaimed`` when some were,
    ``upkeep_failed`` when Redis refuses. ``supervisor`` runs the thread; without one it is repeated
    for ever, whatever it raises. ``on_stalled(queue, job_ids)`` is called when jobs were reclaimed.

    A job that stalled more than ``max_stalled`` times is run alone, and failed if it stalls again;
    without ``solo_first`` it is failed at once, as ``Worker`` with ``isolates_solo=False`` wants.
    """

    def __init__(
        self,
        queues: Sequence[JobQueue],
        *,
        every_ms: int,
        max_stalled: int,
        clock: Clock,
        log_event: LogEvent,
        lock_ms: int = 30_000,
        solo_first: bool = True,
        on_stalled: OnStalled | None = None,
        supervisor: Supervisor | None = None,
    ) -> None:
        self._queues = tuple(queues)
        self._every_s = every_ms / 1000
        self._max_stalled = max_stalled
        self._solo_first = solo_first
        self._on_stalled = on_stalled
        self._clock = clock
        self._log_event = log_event
        self._lock_s = lock_ms / 1000
        self._was_away = False
        self._excused_until_s = 0.0
        self._supervisor = supervisor or Supervisor(clock, log_event)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin; the first round comes at once."""
        self._thread = self._supervisor.start("queue-upkeep", self._step, self._stop)

    def stop(self, timeout_s: float = 5.0) -> None:
        """End after the round under way. Safe to call twice, and before :meth:`start`."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def run_once(self) -> bool:
        """Do one round over all queues; answer whether all went well."""
        went_well = [self._look_after(queue) for queue in self._queues]
        return all(went_well)

    def _step(self) -> float:
        rounds = 1 if self.run_once() else _PAUSE_AFTER_ERROR
        return self._every_s * rounds

    def _look_after(self, queue: JobQueue) -> bool:
        try:
            has_claimed, has_due = self._look_at(queue)
            report = self._reclaim(queue) if has_claimed else _NOTHING_RECLAIMED
            if has_due:
                queue.promote_due()
        except QueueError as exc:
            self._was_away = self._was_away or isinstance(exc, QueueUnavailable)
            self._log_event("upkeep_failed", queue=queue.name, error=str(exc))
            return False
        if self._was_away:
            self._was_away = False
            self._excused_until_s = self._clock.monotonic_s() + self._lock_s
        if report.requeued:
            self._log_event(
                "jobs_reclaimed",
                queue=queue.name,
                requeued=report.requeued,
                made_solo=report.made_solo,
                doomed=report.doomed,
            )
            if self._on_stalled is not None:
                self._on_stalled(queue, report.job_ids)
        return True

    def _look_at(self, queue: JobQueue) -> tuple[bool, bool]:
        """Ask what there is to do, and how late: a reclaim run so late would count the stalls."""
        asked_s = self._clock.monotonic_s()
        found = queue.needs_upkeep()
        if self._clock.monotonic_s() - asked_s > self._lock_s * _LATE_PART_OF_LOCK:
            self._was_away = True
        return found

    def _reclaim(self, queue: JobQueue) -> ReclaimReport:
        return queue.reclaim_stalled(
            max_stalled=self._max_stalled,
            is_counted=not self._is_excused(),
            solo_first=self._solo_first,
        )

    def _is_excused(self) -> bool:
        return self._was_away or self._clock.monotonic_s() < self._excused_until_s
