"""The worker's composition root: settings → clients → process → signals."""

import os
import signal
import sys
import threading

from shared.clock import SystemClock
from shared.errors import FeedmillError, SettingsError
from shared.logs import configure_logs, get_logger
from shared.settings import load_settings
from shared.startup import collect_garbage_seldom, connect_stores
from shared.stopping import end_at_second_signal, end_at_worst_after
from worker.process import WorkerProcess

log = get_logger("worker")

STOP_SIGNALS = {signal.SIGTERM, signal.SIGINT}


def main() -> int:
    """Run a worker until SIGTERM or SIGINT.

    Exit code 1: a store or a port at the start, or a thread that was given up; 2: a setting.
    """
    # In every thread that comes after: the main thread waits for them.
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        settings = load_settings()
        configure_logs(settings.log_level, settings.log_format)
        redis, stores = connect_stores(settings, "feedmill-worker")
        process = WorkerProcess(settings, redis, stores, SystemClock())
        if settings.metrics_port:
            process.parts.metrics.serve(settings.metrics_port)
    except SettingsError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - before anything can be logged
        return 2
    except FeedmillError as exc:
        print(exc, file=sys.stderr)  # noqa: T201 - one line is what a start that fails owes
        return 1
    collect_garbage_seldom()
    log.info("worker_started", queues=settings.worker_type)
    is_signalled = run_until_signalled(process)
    if not is_signalled:
        log.error("worker_failed", thread=process.supervisor.given_up or "consumer")
        return 1
    log.info("worker_stopped")
    return 0


def run_until_signalled(process: WorkerProcess) -> bool:
    """Run a worker on a thread of its own until a signal comes, then let it hand over.

    False: it ended by itself, which it never should, after the hand-over.

    The signal is waited for, not handled: a handler runs in the middle of whatever the main thread
    does, and would wait for ever for a lock that this thread itself holds.
    """
    ended = threading.Event()
    running = threading.Thread(target=_run_and_wake, args=(process, ended), name="consumer")
    running.start()
    signal.sigwait(STOP_SIGNALS)
    # Set before the signal that it sends itself; a true one that comes as late changes nothing.
    is_signalled = not ended.is_set() and process.supervisor.given_up is None
    end_at_worst_after(exit_code=0 if is_signalled else 1)
    process.stop()
    end_at_second_signal(ended.is_set)
    running.join()
    return is_signalled


def _run_and_wake(process: WorkerProcess, ended: threading.Event) -> None:
    try:
        process.run()
    except Exception:
        log.exception("worker_error")
    finally:
        ended.set()
        # Should it ever end by itself, the process must end too, and be started anew.
        os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: a flush that hangs in the driver must not hold up the exit.
    os._exit(code)
