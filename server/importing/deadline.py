"""How long one run of an import may take to have all its answers."""

from shared.clock import Clock

# Shorter than this no request and no parser can do anything.
_WORTH_TRYING_S = 0.01


class RunDeadline:
    """The end of the time that a run has for all its URLs, and for parsing what they answer.

    It lies before the moment at which the queue gives a run up, so that there is time left to
    compare, to commit and to enqueue what was read.
    """

    def __init__(self, clock: Clock, limit_s: float) -> None:
        self.limit_s = limit_s
        self._clock = clock
        self._ends_s = clock.monotonic_s() + limit_s

    @property
    def left_s(self) -> float:
        """Return the seconds left, 0 when none are."""
        return max(self._ends_s - self._clock.monotonic_s(), 0.0)

    @property
    def is_over(self) -> bool:
        """Whether it is too late to begin anything."""
        return self.left_s < _WORTH_TRYING_S
