"""Errors in words, for the page that they came from."""

from collections.abc import Callable
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from server.api.problems import EXPLAINED_ERRORS, explain_error
from server.dashboard.messages import Message
from server.dashboard.rendering import redirect


def describe_problem(request: Request, error: Exception) -> str:
    """Return what is wrong, in the API's words; a field without its place in the body."""
    problem = explain_error(error, request.url.path)
    members = problem.model_extra or {}
    faults = members.get("errors")
    if not isinstance(faults, list):
        # The kind of an address's error is a word for programs.
        return problem.detail.removeprefix(f"{members.get('kind')}: ")
    said = (f"{_name(fault['field'])}: {fault['message']}" for fault in faults)
    return "; ".join(each.removeprefix(": ") for each in said)


def show_problem(request: Request, error: Exception) -> dict[str, Any]:
    """Return what ``render`` needs to show a page with the problem on top."""
    message = Message(describe_problem(request, error), "problem")
    status = explain_error(error, request.url.path).status
    # What came of a typed address is the form's matter: proxies replace pages with 502 and 504.
    return {"message": message, "status": 422 if status in (502, 504) else status}


def attempt(request: Request, back: str, act: Callable[[], Response]) -> Response:
    """Return an action's answer; when it is refused, go ``back`` and say there why."""
    try:
        return act()
    except EXPLAINED_ERRORS as exc:
        return redirect(request, back, describe_problem(request, exc), level="problem")


def _name(field: str) -> str:
    return field.removeprefix("body").removeprefix(".")
