"""The threads that flush. They are daemons: a flush that hangs cannot hold up the exit."""

import threading
from collections import deque
from collections.abc import Callable

from shared.logs import get_logger

log = get_logger("worker.flush_pool")


class FlushPool:
    """Runs acts, first come first served, on a fixed number of threads."""

    def __init__(self, threads: int) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[Callable[[], None]] = deque()
        self._running = 0
        self._finished = 0
        self._closed = False
        self._threads = [
            threading.Thread(target=self._work, name=f"flush-{number}", daemon=True)
            for number in range(threads)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

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
            self._closed = True
            self._waiting.clear()
            self._changed.notify_all()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._closed)
                if self._closed:
                    return
                act = self._waiting.popleft()
                self._running += 1
            try:
                act()
            except Exception:
                log.exception("flush_thread_error")
            finally:
                with self._changed:
                    self._running -= 1
                    self._finished += 1
                    self._changed.notify_all()
