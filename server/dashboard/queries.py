"""Filters in a page's address, read as the API reads them; what cannot be read is said."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from server.dashboard.problem_text import show_problem

Q = TypeVar("Q", bound=BaseModel)


def read_query(model: type[Q], request: Request) -> tuple[Q, dict[str, Any]]:
    """Return the filters and nothing; or none, and what ``render`` needs to say what is wrong.

    Names that ``model`` does not know are left to the page.
    """
    given = {
        name: value for name, value in request.query_params.items() if name in model.model_fields
    }
    try:
        return model.model_validate(given), {}
    except ValidationError as exc:
        return model(), show_problem(request, exc)
