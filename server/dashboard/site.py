"""What all pages share: who may see them, errors in words, and what is made once an application."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, TypeVar
from urllib.parse import quote, urlsplit

from fastapi import APIRouter, Depends
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from server.api.guards import StartLimit
from server.api.keys import Access, Key, Tokens, find_key, make_keys
from server.api.problems import EXPLAINED_ERRORS, explain_error
from server.dashboard.charts import Samples
from server.dashboard.filters import own_url
from server.dashboard.rendering import (
    PAGE_HEADERS,
    Message,
    cookie_path,
    is_fragment_wanted,
    redirect,
    render_problem,
    root_path_of,
)
from server.services import Services
from shared.clock import Clock
from shared.logs import get_logger

# For whoever has shown the API key: a signed cookie, and nothing kept on the server.
COOKIE = "feedmill_session"
MAX_AGE_S = 14 * 86_400
_SALT = "feedmill.dashboard.session"
_READ_ONLY = (
    "This session is read-only: you signed in with a read-only key. "
    "To change anything, sign out, then sign in with the server's API_KEY."
)
LOGIN_TRIES = "10/minute"
LOGIN_PATH = "/admin/login"
Handler = Callable[[Request], Coroutine[Any, Any, Response]]
Q = TypeVar("Q", bound=BaseModel)
log = get_logger("server.dashboard")


class Sessions:
    """Gives and checks sessions. Without an API key nobody needs one.

    A session allows what the key allows that it was begun with, and ends with that key.
    """

    def __init__(self, keys: Sequence[Key], clock: Clock) -> None:
        self._keys = keys
        self._tokens = Tokens(keys, purpose=_SALT, max_age_s=MAX_AGE_S, clock=clock)

    @property
    def are_needed(self) -> bool:
        """Whether there is an API key to ask for."""
        return bool(self._keys)

    def find_key(self, given: str) -> Key | None:
        """Return the key that somebody typed, None for a wrong one."""
        return find_key(self._keys, given.encode())

    def key_of(self, request: Request) -> Key | None:
        """Return the key that the session of a request was begun with; None without a session."""
        return self._tokens.find_key(request.cookies.get(COOKIE, ""))

    def access_of(self, request: Request) -> Access | None:
        """Return what a request may do; None when it has to log in first."""
        if not self._keys:
            return Access.FULL
        key = self.key_of(request)
        return key.access if key is not None else None

    def begin(self, request: Request, response: Response, key: Key) -> None:
        """Give a session; the browser keeps it for two weeks, and from other sites' pages."""
        response.set_cookie(
            COOKIE,
            self._tokens.make(key),
            max_age=MAX_AGE_S,
            path=cookie_path(request),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )

    def end(self, request: Request, response: Response) -> None:
        """Take the session away from this browser."""
        response.delete_cookie(
            COOKIE,
            path=cookie_path(request),
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )


@dataclass(frozen=True, slots=True)
class DashboardParts:
    """Sessions, how often one client may try a key, what the charts show, and under which path."""

    sessions: Sessions
    samples: Samples
    login_limit: StartLimit
    root_path: str = ""

    @classmethod
    def of(cls, services: Services) -> "DashboardParts":
        """Make all parts; nothing is asked of a store yet."""
        settings = services.settings
        keys = make_keys(settings.api_key, settings.api_read_keys)
        return cls(
            sessions=Sessions(keys, services.clock),
            samples=Samples(services.clock),
            login_limit=StartLimit(
                LOGIN_TRIES,
                client=services.fetch_queue.client,
                key_prefix=f"{settings.queue_prefix}:own:logins",
            ),
            root_path=settings.root_path,
        )


async def get_site(request: Request) -> DashboardParts:
    """Return the dashboard's parts of the application that serves this request."""
    parts: DashboardParts = request.app.state.dashboard
    return parts


Site = Annotated[DashboardParts, Depends(get_site)]


