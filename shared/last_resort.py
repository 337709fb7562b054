"""The last resort of a stop: a store that answers nothing must not hold up the exit."""

import os
import sys
import threading

from shared.logs import get_logger

log = get_logger("stopping")

# Less than the 10 s that a stop may take at worst, and that Docker waits before it kills.
STOP_AT_WORST_S = 8.0


def end_at_worst_after(seconds: float = STOP_AT_WORST_S, *, exit_code: int = 0) -> None:
    """End this process with ``exit_code`` after ``seconds``, whatever still hangs then.

    Nothing is lost by it: jobs in flight run again when their locks run out. Safe to call twice;
    the first call counts.
    """
    last_resort = threading.Timer(seconds, _end, [exit_code])
    last_resort.daemon = True
    last_resort.start()


def _end(exit_code: int) -> None:
    log.warning("stop_cut_short")
    sys.stderr.flush()
    os._exit(exit_code)
