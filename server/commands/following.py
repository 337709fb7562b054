"""Following something that the service does until it has ended."""

import time
from collections.abc import Callable
from typing import TypeVar

from shared.errors import ServiceError

POLL_S = 0.25
# A service that restarts in the middle is waited for; what it accepted, it keeps.
_SILENCE_S = 60.0
T = TypeVar("T")


def follow(
    seen: T,
    read: Callable[[T], T],
    *,
    show: Callable[[T], None],
    is_ended: Callable[[T], bool],
    check: Callable[[], None] = lambda: None,
    poll_s: float = POLL_S,
) -> T:
    """Read something again and again until it has ended, and return it as it is then.

    ``show`` is called at each round, the last time when it has ended. ``check`` is called at each
    round, too, and may raise to give up.

    Raises:
        ServiceError: the service went away and did not come back within a minute.
    """
    answered_at = time.monotonic()
    while True:
        show(seen)
        if is_ended(seen):
            return seen
        time.sleep(poll_s)
        check()
        try:
            seen = read(seen)
            answered_at = time.monotonic()
        except ServiceError as exc:
            if not exc.retryable or time.monotonic() - answered_at > _SILENCE_S:
                raise
