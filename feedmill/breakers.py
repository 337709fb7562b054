"""Circuit breakers: no job is started while something that the jobs need is away."""

from collections.abc import Callable

from feedmill.reporting import log_event
from shared import queue
from shared.clock import Clock, SystemClock
from shared.errors import InvalidJobOptions
from shared.queue.runs import is_recoverable


class Breaker(queue.Breaker):
    """Stops workers while what their jobs need is away, and lets them go on by itself.

    ::

        Worker("orders", ship, breaker=Breaker("warehouse", is_trip=is_warehouse_away))

    Closed until ``failures`` runs in a row fail by an error for which ``is_trip`` is true: any but
    ``UnrecoverableError`` unless told. Other errors say nothing of it, a run that goes well begins
    the count anew. Then it is open: no job is started, and what still runs and fails by the
    dependency goes back to the front of the line. After ``pause_s`` one job is tried: if it goes
    well the breaker is closed, if it fails by the dependency the job is put back for another pause.
    No attempt is used while it is open.

    Several workers may share one. ``name`` is what is away, for the log and for those who look at
    the workers.

    Raises:
        InvalidJobOptions: no failure at all, or no pause.
    """

    def __init__(
        self,
        name: str = "",
        *,
        failures: int = 5,
        pause_s: float = 30.0,
        is_trip: Callable[[BaseException], bool] = is_recoverable,
        clock: Clock | None = None,
    ) -> None:
        if failures < 1:
            raise InvalidJobOptions("failures", failures, "a whole number from 1")
        if pause_s <= 0:
            raise InvalidJobOptions("pause_s", pause_s, "seconds, more than 0")
        super().__init__(
            clock or SystemClock(),
            failures=failures,
            pause_s=pause_s,
            is_trip=is_trip,
            name=name,
            log_event=log_event,
        )