class PageRoute(APIRoute):
    """A route of the dashboard. Errors become a page, or a message in the page that is shown."""

    is_open = False

    def get_route_handler(self) -> Handler:
        """Return the handler, behind the session."""
        handle = super().get_route_handler()

        async def handle_page(request: Request) -> Response:
            refused = None if self.is_open else await _refuse(request)
            if refused is not None:
                return refused
            try:
                return await handle(request)
            except EXPLAINED_ERRORS as exc:
                explained = explain_error(exc, request.url.path)
                status, text = explained.status, explained.detail
            except Exception:
                log.exception("page_failed", method=request.method, path=request.url.path)
                status, text = 500, "Internal error on this page; see the server's log."
            return await run_in_threadpool(render_problem, request, status, text)

        return handle_page


class OpenPageRoute(PageRoute):
    """A route that needs no session: the one that gives it."""

    is_open = True


def page_router() -> APIRouter:
    """Return a router for pages; its handlers answer with ``render`` or ``redirect``."""
    return APIRouter(route_class=PageRoute, include_in_schema=False)


def read_query(model: type[Q], request: Request) -> tuple[Q, dict[str, Any]]:
    """Return the filters and nothing; or the fit ones, and what ``render`` needs to show the rest.

    Names that ``model`` does not know are left to the page.
    """
    given = {
        name: value for name, value in request.query_params.items() if name in model.model_fields
    }
    try:
        return model.model_validate(given), {}
    except ValidationError as exc:
        unfit = {str(fault["loc"][0]) for fault in exc.errors() if fault["loc"]}
        fit = {name: value for name, value in given.items() if name not in unfit}
        return model.model_validate(fit), show_problem(request, exc)


def attempt(request: Request, back: str, act: Callable[[], Response]) -> Response:
    """Return an action's answer; when it is refused, go ``back`` and show there why."""
    try:
        return act()
    except EXPLAINED_ERRORS as exc:
        return redirect(request, back, describe_problem(request, exc), level="problem")


def show_problem(request: Request, error: Exception) -> dict[str, Any]:
    """Return what ``render`` needs to show a page with the problem on top."""
    message = Message(describe_problem(request, error), "problem")
    status = explain_error(error, request.url.path).status
    # What came of a typed URL is the form's matter: proxies replace pages with 502 and 504.
    return {"message": message, "status": 422 if status in (502, 504) else status}


def describe_problem(request: Request, error: Exception) -> str:
    """Return what is wrong, in the API's words; a field without its place in the body."""
    problem = explain_error(error, request.url.path)
    members = problem.model_extra or {}
    faults = members.get("errors")
    if not isinstance(faults, list):
        # The kind of a URL's error is a word for programs.
        return problem.detail.removeprefix(f"{members.get('kind')}: ")
    faulty = (f"{_name(fault['field'])}: {fault['message']}" for fault in faults)
    return "; ".join(each.removeprefix(": ") for each in faulty)


def _name(field: str) -> str:
    return field.removeprefix("body").removeprefix(".")


async def _refuse(request: Request) -> Response | None:
    """Return the answer to whoever has no session, or one that may only read."""
    sessions: Sessions = request.app.state.dashboard.sessions
    access = sessions.access_of(request)
    if access is None:
        return _ask_to_log_in(request)
    if access.allows(request.method):
        return None
    return await run_in_threadpool(render_problem, request, 403, _READ_ONLY)


def _ask_to_log_in(request: Request) -> Response:
    """Send to the login, which leads back to the page that is shown or was asked for."""
    root_path = root_path_of(request)
    if is_fragment_wanted(request):
        shown = _shown_page(request.headers.get("hx-current-url", "")).removeprefix(root_path)
        headers = PAGE_HEADERS | {"HX-Redirect": root_path + _login_url(shown)}
        return Response(status_code=401, headers=headers)
    wanted = own_url(request.url) if request.method == "GET" else "/"
    return RedirectResponse(root_path + _login_url(wanted), 303, PAGE_HEADERS)


def _shown_page(url: str) -> str:
    """Return the path and query of the page that htmx names, which are quoted already."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "/"
    if not parts.path.startswith("/"):
        return "/"
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def _login_url(wanted: str) -> str:
    return f"{LOGIN_PATH}?next={quote(wanted, safe='')}"
