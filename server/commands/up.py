"""``feedmill up``: the whole service, until it is told to stop."""

import time
from collections.abc import Sequence

from rich.console import Console

from server.commands.api_client import ApiClient
from server.commands.feed_arguments import FeedArgument, read_feed_arguments
from server.commands.import_report import LineProgress, print_summary
from server.commands.importing import run_imports
from server.commands.output import say
from server.commands.service import Service, running_service
from server.commands.stopping import Stopped
from shared.settings import Settings

_POLL_S = 0.2


def run_up(settings: Settings, texts: Sequence[str], console: Console) -> int:
    """Run the service until a signal comes, importing ``texts`` first; answers the exit code.

    Raises:
        FeedmillError: it cannot start, or a part of it ended by itself.
    """
    feeds = read_feed_arguments(texts, None)
    try:
        with running_service(settings) as service:
            if feeds:
                _import_first(service, settings, feeds, console)
            say(console, f"Feedmill runs: {service.url} - Ctrl-C stops it")
            _serve(service)
    except Stopped:
        say(console, "Feedmill has stopped")
    return 0


def _import_first(
    service: Service, settings: Settings, feeds: Sequence[FeedArgument], console: Console
) -> None:
    with ApiClient(service.url, api_key=settings.api_key) as client:
        run = run_imports(
            client, feeds, force=False, progress=LineProgress(console), check=service.check
        )
    print_summary(run, console)


def _serve(service: Service) -> None:
    while True:
        service.check()
        time.sleep(_POLL_S)
