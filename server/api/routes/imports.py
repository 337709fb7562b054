"""Starting imports, and watching them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from server.api.answers import ImportAnswer, Listing, StartedImports
from server.api.events import MAX_WATCHERS
from server.api.parts import Parts, count_start, read_body
from server.api.presentation import show_started
from server.api.problems import describe_problems
from server.api.request_models import ImportQuery, StartRequest
from server.services import Services
from shared.errors import NotFoundError
from shared.store import Import

router = APIRouter(tags=["imports"])


@router.post(
    "/imports/start",
    status_code=202,
    responses=describe_problems(404, 409, 413, 415, 429),
    dependencies=[Depends(count_start)],
    openapi_extra={
        "requestBody": {
            "content": {"application/json": {"schema": StartRequest.model_json_schema()}}
        }
    },
)
def start_imports(parts: Parts, body: Annotated[bytes, Depends(read_body)]) -> StartedImports:
    """Start imports now: of all enabled feeds, or of those, or of a URL, or of a document.

    A feed whose import is still queued or fetching answers with that import.
    """
    # Read here and not by FastAPI: large documents must not be decoded on the event loop.
    wanted = StartRequest.model_validate_json(body or b"{}")
    started = start(parts.services, wanted)
    return StartedImports(imports=[show_started(each) for each in started])


@router.get("/imports", responses=describe_problems())
def list_imports(parts: Parts, query: Annotated[ImportQuery, Query()]) -> Listing[ImportAnswer]:
    """List imports, latest requested first."""
    page = parts.services.stores.imports.find_page(
        source=query.source,
        state=query.state,
        since=query.since,
        until=query.until,
        limit=query.limit,
        cursor=query.cursor,
    )
    return Listing(items=parts.imports.show_many(page.items), next_cursor=page.next_cursor)


@router.get(
    "/imports/{import_id:path}/events",
    responses={
        200: {"description": "`import` events", "content": {"text/event-stream": {}}},
        **describe_problems(404),
    },
    response_class=StreamingResponse,
)
def watch_import(parts: Parts, import_id: str) -> StreamingResponse:
    """Send an `import` event at each change, at most 4 a second, until the import has ended."""
    _get_import(parts, import_id)
    if not parts.events.has_room():
        raise HTTPException(503, f"{MAX_WATCHERS} clients watch imports already")
    return StreamingResponse(
        parts.events.stream(import_id),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


@router.get("/imports/{import_id:path}", responses=describe_problems(404))
def get_import(parts: Parts, import_id: str) -> ImportAnswer:
    """Return one import."""
    return parts.imports.show_many([_get_import(parts, import_id)])[0]


def _get_import(parts: Parts, import_id: str) -> Import:
    found = parts.services.stores.imports.get(import_id)
    if found is None:
        raise NotFoundError(f"there is no import {import_id[:80]!r}")
    return found


def start(services: Services, wanted: StartRequest) -> list[Import]:
    """Start the imports that a request asks for; raises what the starter raises."""
    starter, force, trigger = services.starter, wanted.force, wanted.trigger
    if wanted.sources is not None:
        return starter.start_sources(wanted.sources, force=force, trigger=trigger)
    if wanted.url is not None:
        return starter.start_url(wanted.url, wanted.source, force=force, trigger=trigger)
    if wanted.document is not None and wanted.source is not None:
        document = wanted.document.encode()
        max_bytes = services.settings.fetch_max_bytes
        if len(document) > max_bytes:
            raise HTTPException(413, f"the document has more than {max_bytes} bytes")
        return starter.start_document(document, wanted.source, force=force, trigger=trigger)
    return starter.start_all(force=force, trigger=trigger)
