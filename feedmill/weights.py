"""The classes of declared queues: how many jobs a worker runs at a time, and for how long."""

from dataclasses import dataclass
from enum import StrEnum

from shared.errors import InvalidJobOptions

SECOND_MS = 1000
MINUTE_MS = 60 * SECOND_MS
HOUR_MS = 60 * MINUTE_MS


class Weight(StrEnum):
    """How heavy the jobs of a queue are."""

    LIGHT = "light"
    MEDIUM = "medium"
    HEAVY = "heavy"


@dataclass(frozen=True, slots=True)
class WeightClass:
    """What a worker does with jobs of one weight.

    Their locks last ``lock_ms`` without a sign of life, and are looked for each ``stalled_ms``.
    """

    concurrency: int
    lock_ms: int
    stalled_ms: int


CLASSES = {
    Weight.LIGHT: WeightClass(50, 30 * SECOND_MS, 30 * SECOND_MS),
    Weight.MEDIUM: WeightClass(10, 5 * MINUTE_MS, MINUTE_MS),
    Weight.HEAVY: WeightClass(1, HOUR_MS, 5 * MINUTE_MS),
}


def read_weight(weight: object) -> Weight:
    """Return a weight by its name.

    Raises:
        InvalidJobOptions: there is none of this name.
    """
    try:
        return Weight(weight)  # type: ignore[arg-type]
    except ValueError as exc:
        raise InvalidJobOptions("weight", weight, ", ".join(Weight)) from exc
