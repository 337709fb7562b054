"""Settings and where each comes from; the rate limit, which is changed here, and who changed it."""

from typing import Annotated

from fastapi import Form, Request
from starlette.responses import Response

from server.api.parts import Parts
from server.api.routes import settings as api
from server.api.routes.settings import RateLimitRequest
from server.api.setting_answers import CHANGED_HERE, LimitValues
from server.dashboard.rendering import redirect, render
from server.dashboard.site import Site, attempt, page_router
from shared.errors import InvalidRequestError
from shared.item_limits import WINDOW_UNITS_MS, describe_limits, split_window
from shared.settings import DAY_MS, MAX_COUNT
from shared.store import ItemLimits

router = page_router()

PATH = "/admin/settings"
_MAX_DIGITS = 15


@router.get(PATH)
def show_settings(request: Request, parts: Parts) -> Response:
    """Show all settings of this server, and the last changes of the rate limit."""
    shown = api.list_settings(parts)
    every, unit_ms = split_window(shown.rate_limit.duration_ms)
    return render(
        request,
        "settings/page.html",
        groups=shown.groups,
        limit=shown.rate_limit,
        limit_text=describe(shown.rate_limit),
        environment_text=describe(shown.rate_limit.environment),
        is_changed=shown.rate_limit.origin == CHANGED_HERE,
        every=every,
        unit_ms=unit_ms,
        units=WINDOW_UNITS_MS,
        changes=[
            (each, describe(each.before), describe(each.after))
            for each in api.list_changes(parts).items
        ],
    )


@router.post(f"{PATH}/rate-limit")
def change_rate_limit(
    request: Request,
    parts: Parts,
    site: Site,
    max: Annotated[str, Form()],
    every: Annotated[str, Form()],
    unit_ms: Annotated[int, Form()],
    source_max: Annotated[str, Form()],
) -> Response:
    """Change how many items may start."""

    def act() -> Response:
        wanted = RateLimitRequest(
            max=_read_count("Items per window", max),
            duration_ms=_read_window(every, unit_ms),
            source_max=_read_count("Of one source", source_max),
        )
        changed = api.change_limits(parts, wanted, by=_asker(site), client=api.client_of(request))
        return redirect(request, PATH, f"Rate limit changed to {describe(changed)}.")

    return attempt(request, PATH, act)


@router.post(f"{PATH}/rate-limit/reset")
def reset_rate_limit(request: Request, parts: Parts, site: Site) -> Response:
    """Let the environment's limits hold again."""

    def act() -> Response:
        limits = api.reset_limits(parts, by=_asker(site), client=api.client_of(request))
        return redirect(request, PATH, f"Rate limit reset to {describe(limits)}.")

    return attempt(request, PATH, act)


def describe(values: LimitValues) -> str:
    """Return limits in words."""
    return describe_limits(ItemLimits(values.max, values.duration_ms, values.source_max))


def _read_count(label: str, typed: str) -> int:
    count = _read_number(typed)
    if count is None or count > MAX_COUNT:
        raise InvalidRequestError(f"{label}: accepted is a whole number from 0 to {MAX_COUNT:,}")
    return count


def _read_window(typed: str, unit_ms: int) -> int:
    duration_ms = (_read_number(typed) or 0) * unit_ms
    if unit_ms not in WINDOW_UNITS_MS or not 1 <= duration_ms <= DAY_MS:
        raise InvalidRequestError(
            "Window: accepted is a whole number, from 1 millisecond to 24 hours"
        )
    return duration_ms


def _read_number(typed: str) -> int | None:
    text = typed.strip()
    is_number = text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS
    return int(text) if is_number else None


def _asker(site: Site) -> str:
    return "dashboard session" if site.sessions.are_needed else api.NO_KEY
