"""Errors as the API answers them: problem documents (RFC 9457), never a trace."""

from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import orjson
from fastapi import APIRouter, FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.routing import APIRoute
from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from server.api.values import show_text
from shared.error_kinds import ErrorKind
from shared.errors import (
    BusyError,
    ConflictError,
    FeedmillError,
    FetchError,
    InvalidJobId,
    InvalidRequestError,
    NotFoundError,
    ParseError,
    QueueRefused,
    QueueUnavailable,
    StoreRefused,
    StoreUnavailable,
    UnreadableDocument,
)

PROBLEM_TYPE = "application/problem+json"
RETRY_AFTER_S = 5
_STATUS_OF_ERROR: Mapping[type[FeedmillError], int] = {
    NotFoundError: 404,
    ConflictError: 409,
    InvalidRequestError: 422,
    InvalidJobId: 422,
    BusyError: 503,
}
EXPLAINED_ERRORS: tuple[type[Exception], ...] = (
    HTTPException,
    RequestValidationError,
    ValidationError,
    FetchError,
    ParseError,
    StoreUnavailable,
    QueueUnavailable,
    UnreadableDocument,
    *_STATUS_OF_ERROR,
)
# Of a URL that was asked for, in a call that waits for it; all other kinds are 502.
_STATUS_OF_KIND: Mapping[str, int] = {
    ErrorKind.REFUSED_ADDRESS: 422,
    ErrorKind.BAD_URL: 422,
    ErrorKind.TIMEOUT: 504,
}
# The faults that requests have most, in our words; others are in pydantic's own.
_WORDS: Mapping[str, str] = {
    "bool_type": "must be true or false",
    "datetime_type": "use RFC 3339, as in 2026-11-01T12:00:00Z",
    "enum": "must be {expected}",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "int_parsing": "must be a whole number",
    "int_type": "must be a whole number",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "list_type": "must be a list",
    "literal_error": "must be {expected}",
    "missing": "is missing",
    "string_too_long": "is too long: at most {max_length} characters",
    "string_too_short": "is too short: at least {min_length}",
    "string_type": "must be a text",
    "too_long": "is too long: at most {max_length} entries",
    "too_short": "is too short: at least {min_length}",
}
_BODY_NOT_READ = "the body is not valid JSON, or is nested deeper than 100 levels"


