"""``python -m tests.politeness``: grade the real service as a publisher grades a feed reader.

The real server side fetches over real loopback HTTP and works on real stores; only the time is
simulated. The rules read the publisher's log, as the feed reader score of
rachelbythebay.com/w/feed/ does.
"""

import json
import sys
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from server.commands.roles import role_environment, running_role
from shared.embedded import EmbeddedStores, WatchedProcess, start_embedded_stores
from shared.errors import ChildEnded, FeedmillError
from shared.logs import configure_logs
from shared.settings import Settings, load_settings
from shared.startup import connect_stores
from shared.stopping import Stopped, stopping_on_signals
from tests.politeness.grading import grade, report_document, report_lines
from tests.politeness.simulation import Simulated, Simulation


def politeness(
    weeks: Annotated[int, typer.Option(min=1, max=52, help="how long to simulate")] = 2,
    as_json: Annotated[bool, typer.Option("--json", help="print JSON")] = False,
) -> None:
    """Simulate weeks of polls and grade them. Exit 1: not full marks.

    The settings are graded too: intervals and limits are those in force; the stores are embedded
    ones of a temporary folder.
    """
    settings = load_settings()
    # Failing imports are part of the simulation, not of this machine's log.
    configure_logs("CRITICAL", settings.log_format)
    print(f"simulating weeks of polls: {weeks}", file=sys.stderr)
    simulated = _simulate(settings, weeks)
    result = grade(simulated.log)
    if as_json:
        print(json.dumps(report_document(simulated, result), indent=2))
    else:
        print(*report_lines(simulated, result), sep="\n")
    sys.exit(0 if result.is_full else 1)


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


def main() -> None:
    """Run the command; a signal ends it with 128 and its number, and leaves nothing behind."""
    try:
        with stopping_on_signals():
            typer.run(politeness)
    except Stopped as stopped:
        print("interrupted; nothing is graded", file=sys.stderr)
        sys.exit(stopped.exit_code)
    except FeedmillError as exc:
        sys.exit(f"politeness: {exc}")


if __name__ == "__main__":
    main()
