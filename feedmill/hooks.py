"""Whom a worker reports to what it does."""

import logging
from collections.abc import Callable

from shared.errors import InvalidJobOptions

Hook = Callable[..., object]

EVENTS = (
    "active",
    "completed",
    "failed",
    "progress",
    "stalled",
    "drained",
    "error",
    "closed",
)

log = logging.getLogger("feedmill")


class Hooks:
    """The hooks of one worker. One that fails is logged, and the others are called all the same."""

    def __init__(self) -> None:
        self._by_event: dict[str, tuple[Hook, ...]] = {}

    def add(self, event: str, hook: Hook) -> None:
        """Have ``hook`` called at each ``event``, after those that were added before.

        Raises:
            InvalidJobOptions: there is no such event.
        """
        if event not in EVENTS:
            raise InvalidJobOptions("event", event, ", ".join(EVENTS))
        self._by_event[event] = (*self._by_event.get(event, ()), hook)

    def has(self, event: str) -> bool:
        """Return whether anybody wants to know."""
        return event in self._by_event

    def call(self, event: str, *arguments: object) -> None:
        """Call the hooks of an event, in the order in which they were added."""
        for hook in self._by_event.get(event, ()):
            try:
                hook(*arguments)
            except Exception:
                log.warning("hook_failed %s", {"event": event}, exc_info=True)
