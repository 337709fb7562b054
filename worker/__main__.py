"""The worker's composition root: settings → clients → process → signals."""

import os
import signal
import sys
import threading
from collections.abc import Sequence

from prometheus_client import CollectorRegistry

from shared.clock import SystemClock
from shared.errors import AppError, FeedmillError, SettingsError
from shared.last_resort import end_at_worst_after
from shared.logs import configure_logs, get_logger
from shared.settings import Settings, load_settings
from shared.startup import (
    collect_garbage_seldom,
    connect_stores,
    warn_of_misspelt_settings,
)
from shared.stopping import end_at_second_signal
from worker.app_metrics import AppMetrics, app_registry
from worker.apps import AppProcess, open_app
from worker.observing import serve_metrics
from worker.process import WorkerProcess

log = get_logger("worker")

Process = WorkerProcess | AppProcess

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def main() -> int:
    """Run a worker until SIGTERM or SIGINT.

    Exit code 1: a store or a port at the start, or a thread that was given up; 2: a setting, or an
    app that cannot be worked.
    """
    # In every thread that comes after: the main thread waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        warn_of_misspelt_settings()
        processes = open_processes(settings)
    except (SettingsError, AppError) as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - before anything can be logged
        return 2
    except FeedmillError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - one line is what a start that fails owes
        return 1
    collect_garbage_seldom()
    log.info("worker_started", queues=settings.worker_type, app=settings.feedmill_app)
    is_signalled = run_until_signalled(processes)
    if not is_signalled:
        given_up = filter(None, (process.supervisor.given_up for process in processes))
        log.error("worker_failed", thread=next(given_up, "consumer"))
        return 1
    log.info("worker_stopped")
    return 0


def open_processes(settings: Settings) -> Sequence[Process]:
    """Return what this worker runs: the items' part, the app's, or both; their numbers are served.

    Raises:
        FeedmillError: one cannot be run.
    """
    clock = SystemClock()
    app = open_app(settings, clock) if settings.feedmill_app else None
    if app is not None and settings.works_app_alone:
        _serve_metrics(app_registry(app), settings)
        return [app]
    redis, stores = connect_stores(settings, "feedmill-worker")
    items = WorkerProcess(settings, redis, stores, clock)
    registry = items.parts.metrics.registry
    if app is None:
        _serve_metrics(registry, settings)
        return [items]
    registry.register(AppMetrics(app.workers))
    _serve_metrics(registry, settings)
    return [items, app]


def run_until_signalled(processes: Sequence[Process]) -> bool:
    """Run processes on threads of their own until a signal comes, then let them hand over.

    False: one ended by itself, which none ever should; all have handed over then.

    The signal is waited for, not handled: a handler runs in the middle of whatever the main thread
    does, and would wait for ever for a lock that this thread itself holds.
    """
    ended, stopping = threading.Event(), threading.Event()
    running = [
        threading.Thread(target=_run_and_wake, args=(process, ended, stopping), name="consumer")
        for process in processes
    ]
    for thread in running:
        thread.start()
    signal.sigwait(STOP_SIGNALS)
    # Set before the signal that it sends itself; a true one that comes as late changes nothing.
    is_signalled = not ended.is_set() and not any(each.supervisor.given_up for each in processes)
    stopping.set()
    most_s = max(process.stops_within_s for process in processes)
    end_at_worst_after(most_s, exit_code=0 if is_signalled else 1)
    for process in processes:
        process.stop()
    end_at_second_signal(lambda: not any(thread.is_alive() for thread in running))
    for thread in running:
        thread.join()
    return is_signalled


def _serve_metrics(registry: CollectorRegistry, settings: Settings) -> None:
    if settings.metrics_port:
        serve_metrics(registry, settings.metrics_port)


def _run_and_wake(process: Process, ended: threading.Event, stopping: threading.Event) -> None:
    try:
        process.run()
    except Exception:
        log.exception("worker_error")
    finally:
        ended.set()
        if not stopping.is_set():
            # Should it ever end by itself, the process must end too, and be started anew.
            os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: a flush that hangs in the driver must not hold up the exit.
    os._exit(code)
