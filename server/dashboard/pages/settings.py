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
from shared.settings import DAY_MS, MAX_COUNT

router = page_router()

PATH = "/admin/settings"
# Largest first; each is a unit in which a window may be typed.
UNITS_MS = {3_600_000: "hours", 60_000: "minutes", 1000: "seconds", 1: "milliseconds"}
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
        limit_text=describe_limits(shown.rate_limit),
        environment_text=describe_limits(shown.rate_limit.environment),
        is_changed=shown.rate_limit.origin == CHANGED_HERE,
        every=every,
        unit_ms=unit_ms,
        units=UNITS_MS,
        changes=[
            (each, describe_limits(each.before), describe_limits(each.after))
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
        return redirect(request, PATH, f"Rate limit changed to {describe_limits(changed)}.")

    return attempt(request, PATH, act)


@router.post(f"{PATH}/rate-limit/reset")
def reset_rate_limit(request: Request, parts: Parts, site: Site) -> Response:
    """Let the environment's limits hold again."""

    def act() -> Response:
        limits = api.reset_limits(parts, by=_asker(site), client=api.client_of(request))
        return redirect(request, PATH, f"Rate limit reset to {describe_limits(limits)}.")

    return attempt(request, PATH, act)


def describe_limits(limits: LimitValues) -> str:
    """Return limits in words: ``100 items per second, 5 of one source``."""
    window = _describe_window(limits.duration_ms)
    whole = f"{limits.max:,} items per {window}" if limits.max else "no limit"
    if not limits.source_max:
        return whole
    return f"{whole}, {limits.source_max:,} of one source per {window}"


def split_window(duration_ms: int) -> tuple[int, int]:
    """Return a window as a whole number of the largest unit that fits, and that unit in ms."""
    unit_ms = next(unit for unit in UNITS_MS if duration_ms % unit == 0)
    return duration_ms // unit_ms, unit_ms


def _describe_window(duration_ms: int) -> str:
    count, unit_ms = split_window(duration_ms)
    name = UNITS_MS[unit_ms]
    return name.removesuffix("s") if count == 1 else f"{count:,} {name}"


def _read_count(label: str, typed: str) -> int:
    count = _read_number(typed)
    if count is None or count > MAX_COUNT:
        raise InvalidRequestError(f"{label}: accepted is a whole number from 0 to {MAX_COUNT:,}")
    return count


def _read_window(typed: str, unit_ms: int) -> int:
    duration_ms = (_read_number(typed) or 0) * unit_ms
    if unit_ms not in UNITS_MS or not 1 <= duration_ms <= DAY_MS:
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
