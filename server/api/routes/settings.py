"""Settings of the server, and the rate limit, which can be changed while everything runs."""

from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import Request
from pydantic import Field

from server.api.parts import ApiParts, Parts
from server.api.problems import describe_problems
from server.api.routing import api_router
from server.api.setting_answers import (
    LimitChangeAnswer,
    RateLimitSetting,
    SettingsAnswer,
    show_changes,
    show_rate_limit,
    show_settings,
)
from server.api.values import Listing, RequestBody
from shared.errors import ConflictError, UnreadableDocument
from shared.item_limits import current_limits
from shared.settings import DAY_MS, MAX_COUNT
from shared.store import ItemLimits, StoredLimits

router = api_router("settings")

NO_KEY = "no API key"


class RateLimitRequest(RequestBody):
    """The new limits, for all workers; 0 is no limit."""

    max: int = Field(ge=0, le=MAX_COUNT, description="items per window and item queue")
    duration_ms: int = Field(ge=1, le=DAY_MS, description="length of the window")
    source_max: int | None = Field(
        None, ge=0, le=MAX_COUNT, description="items of one source per window; null: as it is"
    )


@router.get("/settings", responses=describe_problems())
def list_settings(parts: Parts) -> SettingsAnswer:
    """Return the settings of the server that answers; workers have an environment of their own."""
    limiter = parts.services.item_limiter
    return show_settings(parts.services.settings, limiter.read(), limiter.environment)


@router.get("/settings/changes", responses=describe_problems())
def list_changes(parts: Parts) -> Listing[LimitChangeAnswer]:
    """List the last 100 changes of the rate limit, newest first; they fit on one page."""
    changes = list(show_changes(parts.services.item_limiter.read()))
    return Listing(items=changes, next_cursor=None)


@router.get("/settings/rate-limit", responses=describe_problems())
def get_rate_limit(parts: Parts) -> RateLimitSetting:
    """Return the rate limit of items."""
    return _show(parts, parts.services.item_limiter.read())


@router.put("/settings/rate-limit", responses=describe_problems(409, 413, 415))
def change_rate_limit(request: Request, parts: Parts, wanted: RateLimitRequest) -> RateLimitSetting:
    """Change the rate limit of items at once, for all workers, until it is reset.

    Restarts and the loss of Redis do not undo it, and it holds over the environment of servers and
    workers. Each item queue begins a new window. With partitions each has its share.
    """
    by = "API key" if parts.services.settings.api_key else NO_KEY
    return change_limits(parts, wanted, by=by, client=client_of(request))


@router.delete("/settings/rate-limit", responses=describe_problems(409))
def reset_rate_limit(request: Request, parts: Parts) -> RateLimitSetting:
    """Reset the rate limit of items to the environment's values."""
    by = "API key" if parts.services.settings.api_key else NO_KEY
    return reset_limits(parts, by=by, client=client_of(request))


def change_limits(
    parts: ApiParts, wanted: RateLimitRequest, *, by: str, client: str
) -> RateLimitSetting:
    """Change the limits, in the name of ``by``; answers what holds then.

    Raises:
        ConflictError: what is stored of them cannot be read; says what to do.
    """
    limiter = parts.services.item_limiter
    source_max = wanted.source_max
    if source_max is None:
        source_max = current_limits(limiter.read(), limiter.environment).limits.source_max_items
    limits = ItemLimits(wanted.max, wanted.duration_ms, source_max)
    with _conflicts():
        return _show(parts, limiter.change(limits, by=by, client=client))


def reset_limits(parts: ApiParts, *, by: str, client: str) -> RateLimitSetting:
    """Let the environment's limits hold again; as :func:`change_limits`."""
    with _conflicts():
        return _show(parts, parts.services.item_limiter.reset(by=by, client=client))


def client_of(request: Request) -> str:
    """Return the IP address of who asks."""
    return request.client.host if request.client is not None else "unknown"


def _show(parts: ApiParts, stored: StoredLimits) -> RateLimitSetting:
    services = parts.services
    return show_rate_limit(services.settings, stored, services.item_limiter.environment)


@contextmanager
def _conflicts() -> Iterator[None]:
    """Turn a stored limit that somebody has spoilt into a refusal that names it."""
    try:
        yield
    except UnreadableDocument as exc:
        raise ConflictError(str(exc)) from exc
