"""``python -m tests.failing_role server|worker LOOP… once|always``: a real role whose loops fail.

Each round of the loops whose names begin so raises, behind its work where it is the first one only,
instead of its work where it always fails. Pauses are cut short, so that nobody waits a minute.
"""

import importlib
import os
import sys
import threading
from typing import Any

from shared import supervision
from shared.supervision import Step, Supervisor


class Sabotage(Exception):
    """Nothing that any loop could foresee."""


def fail_once(step: Step) -> Step:
    has_failed = threading.Event()

    def failing() -> float:
        pause_s = step()
        if not has_failed.is_set():
            has_failed.set()
            raise Sabotage("once")
        return pause_s

    return failing


def fail_always(_step: Step) -> Step:
    def failing() -> float:
        raise Sabotage("always")

    return failing


def main() -> int:
    role, *names, how = sys.argv[1:]
    spoil = {"once": fail_once, "always": fail_always}[how]
    loop = Supervisor.loop

    def failing_loop(self: Supervisor, name: str, step: Step, *more: Any, **options: Any) -> Any:
        is_meant = any(name.startswith(each) for each in names)
        return loop(self, name, spoil(step) if is_meant else step, *more, **options)

    Supervisor.loop = failing_loop  # type: ignore[method-assign]
    supervision.MAX_PAUSE_S = 0.1
    return int(importlib.import_module(f"{role}.__main__").main())


if __name__ == "__main__":
    os._exit(main())
