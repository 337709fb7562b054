"""What happens in a queue, as an iterator."""

import math
from collections.abc import Iterator

from feedmill.base import Connection, QueueBase
from shared.queue.events import Event, EventStream


class QueueEvents(QueueBase):
    """The events of a queue one after the other, each once, whoever works it: Node or Python.

    ::

        for event in QueueEvents("emails"):
            print(event.name, event.job_id, event.fields)

    They are given from now on; with ``last_event_id`` those behind it, "0" for all that are kept,
    about 10,000. Iterating blocks, and ends with :meth:`close`, which another thread may call.
    After ``QueueUnavailable`` it can be begun again, and goes on where it was.

    Raises:
        QueueUnavailable: Redis cannot serve; also when this is made, for it looks where to begin.
    """

    def __init__(
        self,
        name: str,
        connection: Connection = None,
        *,
        prefix: str = "bull",
        last_event_id: str = "$",
    ) -> None:
        super().__init__(name, connection, prefix=prefix)
        try:
            self._stream = EventStream(self.core, last_event_id)
        except BaseException:
            super().close()
            raise

    @property
    def last_event_id(self) -> str:
        """The id of the last event that was given: where another may go on later."""
        return self._stream.last_id

    def __iter__(self) -> Iterator[Event]:
        return self._stream.listen(math.inf)

    def listen(self, timeout_s: float) -> Iterator[Event]:
        """Yield events as they come, for ``timeout_s``; with 0 those that are there already."""
        return self._stream.listen(timeout_s)

    def close(self) -> None:
        """End all iterating, then close the connections that are its own. Safe to call twice."""
        self._stream.close()
        super().close()
