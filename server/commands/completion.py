"""What the shell is offered at Tab beyond commands and options: names of the running service.

A shell waits for this: one short call, and nothing at all when it fails.
"""

from server.commands.api_client import ApiClient
from server.commands.locate import service_address
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
        address = service_address(settings)
        with ApiClient(address, api_key=settings.api_key, timeout_s=_TIMEOUT_S) as client:
            found = client.get(path, **parameters)["items"]
    except FeedmillError:
        # The line that is being typed must not be torn apart by a message.
        return []
    return [each[field] for each in found if each[field].startswith(incomplete)]
