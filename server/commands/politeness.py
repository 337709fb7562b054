"""``feedmill politeness``: grade this very service as a publisher would."""

from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

from rich.console import Console

from server.commands.exit_codes import FAILED
from server.commands.output import say, say_json
from server.commands.service import role_environment, running_role
from server.commands.stopping import Stopped
from server.politeness.criteria import grade
from server.politeness.report import report_document, report_lines
from server.politeness.simulation import Simulated, Simulation
from shared.embedded import EmbeddedStores, WatchedProcess, start_embedded_stores
from shared.errors import ChildEnded
from shared.logs import configure_logs
from shared.settings import Settings
from shared.startup import connect_stores


def run_politeness(
    settings: Settings, *, weeks: int, as_json: bool, output: Console, messages: Console
) -> int:
    """Simulate, judge and report; answers the exit code: 0 for full marks, else 1.

    The settings are graded too: intervals and limits are those in force, the stores are embedded
    ones of a temporary folder.

    Raises:
        FeedmillError: the simulation could not be run to its end.
    """
    # Failing imports are part of the simulation, not of this machine's log.
    configure_logs("CRITICAL", settings.log_format)
    say(messages, f"simulating weeks of polls: {weeks}")
    try:
        simulated = _simulate(settings, weeks)
    except Stopped as stopped:
        say(messages, "interrupted; nothing is graded")
        return stopped.exit_code
    result = grade(simulated.log)
    if as_json:
        say_json(output, report_document(simulated, result))
    else:
        for line in report_lines(simulated, result):
            say(output, line)
    return 0 if result.is_full else FAILED


def _simulate(settings: Settings, weeks: int) -> Simulated:
    """Run the simulation on stores and a worker of its own."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(prefix="feedmill-politeness-")))
        stores = stack.enter_context(start_embedded_stores(folder, redis=True, mongodb=True))
        simulated = _settings_for(settings, stores, folder)
        log = stack.enter_context((folder / "worker.log").open("wb"))
        worker = stack.enter_context(
            running_role("worker", _worker_environment(simulated), stores, log)
        )
        redis, record = connect_stores(simulated, "feedmill-politeness")
        stack.callback(redis.close)
        stack.callback(record.database.close)
        simulation = Simulation(simulated, redis, record, weeks=weeks, check=lambda: _check(worker))
        return simulation.run()


def _worker_environment(settings: Settings) -> dict[str, str]:
    redis_url, mongodb_url = settings.named_stores()
    return {
        **role_environment(settings, settings.data_dir, redis_url, mongodb_url),
        # How fast items are stored is no publisher's business.
        "WORKER_RATE_LIMIT_MAX": "0",
        "WORKER_TYPE": "all",
        "METRICS_PORT": "0",
    }


def _settings_for(settings: Settings, stores: EmbeddedStores, folder: Path) -> Settings:
    changes = {
        "redis_url": stores.redis_url,
        "mongodb_url": stores.mongodb_url,
        "data_dir": folder,
        "fetch_allow_private": True,
    }
    return settings.model_copy(update=changes)


def _check(worker: WatchedProcess) -> None:
    code = worker.poll()
    if code is not None:
        raise ChildEnded("the worker", code)
