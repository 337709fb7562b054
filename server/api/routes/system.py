"""Health, metrics, and the pages about the API itself."""

from importlib.resources import files
from typing import Any, Literal

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.responses import Response

from server.api.parts import Parts
from server.api.problems import RETRY_AFTER_S, ProblemResponse, describe_problems
from server.api.readiness import describe_absent
from shared.errors import NotFoundError

router = APIRouter(tags=["system"])

_WITHOUT_KEY: dict[str, Any] = {"security": []}
_ASSETS = {
    "js": ("swagger-ui-bundle.js", "text/javascript"),
    "css": ("swagger-ui.css", "text/css"),
}
DOCS_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
        "frame-ancestors 'none'"
    )
}
DOCS_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Feedmill API</title>
<link rel="stylesheet" href="docs/swagger-ui.css">
</head>
<body>
<div id="api"><p><a href="openapi.json">openapi.json</a></p></div>
<script src="docs/swagger-ui.js"></script>
<script src="docs/start.js"></script>
</body>
</html>
"""
DOCS_SCRIPT = """SwaggerUIBundle({
  url: "openapi.json",
  dom_id: "#api",
  deepLinking: true,
  validatorUrl: null,
});
"""


class Health(BaseModel):
    """The process is alive."""

    status: Literal["ok"]


class ReadinessAnswer(Health):
    """Both stores answer. What fails within the server is listed all the same."""

    failing_threads: list[str] = Field(
        default=[], description="threads whose last round failed; absent when there are none"
    )


# The two health checks are coroutines, unlike all other handlers: they have to answer also when
# every thread waits for a store that hangs.
@router.get("/healthz", openapi_extra=_WITHOUT_KEY)
async def get_health() -> Health:
    """Return that the process is alive, whatever the stores do."""
    return Health(status="ok")


@router.get(
    "/readyz",
    response_model=ReadinessAnswer,
    response_model_exclude_defaults=True,
    responses=describe_problems(),
    openapi_extra=_WITHOUT_KEY,
)
async def get_readiness(parts: Parts) -> ReadinessAnswer | ProblemResponse:
    """Return whether Redis and MongoDB answer; 503 names which does not, and what it refuses.

    200 also names threads of the server that are failing. One that keeps failing ends the
    process, so that it is started anew.
    """
    absent = await parts.readiness.find_absent()
    if absent:
        detail = describe_absent(absent)
        return ProblemResponse(
            503, detail, {"Retry-After": str(RETRY_AFTER_S)}, absent=list(absent)
        )
    failing = parts.services.supervisor.failing()
    # Names only: this is answered without a key, and an error's text may hold anything.
    return ReadinessAnswer(status="ok", failing_threads=[loop.name for loop in failing])


@router.get(
    "/metrics",
    response_class=Response,
    responses={
        200: {
            "description": "Prometheus",
            "content": {"text/plain": {"schema": {"type": "string"}}},
        },
        **describe_problems(),
    },
)
def get_metrics(parts: Parts) -> Response:
    """Return metrics for Prometheus."""
    return Response(parts.metrics.render(), media_type=CONTENT_TYPE_LATEST)


@router.get("/docs", include_in_schema=False)
def get_docs() -> Response:
    """Return the page that shows this API; it loads nothing from elsewhere."""
    return Response(DOCS_PAGE, media_type="text/html", headers=DOCS_HEADERS)


@router.get("/docs/start.js", include_in_schema=False)
def get_docs_script() -> Response:
    """Return the script that starts the page."""
    return Response(DOCS_SCRIPT, media_type="text/javascript")


@router.get("/docs/swagger-ui.{suffix}", include_in_schema=False)
def get_docs_asset(suffix: str) -> Response:
    """Return Swagger UI's script or style sheet."""
    content, media_type = read_asset(suffix)
    return Response(content, media_type=media_type, headers={"Cache-Control": "max-age=86400"})


def read_asset(suffix: str) -> tuple[bytes, str]:
    """Return the content and media type of Swagger UI's ``js`` or ``css``.

    Raises:
        NotFoundError: another suffix.
    """
    if suffix not in _ASSETS:
        raise NotFoundError(f"there is no swagger-ui.{suffix[:20]}")
    name, media_type = _ASSETS[suffix]
    return (files("fastapi_offline") / "static" / name).read_bytes(), media_type
