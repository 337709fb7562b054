"""Options and arguments that several commands share, and what the shell offers for them at Tab.

A shell waits for names of the running service: one short call, and nothing when it fails.
"""

from typing import Annotated

import typer

from server.commands.api_client import ApiClient, locate_service
from shared.errors import FeedmillError
from shared.settings import load_settings

_TIMEOUT_S = 1.0
_MAX_OFFERED = 500


def complete_sources(incomplete: str) -> list[str]:
    """Return the sources that begin so, of the 500 feeds that were added last."""
    return _names("/feeds", "source", incomplete, limit=_MAX_OFFERED)


def complete_queues(incomplete: str) -> list[str]:
    """Return the queues that begin so."""
    return _names("/queues", "name", incomplete)


def _names(path: str, field: str, incomplete: str, **parameters: int) -> list[str]:
    try:
        settings = load_settings()
        url = locate_service(settings).url
        with ApiClient(url, api_key=settings.api_key, timeout_s=_TIMEOUT_S) as client:
            found = client.get(path, **parameters)["items"]
    except FeedmillError:
        # The line that is being typed must not be torn apart by a message.
        return []
    return [each[field] for each in found if each[field].startswith(incomplete)]


AsJson = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="do not ask for confirmation")]
Limit = Annotated[int, typer.Option(min=1, help="show at most this many")]
OfSource = Annotated[
    str | None, typer.Option("--source", help="of this feed", autocompletion=complete_sources)
]
Source = Annotated[str, typer.Argument(metavar="SOURCE", autocompletion=complete_sources)]
AnySource = Annotated[str | None, typer.Argument(metavar="SOURCE", autocompletion=complete_sources)]
Sources = Annotated[list[str], typer.Argument(metavar="SOURCE", autocompletion=complete_sources)]
Queue = Annotated[str, typer.Argument(metavar="QUEUE", autocompletion=complete_queues)]
AnyQueue = Annotated[str | None, typer.Argument(metavar="QUEUE", autocompletion=complete_queues)]
