"""The OpenAPI document: what FastAPI reads off the routes, and what holds for all of them.

Routes name the problems that only they have (``describe_problems``); those that any request may
meet are added here, each with an example, and so are words that are the same wherever they occur.
"""

import re
from collections.abc import Iterable, Iterator
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from server.api.examples import ANSWERS, BODIES, PROBLEMS
from server.api.guards import OPEN_PATHS
from server.api.keys import READING_METHODS
from server.api.problems import PROBLEM_TYPE, problem_schema

_Json = dict[str, Any]
_ABOUT = """\
Imports RSS, Atom and JSON feeds into MongoDB without losing or duplicating an item.

- **Keys.** With `API_KEY` set, every request but `/healthz` and `/readyz` needs
  `Authorization: Bearer KEY`; a key of `API_READ_KEYS` suffices for GET and HEAD.
- **Errors** are problem documents (RFC 9457, `application/problem+json`): `title` is the status in
  words, `detail` what is wrong with this request. Any path answers 405 to a method that it does not
  have, and 500 when something unexpected happened: the server's log has more. HEAD is answered
  wherever GET is.
- **Lists** are newest first. `limit` is how many (default 50, at most 500), `cursor` the
  `next_cursor` of the page before; `next_cursor` is null on the last page.
- **Times** are RFC 3339 in UTC. **Ids in paths** are percent-encoded whole, slashes too.
"""
_KEY_SCHEME = {
    "type": "http",
    "scheme": "bearer",
    "description": "`API_KEY`, or for GET and HEAD one of `API_READ_KEYS`.",
}
_METHODS_WITH_BODY = ("PATCH", "POST", "PUT")
# In the order of a first day: import something, then look at what became of it.
_TAGS = {
    "imports": "Start imports and follow them.",
    "feeds": "Subscriptions: add, change, remove, OPML; hosts that are rate-limited.",
    "windows": "Feeds that are read by intervals, and back-fills of a feed's past.",
    "items": "What was imported.",
    "dead letters": "Items that could not be stored: look at them, replay or remove them.",
    "queues": "Queues, their jobs and the workers that run them.",
    "settings": "What the server was started with, and what can be changed while it runs.",
    "system": "Health and metrics.",
}
_PARAMETERS = {
    "source": "the feed's key, as `lwn`",
    "import_id": "the import's id",
    "item_id": "`source#guid`, percent-encoded whole, as `lwn%23https%3A%2F%2Flwn.net%2F1`",
    "job_id": "the job's id, percent-encoded whole",
    "name": "the queue's name, as `job_import_queue`",
    "host": "the host's name, with its port unless that is 80 or 443",
}
# What FastAPI would answer where we answer problem documents.
_NOT_OURS = ("HTTPValidationError", "ValidationError")
_SENTENCE = re.compile(r"(?P<first>.+?)\.(?:\s+(?P<rest>.*))?", re.DOTALL)


def describe_api(app: FastAPI, *, root_path: str, is_locked: bool) -> _Json:
    """Return the OpenAPI document of an application.

    ``root_path`` is what comes before each path outside; ``is_locked`` when a key is asked for.
    """
    document = get_openapi(
        title=app.title,
        version=app.version,
        description=_ABOUT,
        routes=app.routes,
        servers=[{"url": root_path}] if root_path else None,
    )
    for path, method, operation in _operations(document):
        _describe_operation(path, method, operation, is_locked=is_locked)
    document["tags"] = _describe_tags(document)
    components = document["components"]
    for unused in _NOT_OURS:
        components["schemas"].pop(unused, None)
    components["schemas"]["Problem"] = problem_schema()
    components["responses"] = _describe_problems()
    if is_locked:
        components["securitySchemes"] = {"key": _KEY_SCHEME}
        document["security"] = [{"key": []}]
    return document


def _operations(document: _Json) -> Iterator[tuple[str, str, _Json]]:
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            yield path, method.upper(), operation


def _describe_operation(path: str, method: str, operation: _Json, *, is_locked: bool) -> None:
    operation["tags"] = [tag.capitalize() for tag in operation.get("tags", [])]
    _summarise(operation)
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" and parameter["name"] in _PARAMETERS:
            parameter["description"] = _PARAMETERS[parameter["name"]]
    _add_examples(path, method, operation)
    answers = operation["responses"]
    for status, answer in answers.items():
        if answer["description"] == "Successful Response":
            answer["description"] = HTTPStatus(int(status)).phrase
    statuses = {status for status in answers if int(status) >= 400}
    statuses.update(map(str, _common_statuses(path, method, operation, is_locked=is_locked)))
    references = {each: {"$ref": f"#/components/responses/{each}"} for each in statuses}
    operation["responses"] = dict(sorted({**answers, **references}.items()))


def _summarise(operation: _Json) -> None:
    """Make the first sentence of a handler's docstring the summary, and the rest the description.

    FastAPI would make the summary of the function's name.
    """
    found = _SENTENCE.fullmatch(operation.pop("description", ""))
    if found is None:
        return
    # A summary is plain text, only a description is Markdown.
    operation["summary"] = " ".join(found["first"].replace("`", '"').split())
    if found["rest"]:
        operation["description"] = found["rest"].strip()


def _common_statuses(path: str, method: str, operation: _Json, *, is_locked: bool) -> Iterable[int]:
    """Yield the problems that a request meets before its handler is reached."""
    if path in OPEN_PATHS:
        return
    yield 400
    if is_locked:
        yield 401
    if method not in READING_METHODS:
        yield 403
    if operation.get("parameters") or "requestBody" in operation:
        yield 422
    if method in _METHODS_WITH_BODY:
        yield 413
        if path != "/feeds/opml":
            yield 415


def _add_examples(path: str, method: str, operation: _Json) -> None:
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        examples = BODIES.get((method, path))
        if examples is not None and (media_type == "application/json") == (path != "/feeds/opml"):
            content["examples"] = {name: {"value": value} for name, value in examples.items()}
    example = ANSWERS.get((method, path))
    if example is not None:
        for status, answer in operation["responses"].items():
            if int(status) < 400:
                for content in answer["content"].values():
                    content["example"] = example


def _describe_tags(document: _Json) -> list[dict[str, str]]:
    used = {tag for *_, operation in _operations(document) for tag in operation["tags"]}
    known = {tag.capitalize(): about for tag, about in _TAGS.items()}
    named = [{"name": tag, "description": about} for tag, about in known.items() if tag in used]
    return named + [{"name": tag} for tag in sorted(used - set(known))]


def _describe_problems() -> _Json:
    return {
        str(status): {
            "description": problem.description,
            "content": {
                PROBLEM_TYPE: {
                    "schema": {"$ref": "#/components/schemas/Problem"},
                    "example": problem.example,
                }
            },
            **({"headers": _RETRY_AFTER} if status in (429, 503) else {}),
        }
        for status, problem in PROBLEMS.items()
    }


_RETRY_AFTER = {
    "Retry-After": {
        "description": "seconds until the same request may be sent again",
        "schema": {"type": "integer"},
    }
}
