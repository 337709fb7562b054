"""Whose fault a failure is, by the error's type, and what stops the claims in an outage.

==============================  ==========  =====================================================
error                           owner       what follows
==============================  ==========  =====================================================
``ItemError``                   item        its own retry, or a dead letter: an attempt is used
``StoreUnavailable``            store       the same step is repeated until MongoDB is back
other ``StoreError``            store       the same; MongoDB refuses, which may be an item's doing
``QueueUnavailable``            queue       the same step is repeated until Redis is back
other ``QueueError``            queue       the same; Redis refuses, which may be a job's doing
anything else                   ourselves   the same, logged with its stack: a bug
==============================  ==========  =====================================================

Only an item's own failure uses an attempt. A refusal, a bug, or an outage that nothing else sees
becomes the item's own only in :class:`worker.storing.BatchRunner`: when the item fails alone,
again and again, while MongoDB takes other writes.
"""

import random
from enum import StrEnum

from shared.clock import Clock
from shared.errors import (
    ItemError,
    QueueError,
    QueueUnavailable,
    StoreError,
    StoreUnavailable,
)
from shared.logs import get_logger
from shared.queue import Breaker

log = get_logger("worker.breaker")

FIRST_PAUSE_S = 0.1
MAX_PAUSE_S = 5.0


class Owner(StrEnum):
    """Whose fault a failure is."""

    ITEM = "item"
    STORE = "store"
    QUEUE = "queue"
    OURSELVES = "ourselves"


def owner_of(error: Exception) -> Owner:
    """Return whose fault an error is."""
    if isinstance(error, ItemError):
        return Owner.ITEM
    if isinstance(error, StoreError):
        return Owner.STORE
    if isinstance(error, QueueError):
        return Owner.QUEUE
    return Owner.OURSELVES


def is_outage(error: Exception) -> bool:
    """Return whether a store is away for everybody, whatever was asked of it."""
    return isinstance(error, StoreUnavailable | QueueUnavailable)


def pause_s(failures: int) -> float:
    """Return how long to wait before the next try: doubling to 5 s, half of it by chance."""
    longest = min(MAX_PAUSE_S, FIRST_PAUSE_S * 2.0 ** min(failures, 10))
    return longest * random.uniform(0.5, 1.0)


def make_breaker(clock: Clock) -> Breaker:
    """Return what is open while a store is away; whoever finds it back closes it."""
    return Breaker(clock, log_event=_log_breaker)


def _log_breaker(event: str, **fields: object) -> None:
    write = log.info if event == "breaker_closed" else log.warning
    write(event, **fields)
