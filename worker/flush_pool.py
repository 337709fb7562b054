"""The threads that flush: supervised daemons.

Not the standard library's executor: the interpreter waits for its threads at the exit, which a
flush that hangs would hold up, and what a task raises stays unseen in a future. Here it is logged,
counted and, when it goes on, ends the process, as in every other loop.
"""

import threading
from collections import deque
from collections.abc import Callable

from shared.supervision import Supervisor

# How late the end of the pool may be noticed by a thread that nothing wakes.
_IDLE_WAIT_S = 60.0


class FlushPool:
    """Runs acts, first come first served, on a fixed number of threads."""

    def __init__(self, threads: int, supervisor: Supervisor) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = 0
        self._finished = 0
        self._closed = threading.Event()
        self._size = threads
        self._supervisor = supervisor

    def start(self) -> None:
        """Start the threads."""
        for number in range(self._size):
            self._supervisor.start(f"flush-{number}", self._step, self._closed)

    @property
    def is_idle(self) -> bool:
        """Whether nothing runs and nothing waits."""
        with self._changed:
            return not self._waiting and not self._running

    @property
    def finished(self) -> int:
        """How many acts have ended so far."""
        return self._finished

    def submit(self, act: Callable[[], None]) -> None:
        """Let a thread run an act as soon as one is free."""
        with self._changed:
            self._waiting.append(act)
            self._changed.notify_all()

    def wait_for_change(self, seen_finished: int, timeout_s: float) -> None:
        """Wait until more acts have ended than were seen, or the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._finished != seen_finished, timeout_s)

    def wait_until_idle(self, timeout_s: float) -> bool:
        """Wait until all acts have ended; False when the time was over before."""
        with self._changed:
            return self._changed.wait_for(
                lambda: not self._waiting and not self._running, timeout_s
            )

    def close(self) -> None:
        """Let the threads end; what has not begun is forgotten."""
        with self._changed:
            self._closed.set()
            self._waiting.clear()
            self._changed.notify_all()

    def _step(self) -> float:
        """Run the next act; what it raises is the supervisor's."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._closed.is_set(), _IDLE_WAIT_S)
            if self._closed.is_set() or not self._waiting:
                return 0.0
            act = self._waiting.popleft()
            self._running += 1
        try:
            act()
        finally:
            with self._changed:
                self._running -= 1
                self._finished += 1
                self._changed.notify_all()
        return 0.0
