"""The last resort of a stop: a store that answers nothing must not hold up the exit."""

import os
import signal
import sys
import threading
import time
from collections.abc import Callable

from shared.logs import get_logger

log = get_logger("stopping")

# Less than the 10 s that a stop may take at worst, and that Docker waits before it kills.
STOP_AT_WORST_S = 8.0
# Signals that come sooner after the first are the same request: timeout(1) signals a process and
# its group.
SAME_REQUEST_S = 0.2
_SIGNALLED = 128


def end_at_worst_after(seconds: float = STOP_AT_WORST_S, *, exit_code: int = 0) -> None:
    """End this process with ``exit_code`` after ``seconds``, whatever still hangs then.

    Nothing is lost by it: jobs in flight run again when their locks run out. Safe to call twice;
    the first call counts.
    """
    last_resort = threading.Timer(seconds, _end, [exit_code])
    last_resort.daemon = True
    last_resort.start()


def end_at_second_signal(is_ended: Callable[[], bool] = lambda: False) -> None:
    """Let another SIGTERM or SIGINT end this process at once, with 128 and its number as exit code.

    To be called on the main thread when the first one is being heeded. Nothing is lost by it, as
    for :func:`end_at_worst_after`. ``is_ended``: whether there is nothing left to be ended.
    """
    began_s = time.monotonic()

    def end(signal_number: int, _frame: object) -> None:
        if time.monotonic() - began_s > SAME_REQUEST_S and not is_ended():
            os._exit(_SIGNALLED + signal_number)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, end)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})


def _end(exit_code: int) -> None:
    log.warning("stop_cut_short")
    sys.stderr.flush()
    os._exit(exit_code)
