"""One change for many feeds in one call."""

from typing import Annotated

from fastapi import Request
from pydantic import BaseModel, Field

from server.api.feed_bodies import GivenTag
from server.api.import_answers import StartedImport, show_started
from server.api.parts import Parts, count_start
from server.api.problems import describe_problems
from server.api.routing import api_router
from server.api.values import MAX_LIMIT, RequestBody, Text, printable, show_text
from server.feeds.bulk import BulkAction, BulkEditor

router = api_router("feeds")

_Named = Annotated[Text, Field(max_length=200)]


class BulkRequest(RequestBody):
    """What to do to which feeds."""

    sources: list[_Named] = Field(min_length=1, max_length=MAX_LIMIT)
    # By its word, as JSON has it: a strict body would want the enumeration's own.
    action: Annotated[BulkAction, Field(strict=False)]
    tag: GivenTag | None = Field(None, description="for `add_tag` and `remove_tag`")


class BulkFailure(BaseModel):
    """A feed that it was not done to, and why."""

    source: str
    error: str


class BulkAnswer(BaseModel):
    """What came of it: every feed that was named is in `done` or in `failed`."""

    done: list[str]
    failed: list[BulkFailure]
    imports: list[StartedImport] = Field(description="with action `import`")


@router.post("/feeds/bulk", responses=describe_problems(413, 415, 429))
def change_feeds(request: Request, parts: Parts, wanted: BulkRequest) -> BulkAnswer:
    """Change, import or remove many feeds with one request.

    Each feed by itself: one that fails does not stop the others, and is listed in `failed`.
    `import` counts as a call that starts work. `remove` deletes feeds; their items stay.
    """
    if wanted.action is BulkAction.IMPORT:
        count_start(request, parts)
    editor = BulkEditor(parts.services.feeds, parts.services.starter)
    report = editor.apply(wanted.sources, wanted.action, wanted.tag)
    return BulkAnswer(
        done=[printable(source) for source in report.done],
        failed=[
            BulkFailure(source=printable(source), error=show_text(error))
            for source, error in report.failed.items()
        ],
        imports=[show_started(each) for each in report.imports],
    )
