"""One message that a page shows once, after the redirect of an action."""

import base64
import binascii
from dataclasses import dataclass
from typing import Literal

import orjson
from starlette.requests import Request
from starlette.responses import Response

COOKIE = "feedmill_message"
# A cookie holds 4 KB; a message is a sentence.
_MAX_TEXT = 600

Level = Literal["done", "warning", "problem"]


@dataclass(frozen=True, slots=True)
class Message:
    """What the operator is told; ``link`` leads on, within the dashboard."""

    text: str
    level: Level = "done"
    link: str | None = None
    link_text: str = ""


def leave_message(response: Response, message: Message) -> None:
    """Let the next page show this."""
    written = orjson.dumps(
        [message.text[:_MAX_TEXT], message.level, message.link, message.link_text[:100]]
    )
    value = base64.urlsafe_b64encode(written).decode()
    response.set_cookie(COOKIE, value, max_age=60, httponly=True, samesite="strict")


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


def is_own_path(path: object) -> bool:
    """Tell whether a link stays on this site, whatever a browser makes of it."""
    if not isinstance(path, str) or not path.startswith("/") or not path.isprintable():
        return False
    return not path.startswith("//") and "\\" not in path
