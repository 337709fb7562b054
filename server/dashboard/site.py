"""What the pages work with beside the API's parts, made once an application."""

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from server.api.guards import StartLimit
from server.dashboard.samples import Samples
from server.dashboard.session import Sessions
from server.services import Services

LOGIN_TRIES = "10/minute"


@dataclass(frozen=True, slots=True)
class DashboardParts:
    """Sessions, how often one client may try a key, and what the charts show."""

    sessions: Sessions
    samples: Samples
    login_limit: StartLimit

    @classmethod
    def of(cls, services: Services) -> "DashboardParts":
        """Make all parts; nothing is asked of a store yet."""
        settings = services.settings
        return cls(
            sessions=Sessions(settings.api_key, services.clock),
            samples=Samples(services.clock),
            login_limit=StartLimit(
                LOGIN_TRIES,
                client=services.fetch_queue.client,
                key_prefix=f"{settings.queue_prefix}:own:logins",
            ),
        )


async def get_site(request: Request) -> DashboardParts:
    """Return the dashboard's parts of the application that serves this request."""
    parts: DashboardParts = request.app.state.dashboard
    return parts


Site = Annotated[DashboardParts, Depends(get_site)]
