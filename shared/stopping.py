"""How processes stop: a signal ends a command the way a block ends on an exception."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

# Signals that come sooner after the first are the same request: timeout(1) signals a process and
# its group.
SAME_REQUEST_S = 0.2
_SIGNALLED = 128
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def end_at_second_signal(is_ended: Callable[[], bool] = lambda: False) -> None:
    """Let another SIGTERM or SIGINT end this process at once, with 128 and its number as exit code.

    To be called on the main thread when the first one is being heeded. Nothing is lost by it:
    jobs in flight run again when their locks run out. ``is_ended``: whether there is nothing left
    to be ended.
    """
    began_s = time.monotonic()

    def end(signal_number: int, _frame: object) -> None:
        if time.monotonic() - began_s > SAME_REQUEST_S and not is_ended():
            os._exit(_SIGNALLED + signal_number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})


class Stopped(BaseException):
    """Somebody asked this process to stop; ``signal_number`` says how."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by {signal.Signals(signal_number).name}")
        self.signal_number = signal_number

    @property
    def exit_code(self) -> int:
        """What a shell calls the end by this signal: 130 for SIGINT, 143 for SIGTERM."""
        return _SIGNALLED + self.signal_number


@contextmanager
def stopping_on_signals() -> Iterator[None]:
    """Raise :class:`Stopped` in the block at a first SIGINT, SIGTERM or SIGHUP.

    A later SIGINT or SIGTERM ends the process at once, whatever it does then and whatever became of
    the first: it may have been swallowed, or the main thread may be in a call that takes no signal.
    What is ignored at the start, as SIGINT is in a shell's background job, stops it too; SIGHUP
    alone stays ignored, for that is what ``nohup`` is for. Main thread only.
    """
    is_to_outlive_terminal = signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    numbers = [each for each in _SIGNALS if each != signal.SIGHUP or not is_to_outlive_terminal]
    watch = _SignalWatch()

    def stop(signal_number: int, _frame: FrameType | None) -> None:
        if not watch.is_first_handled:
            watch.is_first_handled = True
            raise Stopped(signal_number)
        # What is being stopped is not disturbed: the watch handles a second signal.

    # Python's own handler writes each signal's number there, also while no Python code can run.
    wakeup_before = signal.set_wakeup_fd(watch.write_end, warn_on_full_buffer=False)
    before = {number: signal.signal(number, stop) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        signal.set_wakeup_fd(wakeup_before)
        watch.close()


class _SignalWatch:
    """A thread that reads the numbers of signals, and ends the process at the second."""

    def __init__(self) -> None:
        self.is_first_handled = False
        self._main_thread_id = threading.get_ident()
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self.write_end, False)
        self._thread = threading.Thread(target=self._run, name="second-signal", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        os.close(self.write_end)
        self._thread.join()
        os.close(self._read_end)

    def _run(self) -> None:
        # Only a call of the main thread is cut short by a signal that the main thread gets.
        signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        first_at: float | None = None
        while written := os.read(self._read_end, 1):
            number = written[0]
            if number not in _SIGNALS:
                continue
            if first_at is None:
                self._repeat_unless_handled(number)
                first_at = time.monotonic()
            elif number != signal.SIGHUP and time.monotonic() - first_at > SAME_REQUEST_S:
                os._exit(_SIGNALLED + number)

    def _repeat_unless_handled(self, number: int) -> None:
        """Send the main thread its first signal again: it may have come just before a long call."""
        time.sleep(SAME_REQUEST_S / 2)
        if not self.is_first_handled:
            signal.pthread_kill(self._main_thread_id, number)
            os.read(self._read_end, 1)
