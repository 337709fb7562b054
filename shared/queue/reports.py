"""Reports what a worker does."""

from collections.abc import Callable
from typing import Any

from shared.queue.job import ClaimedJob
from shared.reasons import reason_of, shown

LogEvent = Callable[..., None]


def no_log(event: str, **fields: object) -> None:
    """Say nothing."""


class Reports:
    """Reports a worker's jobs and trouble: to a log, and trouble to ``on_error`` too."""

    def __init__(
        self, queue_name: str, log_event: LogEvent, on_error: Callable[[BaseException], None]
    ) -> None:
        self._queue_name, self._log_event, self._on_error = queue_name, log_event, on_error

    def report(self, event: str, job: ClaimedJob, **fields: object) -> None:
        """Log what becomes of a job."""
        self._log_event(event, queue=self._queue_name, job=job.id, **fields)

    def report_trouble(self, event: str, error: BaseException, **fields: object) -> None:
        """Log an error that ends nothing."""
        self._log_event(event, queue=self._queue_name, **fields, error=reason_of(error))
        self.call("error_hook_failed", self._on_error, error)

    def call(
        self, event: str, hook: Callable[..., None], *arguments: Any, **fields: object
    ) -> None:
        """Call a hook; if it fails, ``event`` is logged, and all goes on."""
        try:
            hook(*arguments)
        except Exception as exc:  # noqa: BLE001 - the loop outlives whatever a hook raises
            self._log_event(event, queue=self._queue_name, **fields, error=shown(exc))
