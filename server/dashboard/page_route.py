"""What every page passes: the session, and errors turned into something to read."""

from collections.abc import Callable, Coroutine
from typing import Any
from urllib.parse import quote, urlsplit

from fastapi import APIRouter
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from server.api.problems import EXPLAINED_ERRORS, explain_error
from server.dashboard.filters import own_url
from server.dashboard.rendering import PAGE_HEADERS, is_fragment_wanted, render_problem
from shared.logs import get_logger

log = get_logger("server.dashboard")

LOGIN_PATH = "/admin/login"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]


class PageRoute(APIRoute):
    """A route of the dashboard. Errors become a page, or a message in the page that is shown."""

    is_open = False

    def get_route_handler(self) -> Handler:
        """Return the handler, behind the session."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            sessions = request.app.state.dashboard.sessions
            if not (self.is_open or sessions.lets_in(request)):
                return _ask_to_log_in(request)
            try:
                return await handle(request)
            except EXPLAINED_ERRORS as exc:
                explained = explain_error(exc, request.url.path)
                status, text = explained.status, explained.detail
            except Exception:
                log.exception("page_failed", method=request.method, path=request.url.path)
                status, text = 500, "This page failed unexpectedly; the server's log says more."
            return await run_in_threadpool(render_problem, request, status, text)

        return handle_page


class OpenPageRoute(PageRoute):
    """A route that needs no session: the one that gives it."""

    is_open = True


def page_router() -> APIRouter:
    """Return a router for pages; its handlers answer with ``render`` or ``redirect``."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def _ask_to_log_in(request: Request) -> Response:
    """Send to the login, which leads back to the page that is shown or was asked for."""
    if is_fragment_wanted(request):
        shown = _shown_page(request.headers.get("hx-current-url", ""))
        return Response(status_code=401, headers=PAGE_HEADERS | {"HX-Redirect": _login_url(shown)})
    wanted = own_url(request.url) if request.method in ("GET", "HEAD") else "/"
    return RedirectResponse(_login_url(wanted), 303, PAGE_HEADERS)


def _shown_page(address: str) -> str:
    """Return the path and query of what htmx says is shown, which are quoted already."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"
    if not parts.path.startswith("/"):
        return "/"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _login_url(wanted: str) -> str:
    return f"{LOGIN_PATH}?next={quote(wanted, safe='')}"
