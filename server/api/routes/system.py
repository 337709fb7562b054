"""Health and metrics."""

from typing import Any, Literal

from prometheus_client import CONTENT_TYPE_LATEST
from pydantic import BaseModel, Field
from starlette.responses import Response

from server.api.parts import Parts
from server.api.problems import RETRY_AFTER_S, ProblemResponse, describe_problems
from server.api.readiness import describe_absent
from server.api.routing import api_router

router = api_router("system")

_WITHOUT_KEY: dict[str, Any] = {"security": []}


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
