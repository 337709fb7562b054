"""Supervised loops: the one way in which this project runs a long-lived thread.

A loop is a step that is repeated. What a step raises was not foreseen: it is reported with its
stack, counted, and the step is repeated after a growing pause. A loop that fails
``MAX_FAILURES`` times in a row, about a minute, is given up, and with it the process: a new one may
fare better, and a process without one of its loops would look healthy and do half of its work.
"""

import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from shared.clock import Clock
from shared.reasons import text_of

LogEvent = Callable[..., None]
GiveUp = Callable[[str], None]
# Does one round; returns for how many seconds to rest before the next one.
Step = Callable[[], float]

MAX_FAILURES = 10
FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 30.0


@dataclass(frozen=True, slots=True)
class FailingLoop:
    """A loop whose last step failed; ``failures`` is how many failed in a row."""

    name: str
    failures: int
    error: str

    def __str__(self) -> str:
        times = "once" if self.failures == 1 else f"{self.failures} times in a row"
        return f"{self.name} failed {times}: {self.error}"


class Supervisor:
    """Keeps the books on the loops of one process. Safe for threads.

    ``log_event`` is called with ``thread_failed`` for each failure (fields ``thread``,
    ``failures``, ``pause_s``, ``exc_info``) and ``thread_given_up`` at the limit.
    ``give_up`` is called with a loop's name when that loop is given up: it has to end the process
    with exit code 1, after the hand-over. Without it no loop is ever given up.
    """

    def __init__(self, clock: Clock, log_event: LogEvent, *, give_up: GiveUp | None = None) -> None:
        self._clock = clock
        self._log_event = log_event
        self._give_up = give_up
        self._mutex = threading.Lock()
        self._totals: Counter[str] = Counter()
        self._failing: dict[str, FailingLoop] = {}
        self._given_up: str | None = None

    @property
    def given_up(self) -> str | None:
        """The name of the first loop that was given up; None while there is none."""
        return self._given_up

    def failing(self) -> list[FailingLoop]:
        """Return the loops whose last step failed, by name."""
        with self._mutex:
            return [self._failing[name] for name in sorted(self._failing)]

    def failures(self) -> Mapping[str, int]:
        """Return how many steps of each loop have failed since the process began."""
        with self._mutex:
            return dict(self._totals)

    def loop(
        self, name: str, step: Step, stop: threading.Event, *, is_essential: bool = True
    ) -> "SupervisedLoop":
        """Return a loop that repeats ``step`` until ``stop`` is set.

        One that is not essential is never given up: the process is of use without it.
        """
        with self._mutex:
            self._totals[name] += 0
        return SupervisedLoop(self, name, step, stop, is_essential=is_essential)

    def start(
        self, name: str, step: Step, stop: threading.Event, *, is_essential: bool = True
    ) -> threading.Thread:
        """Run a loop on a daemon thread of its own.

        Raises:
            RuntimeError: the machine refuses another thread.
        """
        loop = self.loop(name, step, stop, is_essential=is_essential)
        thread = threading.Thread(target=loop.run, name=name, daemon=True)
        thread.start()
        return thread

    def note_success(self, name: str) -> None:
        """Note that a loop's step went well."""
        if name in self._failing:
            with self._mutex:
                self._failing.pop(name, None)

    def note_failure(self, name: str, error: Exception, *, may_give_up: bool) -> float | None:
        """Report a step that failed; return the pause in seconds, None to end the loop."""
        failures = self._count(name, error)
        if may_give_up and self._give_up is not None and failures >= MAX_FAILURES:
            self._log_event("thread_given_up", thread=name, failures=failures, exc_info=error)
            self._given_up = self._given_up or name
            self._give_up(name)
            return None
        pause_s = min(FIRST_PAUSE_S * 2.0 ** min(failures - 1, 16), MAX_PAUSE_S)
        self._log_event(
            "thread_failed", thread=name, failures=failures, pause_s=pause_s, exc_info=error
        )
        return pause_s

    def rest(self, stop: threading.Event, pause_s: float) -> None:
        """Wait between two steps, or until the loop is to end."""
        if pause_s > 0:
            self._clock.wait(stop, pause_s)

    def _count(self, name: str, error: Exception) -> int:
        with self._mutex:
            self._totals[name] += 1
            before = self._failing.get(name)
            failures = (before.failures if before is not None else 0) + 1
            text = f"{type(error).__name__}: {text_of(error)}"[:300]
            self._failing[name] = FailingLoop(name, failures, text)
            return failures


class PartSupervisor(Supervisor):
    """A supervisor's hand in one of several equal parts, whose loops bear the part's name."""

    def __init__(self, whole: Supervisor, part: str) -> None:
        super().__init__(whole._clock, whole._log_event)
        self._whole = whole
        self._part = part

    def loop(
        self, name: str, step: Step, stop: threading.Event, *, is_essential: bool = True
    ) -> "SupervisedLoop":
        """Return a loop of the whole, named after the part too."""
        named = f"{name}-{self._part}"
        return self._whole.loop(named, step, stop, is_essential=is_essential)


class SupervisedLoop:
    """One loop; see :class:`Supervisor`. Its step is called by one thread at a time."""

    def __init__(
        self,
        supervisor: Supervisor,
        name: str,
        step: Step,
        stop: threading.Event,
        *,
        is_essential: bool,
    ) -> None:
        self._supervisor = supervisor
        self._name = name
        self._step = step
        self._stop = stop
        self._is_essential = is_essential

    def run(self) -> None:
        """Repeat the step until the loop is stopped or given up; raises nothing of the step's."""
        while not self._stop.is_set():
            pause_s = self.attempt()
            if pause_s is None:
                return
            self._supervisor.rest(self._stop, pause_s)

    def attempt(self) -> float | None:
        """Do one step; return the seconds to rest, None when the loop is given up."""
        try:
            pause_s = self._step()
        except Exception as exc:  # noqa: BLE001 - the outermost place of every loop
            return self._supervisor.note_failure(self._name, exc, may_give_up=self._is_essential)
        self._supervisor.note_success(self._name)
        return pause_s


class ThreadMetrics(Collector):
    """What a process's supervisor counts: steps that failed, by thread, and those failing now."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor

    def collect(self) -> Iterator[Metric]:
        failures = CounterMetricFamily(
            "feedmill_thread_failures",
            "Rounds of a long-lived thread that ended with an error nobody foresaw.",
            labels=["thread"],
        )
        for name, count in self._supervisor.failures().items():
            failures.add_metric([name], count)
        failing = GaugeMetricFamily(
            "feedmill_failing_threads",
            "Threads whose last round failed so.",
            value=len(self._supervisor.failing()),
        )
        yield from (failures, failing)
