"""Filters in a page's address, read as the API reads them; what cannot be read is said."""

from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from server.dashboard.problem_text import show_problem

Q = TypeVar("Q", bound=BaseModel)


def read_query(model: type[Q], request: Request) -> tuple[Q, dict[str, Any]]:
    """Return the filters and nothing; or the fit ones, and what ``render`` needs to say the rest.

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
