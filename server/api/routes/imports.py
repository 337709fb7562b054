"""Starting imports, and watching them."""

from typing import Annotated, Literal, Self

from fastapi import Depends, Query
from pydantic import Field, model_validator
from starlette.exceptions import HTTPException
from starlette.responses import StreamingResponse

from server.api.events import MAX_WATCHERS
from server.api.import_answers import ImportAnswer, StartedImports, show_started
from server.api.parts import Parts, count_start, read_body
from server.api.problems import describe_problems
from server.api.routing import api_router
from server.api.values import (
    MAX_IDS,
    Filter,
    Listing,
    ListQuery,
    Moment,
    RequestBody,
    Source,
    Text,
    Url,
)
from server.services import Services
from shared.errors import NotFoundError
from shared.store import Import, ImportState, Trigger

router = api_router("imports")


class ReparseRequest(RequestBody):
    """Which kept documents to import again; all by default."""

    since: Moment = Field(None, description="fetched at this time or after; RFC 3339")
    trigger: Literal["api", "cli"] = "api"


class StartRequest(RequestBody):
    """Which imports to start; those of all enabled feeds by default."""

    sources: list[Source] | None = Field(None, max_length=MAX_IDS)
    url: Url | None = None
    document: str | None = Field(None, description="the feed document itself; needs `source`")
    source: Source | None = Field(None, description="with `url` or `document`")
    force: bool = Field(
        False, description="skip validators and comparison; stores what an operator removed, too"
    )
    trigger: Literal["api", "cli"] = "api"

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        chosen = [
            name for name in ("sources", "url", "document") if getattr(self, name) is not None
        ]
        if len(chosen) > 1:
            raise ValueError(f"give sources, url or document, not {' and '.join(chosen)}")
        if self.document is not None and self.source is None:
            raise ValueError("document needs source")
        if self.source is not None and chosen not in (["url"], ["document"]):
            raise ValueError("source needs url or document; for existing feeds use sources")
        return self


class ImportQuery(ListQuery):
    """Which imports."""

    source: Filter[Text] = Field(None, description="imports of this feed")
    state: Filter[ImportState] = Field(None, description="imports in this state")
    since: Moment = Field(None, description="requested at this time or after; RFC 3339")
    until: Moment = Field(None, description="requested before this time; RFC 3339")


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
    """Start imports now: of all enabled feeds, of some feeds, of a URL or of a document.

    A feed whose import is still queued or fetching answers with that import.
    """
    # Read here and not by FastAPI: large documents must not be decoded on the event loop.
    wanted = StartRequest.model_validate_json(body or b"{}")
    started = start(parts.services, wanted)
    return StartedImports(imports=[show_started(each) for each in started])


@router.post(
    "/feeds/{source}/reparse",
    status_code=202,
    responses=describe_problems(404, 409, 413, 415, 429),
    dependencies=[Depends(count_start)],
)
def start_reparse(parts: Parts, source: str, wanted: ReparseRequest) -> StartedImports:
    """Import a feed again from its kept documents, without fetching it.

    Use it after a change of the parser. Newer content stays as it is. 422: no document is kept.
    """
    trigger = Trigger(wanted.trigger)
    started = parts.services.starter.start_reparse(source, wanted.since, trigger=trigger)
    return StartedImports(imports=[show_started(each) for each in started])


@router.get("/imports", responses=describe_problems(), response_model_exclude_unset=True)
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
        200: {
            "description": "`import` events",
            "content": {"text/event-stream": {"schema": {"type": "string"}}},
        },
        **describe_problems(404),
    },
    response_class=StreamingResponse,
)
def watch_import(parts: Parts, import_id: str) -> StreamingResponse:
    """Send an `import` event at each change, at most 4 a second, until the import has ended."""
    _get_import(parts, import_id)
    if not parts.events.has_capacity():
        raise HTTPException(
            503, f"{MAX_WATCHERS} clients follow imports already; close one, or try again later"
        )
    return StreamingResponse(
        parts.events.stream(import_id),
        media_type="text/event-stream",
        headers={"X-Accel-Buffering": "no"},
    )


@router.get(
    "/imports/{import_id:path}",
    responses=describe_problems(404),
    response_model_exclude_unset=True,
)
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
    starter, force, trigger = services.starter, wanted.force, Trigger(wanted.trigger)
    if wanted.sources is not None:
        return starter.start_sources(wanted.sources, force=force, trigger=trigger)
    if wanted.url is not None:
        return starter.start_url(wanted.url, wanted.source, force=force, trigger=trigger)
    if wanted.document is not None and wanted.source is not None:
        document = wanted.document.encode()
        max_bytes = services.settings.fetch_max_bytes
        if len(document) > max_bytes:
            raise HTTPException(
                413, f"the document is larger than {max_bytes} bytes (FETCH_MAX_BYTES)"
            )
        return starter.start_document(document, wanted.source, force=force, trigger=trigger)
    return starter.start_all(force=force, trigger=trigger)
