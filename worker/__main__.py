"""The worker's composition root: settings → clients → process → signals."""

import os
import signal
import sys

from shared.clock import SystemClock
from shared.errors import FeedmillError, SettingsError
from shared.logs import configure_logs, get_logger
from shared.settings import load_settings
from shared.startup import connect_stores
from worker.process import WorkerProcess

log = get_logger("worker")


def main() -> int:
    """Run a worker until SIGTERM or SIGINT. Exit code 1: a store or a port; 2: a setting."""
    try:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        redis, stores = connect_stores(settings, "feedmill-worker")
        process = WorkerProcess(settings, redis, stores, SystemClock())
        if settings.metrics_port:
            process.metrics.serve(settings.metrics_port)
    except SettingsError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - before anything can be logged
        return 2
    except FeedmillError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - one line is what a start that fails owes
        return 1
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(signal_number, lambda *_: process.stop())
    log.info("worker_started", queues=settings.worker_type)
    process.run()
    log.info("worker_stopped")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: a flush that hangs in the driver must not hold up the exit.
    os._exit(code)
