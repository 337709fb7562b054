"""A circuit breaker: nothing is begun while something that the work needs is away."""

import math
import threading
from collections.abc import Callable, Sequence

from shared.clock import Clock
from shared.queue.job import Lock
from shared.queue.reports import LogEvent, no_log
from shared.queue.runs import is_recoverable
from shared.reasons import reason_of


class Breaker:
    """Closed while a dependency serves, open while it is away. Safe for threads.

    It opens by :meth:`trip`, or when ``failures`` runs in a row failed by it: ``is_trip`` says by
    which errors, other errors say nothing of it. After ``pause_s`` it is half open, and one run is
    let through: if that goes well it closes, if it fails by the dependency the pause begins anew.
    By :meth:`close` it closes at once.

    What fails by the dependency while it is open is not its job's fault, and uses no attempt.
    Several workers may share one. ``log_event`` is called with ``breaker_opened`` and
    ``breaker_closed``; ``name`` is the dependency's, for people.
    """

    def __init__(
        self,
        clock: Clock,
        *,
        failures: int = 1,
        pause_s: float = math.inf,
        is_trip: Callable[[BaseException], bool] = is_recoverable,
        name: str = "",
        log_event: LogEvent = no_log,
    ) -> None:
        self._clock, self._log_event = clock, log_event
        self._failures, self._pause_s = failures, pause_s
        self._is_trip, self._name = is_trip, name
        self._mutex = threading.Lock()
        self._failed_in_a_row = 0
        self._opened_s: float | None = None
        self._next_trial_s = math.inf
        self._reason = ""
        # The run that is let through; True while it is not claimed yet.
        self._trial: Lock | bool = False

    @property
    def is_open(self) -> bool:
        """Whether nothing may be claimed now, but for one job to try."""
        return self._opened_s is not None

    def open_for_s(self) -> float:
        """Return for how many seconds it has been open; 0 when it is closed."""
        opened_s = self._opened_s
        return 0.0 if opened_s is None else self._clock.monotonic_s() - opened_s

    @property
    def reason(self) -> str | None:
        """Why it is open; None when it is closed."""
        return self._reason if self.is_open else None

    def trip(self, reason: str) -> None:
        """Open it, if it is not."""
        with self._mutex:
            if self._opened_s is not None:
                return
            self._reason, self._trial = reason, False
            self._opened_s = self._clock.monotonic_s()
            self._next_trial_s = self._opened_s + self._pause_s
        self._log_event("breaker_opened", reason=reason)

    def close(self) -> None:
        """Close it, if it is open."""
        with self._mutex:
            self._failed_in_a_row = 0
            if self._opened_s is None:
                return
            open_s = self._clock.monotonic_s() - self._opened_s
            self._opened_s, self._trial = None, False
        self._log_event("breaker_closed", open_s=round(open_s, 1))

    def admit(self, wanted: int) -> int:
        """Return how many jobs may be claimed now: all, none, or the one to try.

        :meth:`begin` has to be called after it, with what was claimed.
        """
        with self._mutex:
            if self._opened_s is None:
                return wanted
            if self._trial is not False or self._clock.monotonic_s() < self._next_trial_s:
                return 0
            self._trial = True
            return min(wanted, 1)

    def begin(self, locks: Sequence[Lock]) -> None:
        """Report what was claimed; with nothing, another may be let through."""
        with self._mutex:
            if self._trial is True:
                self._trial = locks[0] if locks else False

    def leave(self, lock: Lock) -> None:
        """Report that a run is over, whatever came of it: another may be let through."""
        with self._mutex:
            if self._trial == lock:
                self._trial = False

    def note_success(self, lock: Lock) -> None:
        """Report that a run went well; one that began before the breaker opened says nothing."""
        with self._mutex:
            if self._opened_s is None:
                self._failed_in_a_row = 0
            is_trial = self._trial == lock
        if is_trial:
            self.close()

    def note_failure(self, lock: Lock, error: BaseException) -> float | None:
        """Report by what a run failed; return in how many seconds its job is to run again.

        0 is from the front of the line. None where it is the job's own failure: also that of the
        runs that open the breaker, for until then nobody knows better.
        """
        if not self._is_trip(error):
            return None
        reason = f"{self._name}: {reason_of(error)}" if self._name else reason_of(error)
        with self._mutex:
            if self._opened_s is not None:
                return self._spare(lock, reason)
            self._failed_in_a_row += 1
            opens = self._failed_in_a_row >= self._failures
        if opens:
            self.trip(reason)
        return None

    def _spare(self, lock: Lock, reason: str) -> float:
        if self._trial != lock:
            return 0.0
        self._trial, self._reason = False, reason
        self._next_trial_s = self._clock.monotonic_s() + self._pause_s
        # Not to the front: the next one to be tried is another job, should it be this one's doing.
        return self._pause_s
