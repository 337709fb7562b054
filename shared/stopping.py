"""The last resort of a stop: a store that answers nothing must not hold up the exit."""

import os
import sys
import threading

from shared.logs import get_logger

log = get_logger("stopping")

# Less than the 10 s that a stop may take at worst, and that Docker waits before it kills.
STOP_AT_WORST_S = 8.0


def end_at_worst_after(seconds: float = STOP_AT_WORST_S) -> None:
    """End this process with code 0 after ``seconds``, whatever still hangs then.

    Nothing is lost by it: jobs in hand run again when their locks run out. Safe to call twice;
    the first call counts.
    """
    last_resort = threading.Timer(seconds, _end)
    last_resort.daemon = True
    last_resort.start()


def _end() -> None:
    log.warning("stop_cut_short")
    sys.stderr.flush()
    os._exit(0)
