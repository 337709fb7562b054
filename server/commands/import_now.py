"""``feedmill import``: import now and wait, with a service that runs, or one for as long."""

import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager

from rich.console import Console

from server.commands.api_client import ApiClient, find_service
from server.commands.import_report import choose_progress, print_summary, show_run
from server.commands.import_run import read_feed_arguments, run_imports
from server.commands.output import print_json, print_text
from server.commands.roles import running_service
from shared.running import make_data_dir
from shared.settings import Settings
from shared.stopping import Stopped

_LOG_FILE = "service.log"


def run_import(
    settings: Settings,
    texts: Sequence[str],
    *,
    source: str | None,
    force: bool,
    as_json: bool,
    output: Console,
    messages: Console,
) -> int:
    """Import feeds; answers 0 when every import completed and nothing is dead, else 1.

    The summary goes to ``output``, progress to ``messages``.

    Raises:
        FeedmillError: wrong usage, or no service can be had.
    """
    feeds = read_feed_arguments(texts, source)
    try:
        service, bars = _service(settings, messages), choose_progress(messages)
        with service as (client, check), bars as progress:
            run = run_imports(client, feeds, force=force, progress=progress, check=check)
    except Stopped as stopped:
        print_text(messages, "interrupted; the service continues what it has accepted")
        return stopped.exit_code
    if as_json:
        print_json(output, show_run(run))
    else:
        print_summary(run, output)
    return 0 if run.is_clean else 1


@contextmanager
def _service(
    settings: Settings, messages: Console
) -> Iterator[tuple[ApiClient, Callable[[], None]]]:
    """Give a client of the running service, or of one that runs as long as the block."""
    client = find_service(settings)
    if client is not None:
        with client:
            yield client, lambda: None
        return
    print_text(messages, f"no service is running: starting one on {settings.data_dir}")
    own = settings.model_copy(update={"host": "127.0.0.1", "port": _free_port()})
    make_data_dir(settings.data_dir)
    with (
        (settings.data_dir / _LOG_FILE).open("ab") as log,
        running_service(own, log=log) as service,
        ApiClient(service.url, api_key=settings.api_key) as client,
    ):
        yield client, service.check


def _free_port() -> int:
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
