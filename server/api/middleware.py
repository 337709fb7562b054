"""What every request and answer passes: size, type, HEAD, headers, and a 500 for the unexpected."""

from collections.abc import Callable, Mapping

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from server.api.problems import ProblemResponse
from shared.logs import get_logger

DEFAULT_BODY_BYTES = 1024 * 1024
_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
# Or the server would read the rest, only to throw it away.
_HANG_UP = {"Connection": "close"}
_API_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
log = get_logger("server.api.middleware")


class BodyLimit:
    """Refuses bodies that are too large (413) while they arrive, before anything holds them.

    ``limits`` names paths with a limit of their own, in bytes. Counts what comes in, whatever
    Content-Length says.
    """

    def __init__(self, app: ASGIApp, limits: Mapping[str, int]) -> None:
        self._app = app
        self._limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        limit = self._limits.get(scope["path"], DEFAULT_BODY_BYTES)
        stated = Headers(scope=scope).get("content-length", "")
        if stated.isdecimal() and int(stated[:20]) > limit:
            await _too_large(limit)(scope, receive, send)
            return
        await self._app(scope, _count(receive, limit), send)


class JsonOnly:
    """Refuses (415) bodies that are not JSON: the only kind that needs a browser's permission."""

    def __init__(self, app: ASGIApp, is_exempt: Callable[[str], bool]) -> None:
        self._app = app
        self._is_exempt = is_exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and not self._is_exempt(scope["path"]):
            headers = Headers(scope=scope)
            if _has_body(headers) and not _is_json(headers.get("content-type", "")):
                refusal = ProblemResponse(
                    415, "the body must be JSON: Content-Type: application/json"
                )
                await refusal(scope, receive, send)
                return
        await self._app(scope, receive, send)


class SafeHeaders:
    """Adds the headers that keep a browser from doing more than it should with an answer.

    ``is_page`` names the paths of pages that bring scripts: they set their own content policy.
    """

    def __init__(self, app: ASGIApp, is_page: Callable[[str], bool]) -> None:
        self._app = app
        self._is_page = is_page

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        added = _HEADERS if self._is_page(scope["path"]) else _HEADERS | _API_HEADERS

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in added.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)


class HeadAsGet:
    """Answers HEAD as GET is answered, without the body (RFC 9110, 9.3.2), as monitors ask.

    The web server leaves out the body of such an answer.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] != "HEAD":
            await self._app(scope, receive, send)
            return
        has_ended = False

        async def send_head(message: Message) -> None:
            nonlocal has_ended
            if has_ended:
                return
            await send(message)
            if message["type"] == "http.response.start" and _is_stream(message):
                # Its first piece may be long in coming.
                has_ended = True
                await send({"type": "http.response.body", "body": b""})

        await self._app({**scope, "method": "GET"}, receive, send_head)


class UnexpectedErrors:
    """Answers 500 without details for what nobody expected, and logs it with its trace."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        has_started = False

        async def watch(message: Message) -> None:
            nonlocal has_started
            has_started = True
            await send(message)

        try:
            await self._app(scope, receive, watch)
        except Exception:
            log.exception("request_failed", method=scope["method"], path=scope["path"])
            if has_started:
                raise  # the server cuts the connection, so that nobody takes it for whole
            await ProblemResponse(500, "unexpected error; see the server's log")(
                scope, receive, send
            )


def _is_stream(start: Message) -> bool:
    return "content-length" not in Headers(raw=start["headers"])


def _count(receive: Receive, limit: int) -> Receive:
    received = 0

    async def receive_counted() -> Message:
        nonlocal received
        message = await receive()
        received += len(message.get("body", b""))
        if received > limit:
            # An HTTPException, for FastAPI takes any other for a body it cannot read.
            raise HTTPException(413, _too_large_detail(limit), _HANG_UP)
        return message

    return receive_counted


def _too_large(limit: int) -> ProblemResponse:
    return ProblemResponse(413, _too_large_detail(limit), _HANG_UP)


def _too_large_detail(limit: int) -> str:
    return f"the body is larger than {limit} bytes"


def _has_body(headers: Headers) -> bool:
    return "transfer-encoding" in headers or headers.get("content-length", "0") != "0"


def _is_json(content_type: str) -> bool:
    media_type = content_type.partition(";")[0].strip().lower()
    return media_type == "application/json" or (
        media_type.startswith("application/") and media_type.endswith("+json")
    )
