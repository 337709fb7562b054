"""Asking for the API key, once a browser."""

from typing import Annotated

from fastapi import APIRouter, Form, Request
from starlette.responses import Response

from server.api.parts import Parts
from server.dashboard.rendering import Message, is_own_path, redirect, render
from server.dashboard.site import LOGIN_PATH, OpenPageRoute, Site

router = APIRouter(route_class=OpenPageRoute, include_in_schema=False)

_MAX_KEY = 1000


@router.get(LOGIN_PATH)
def show_login(request: Request, site: Site, next: str = "/") -> Response:
    """Show the form; whoever needs no session, or has one, is sent on."""
    if site.sessions.access_of(request) is not None:
        return redirect(request, _target(next))
    return render(request, "login/form.html", next=_target(next))


@router.post(LOGIN_PATH)
def log_in(
    request: Request,
    site: Site,
    parts: Parts,
    key: Annotated[str, Form()] = "",
    next: Annotated[str, Form()] = "/",
) -> Response:
    """Begin a session when the key is right; few tries a minute."""
    client = request.client.host if request.client is not None else "unknown"
    wait_s = site.login_limit.count(client)
    if wait_s is not None:
        text, status = f"Too many attempts; try again in {wait_s} s.", 429
    elif (found := site.sessions.find_key(key[:_MAX_KEY].strip())) is not None:
        answer = redirect(request, _target(next))
        site.sessions.begin(request, answer, found)
        return answer
    else:
        text, status = "Wrong key. Enter the value of API_KEY, or one of API_READ_KEYS.", 401
    message = Message(text, "problem")
    return render(request, "login/form.html", status=status, message=message, next=_target(next))


@router.post("/admin/logout")
def log_out(request: Request, site: Site) -> Response:
    """End the session of this browser."""
    answer = redirect(request, LOGIN_PATH, "Signed out.")
    site.sessions.end(request, answer)
    return answer


def _target(path: str) -> str:
    return path if is_own_path(path) and not path.startswith(LOGIN_PATH) else "/"
