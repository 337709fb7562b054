"""Pages from templates: whole, or the part that a script asked for; and the message on top."""

import base64
import binascii
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import orjson
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from server.api.keys import Access
from server.dashboard import filters
from server.dashboard.manual import HELP_PATH, TROUBLESHOOTING, has_section

ROOM = Path(__file__).parent
STATIC = ROOM / "static"
STATIC_PATH = "/admin/static"
API_PATH = "/docs"
PAGE_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; img-src 'self' data:; object-src 'none'; frame-ancestors 'none'; "
        "base-uri 'none'; form-action 'self'"
    ),
    # With no-referrer, as elsewhere, browsers would send forms with "Origin: null".
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
    "Vary": "HX-Request",
}
COOKIE = "feedmill_message"
# A cookie holds 4 KB; a message is a sentence.
_MAX_TEXT = 600
Level = Literal["done", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Place:
    """An entry of the navigation; ``key`` follows ``g`` on the keyboard."""

    name: str
    path: str
    icon: str
    key: str


PLACES = (
    Place("Overview", "/", "overview", "o"),
    Place("Imports", "/admin/imports", "imports", "i"),
    Place("Feeds", "/admin/feeds", "feeds", "f"),
    Place("Queues", "/admin/queues", "queues", "q"),
    Place("Dead letters", "/admin/dlq", "dead", "d"),
    Place("Items", "/admin/items", "items", "t"),
)
# Beside the tools: asked for less often.
MORE_PLACES = (
    Place("Settings", "/admin/settings", "settings", "s"),
    Place("API", API_PATH, "api", "a"),
    Place("Help", HELP_PATH, "help", "h"),
)


@dataclass(frozen=True, slots=True)
class Message:
    """A message to the operator; ``link`` leads on, within the dashboard."""

    text: str
    level: Level = "done"
    link: str | None = None
    link_text: str = ""


def render(
    request: Request,
    template: str,
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
    **context: Any,
) -> HTMLResponse:
    """Return a page: ``render(request, "imports/list.html", imports=…)``.

    Asked by htmx, a page that extends ``layout`` is only its ``content`` block. Fragments, whose
    names begin with ``_``, extend nothing and are returned as they are. ``message`` in the
    context, a :class:`Message`, is shown on top.
    """
    is_whole = not is_fragment_wanted(request)
    context.setdefault("message", take_message(request) if is_whole else None)
    page = environment(root_path_of(request)).get_template(template)
    sessions = request.app.state.dashboard.sessions
    html = page.render(
        layout="base.html" if is_whole else "fragment.html",
        request=request,
        path=request.url.path,
        places=PLACES,
        more_places=MORE_PLACES,
        has_session=sessions.are_needed,
        is_read_only=sessions.access_of(request) is Access.READ,
        **context,
    )
    response = HTMLResponse(html, status, PAGE_HEADERS | dict(headers or {}))
    if is_whole and COOKIE in request.cookies:
        response.delete_cookie(COOKIE, path=cookie_path(request), httponly=True, samesite="strict")
    return response


def redirect(
    request: Request,
    path: str,
    text: str | None = None,
    *,
    level: Level = "done",
    link: str | None = None,
    link_text: str = "",
) -> Response:
    """Answer an action: go to ``path`` and show ``text`` there, with or without htmx.

    ``path`` and ``link`` are without ``ROOT_PATH``, as all paths but those that a browser is given.
    """
    response: Response = RedirectResponse(root_path_of(request) + path, 303, PAGE_HEADERS)
    if is_fragment_wanted(request):
        # Quoted as a header needs it, whatever a form made the path of.
        target = response.headers["location"]
        response = Response(status_code=204, headers=PAGE_HEADERS | {"HX-Redirect": target})
    if text is not None:
        leave_message(response, Message(text, level, link, link_text), cookie_path(request))
    return response


def render_problem(request: Request, status: int, text: str) -> HTMLResponse:
    """Return what went wrong: a page, or a message for the one that is shown already."""
    if not is_fragment_wanted(request):
        return render(request, "problem.html", status=status, status_code=status, text=text)
    headers = {"HX-Retarget": "#messages", "HX-Reswap": "innerHTML"}
    message = Message(text, "problem")
    return render(request, "_message.html", status=status, headers=headers, message=message)


def is_fragment_wanted(request: Request) -> bool:
    """Return whether a script puts the answer into a page; not when it restores the history."""
    headers = request.headers
    return headers.get("hx-request") == "true" and "hx-history-restore-request" not in headers


@cache
def static_url(name: str) -> str:
    """Return the URL of a static file; it changes with the content."""
    digest = hashlib.sha256((STATIC / name).read_bytes()).hexdigest()
    return f"{STATIC_PATH}/{name}?v={digest[:12]}"


@cache
def environment(root_path: str = "") -> Environment:
    """Return where templates come from, with their filters; it escapes everything.

    ``root_path`` is what a browser sees before each path, as ``/feedmill``: ``root`` in templates,
    which write it in each attribute that holds a path.
    """
    made = Environment(
        loader=FileSystemLoader(ROOM / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters |= {
        "bytes": filters.show_bytes,
        "count": filters.show_count,
        "document": filters.show_document,
        "duration": filters.show_duration,
        "moment": filters.show_moment,
        "own_url": filters.own_url,
        "rate": filters.show_rate,
        "read_moment": filters.read_moment,
        "safe_link": filters.safe_link,
        "sentence": filters.show_sentence,
        "segment": filters.quote_segment,
    }
    made.globals |= {
        "has_help": has_section,
        "help_path": f"{HELP_PATH}/{TROUBLESHOOTING}",
        "root": root_path,
        "show_span": filters.show_span,
        "static": static_url,
    }
    return made


def leave_message(response: Response, message: Message, path: str = "/") -> None:
    """Let the next page show this."""
    written = orjson.dumps(
        [message.text[:_MAX_TEXT], message.level, message.link, message.link_text[:100]]
    )
    value = base64.urlsafe_b64encode(written).decode()
    response.set_cookie(COOKIE, value, max_age=60, path=path, httponly=True, samesite="strict")


def take_message(request: Request) -> Message | None:
    """Return what the last answer left for this page."""
    try:
        written = orjson.loads(base64.urlsafe_b64decode(request.cookies.get(COOKIE, "")))
        text, level, link, link_text = written
    except (binascii.Error, ValueError, TypeError):
        return None
    if level not in ("done", "warning", "problem") or not isinstance(text, str):
        return None
    if link is not None and not is_own_path(link):
        return None
    return Message(text, level, link, str(link_text))


def root_path_of(request: Request) -> str:
    """Return what a browser sees before each path of this site: empty, or as ``/feedmill``."""
    root_path: str = request.app.state.dashboard.root_path
    return root_path


def cookie_path(request: Request) -> str:
    """Return the path that cookies are for: other programs on the same host get none of ours."""
    return root_path_of(request) or "/"


def is_own_path(path: object) -> bool:
    """Return whether a link stays on this site, whatever a browser makes of it."""
    if not isinstance(path, str) or not path.startswith("/") or not path.isprintable():
        return False
    return not path.startswith("//") and "\\" not in path
