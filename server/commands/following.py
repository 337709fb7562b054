"""Following something that the service does until it has ended; the bars that show it."""

import time
from collections.abc import Callable
from typing import TypeVar

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn
from rich.progress import Progress as Bars

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


def make_bars(console: Console, field: str) -> Bars:
    """Return bars with their source before them and a ``field`` of text behind; gone at the end."""
    return Bars(
        TextColumn("{task.fields[source]}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(f"{{task.fields[{field}]}}", markup=False),
        console=console,
        transient=True,
    )
