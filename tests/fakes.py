"""A stand-in for the time, which tests cannot have for real."""

from datetime import UTC, datetime

from shared.clock import SimulatedClock


class FakeClock(SimulatedClock):
    """A clock that stands still until a test moves it."""

    def __init__(self, start: datetime = datetime(2026, 11, 1, 12, tzinfo=UTC)) -> None:
        super().__init__(start)