class Problem(BaseModel):
    """What went wrong (RFC 9457)."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


class ProblemResponse(Response):
    """A problem document. ``detail`` is what is wrong with just this request."""

    media_type = PROBLEM_TYPE

    def __init__(
        self,
        status: int,
        detail: str,
        headers: Mapping[str, str] | None = None,
        **members: object,
    ) -> None:
        phrase = HTTPStatus(status).phrase
        document = {"type": "about:blank", "title": phrase, "status": status, "detail": detail}
        super().__init__(orjson.dumps(document | members), status, headers)


def describe_problems(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return a route's own errors as OpenAPI describes them; 503 is included.

    Those that any request may meet are added to the document of all routes.
    """
    return {
        status: {
            "description": HTTPStatus(status).phrase,
            "content": {PROBLEM_TYPE: {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for status in sorted({503, *statuses})
    }


def install_problem_handlers(app: FastAPI, routers: Iterable[APIRouter]) -> None:
    """Make every error of ``app`` a problem document, unknown paths and methods included.

    The methods of ``routers`` are named when another one is tried.
    """
    for error in EXPLAINED_ERRORS:
        app.add_exception_handler(error, _answer_error)
    routes = [route for router in routers for route in router.routes]
    app.add_exception_handler(
        405, _method_refuser([route for route in routes if isinstance(route, APIRoute)])
    )


def problem_schema() -> dict[str, Any]:
    """Return the JSON schema of a problem document."""
    return Problem.model_json_schema()


def explain_error(error: Exception, path: str) -> Problem:
    """Return one of ``EXPLAINED_ERRORS`` as an answer to a request for ``path``."""
    match error:
        case HTTPException():
            return _explain_http_error(error, path)
        case RequestValidationError() | ValidationError():
            return _explain_faults(error)
        case FetchError() | ParseError():
            # What came of a URL that the request named; ``kind`` is the error's own.
            status = _STATUS_OF_KIND.get(error.kind, 502)
            return _problem(status, show_text(f"{error.kind}: {error}"), kind=error.kind)
        case StoreUnavailable() | QueueUnavailable():
            store = "MongoDB" if isinstance(error, StoreUnavailable) else "Redis"
            if isinstance(error, QueueRefused | StoreRefused):
                needed = "grant its login the rights that 'feedmill doctor' lists"
                return _problem(503, f"{store} refuses {error.what}: {needed}")
            return _problem(503, f"{store} is not available; send the same request again later")
        case UnreadableDocument():
            # Not its reason, which quotes the document: that may have secrets in it.
            return _problem(500, show_text(error.explain("run 'feedmill doctor', which says why")))
        case _:
            status = _STATUS_OF_ERROR[type(error)]  # type: ignore[index]
            return _problem(status, show_text(str(error)))


async def _answer_error(request: Request, error: Exception) -> Response:
    problem = explain_error(error, request.url.path)
    if isinstance(error, HTTPException):
        headers = error.headers
    else:
        is_passing = isinstance(error, FeedmillError) and problem.status == 503
        headers = {"Retry-After": str(RETRY_AFTER_S)} if is_passing else None
    members = problem.model_extra or {}
    return ProblemResponse(problem.status, problem.detail, headers, **members)


def _explain_http_error(error: HTTPException, path: str) -> Problem:
    # FastAPI's word for a body that its JSON reader gave up on.
    if error.status_code == 400:
        return _problem(422, _BODY_NOT_READ)
    if error.status_code == 404:
        return _problem(404, f"not found: {show_text(path)[:200]}")
    return _problem(error.status_code, str(error.detail))


def _explain_faults(error: RequestValidationError | ValidationError) -> Problem:
    prefix = ("body",) if isinstance(error, ValidationError) else ()
    faults = [_describe_fault(fault, prefix) for fault in error.errors()[:20]]
    detail = "; ".join(f"{fault['field']}: {fault['message']}" for fault in faults)
    return _problem(422, detail, errors=faults)


def _problem(status: int, detail: str, **members: object) -> Problem:
    title = HTTPStatus(status).phrase
    return Problem(type="about:blank", title=title, status=status, detail=detail, **members)


def _method_refuser(
    routes: Sequence[APIRoute],
) -> Callable[[Request, Exception], Coroutine[Any, Any, Response]]:
    """Return a handler that names all methods of a path: Starlette knows the first route's only."""

    async def refuse(request: Request, error: Exception) -> Response:
        allow = (error.headers or {}).get("Allow", "") if isinstance(error, HTTPException) else ""
        path = request.url.path
        found = {name for name in allow.split(", ") if name}.union(
            *(route.methods or () for route in routes if route.path_regex.match(path))
        )
        if "GET" in found or not found:  # static files name none
            found |= {"GET", "HEAD"}
        allowed = sorted(found)
        detail = f"{request.method} not allowed; use {' or '.join(allowed)}"
        return ProblemResponse(405, detail, {"Allow": ", ".join(allowed)})

    return refuse


def _describe_fault(
    fault: ErrorDetails | Mapping[str, Any], prefix: Sequence[str]
) -> dict[str, str]:
    """Return the field's name and what is accepted, without the value: it may be a secret."""
    path = [*prefix, *fault["loc"]]
    field = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in path)
    message = show_text(_explain_fault(fault))
    return {"field": show_text(field.lstrip("."))[:200], "message": message[:500]}


def _explain_fault(fault: ErrorDetails | Mapping[str, Any]) -> str:
    kind = fault["type"]
    # A text with a check of its own before its limit counts as a list of characters.
    if kind == "too_long" and isinstance(fault.get("input"), str):
        kind = "string_too_long"
    if kind in _WORDS:
        return _WORDS[kind].format_map(fault.get("ctx") or {})
    return str(fault["msg"]).removeprefix("Value error, ")
