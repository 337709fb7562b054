"""Dead letters: looking at them, replaying them, removing them."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from fastapi import Depends, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator

from server.api.import_answers import StartedImports, show_started
from server.api.parts import ApiParts, Parts, count_start
from server.api.problems import describe_problems
from server.api.routing import api_router
from server.api.values import (
    MAX_IDS,
    Filter,
    Listing,
    ListQuery,
    RequestBody,
    Source,
    Text,
    Time,
    show_json,
    show_text,
)
from server.importing.replayer import Obstacle
from shared.errors import NotFoundError
from shared.models import format_time
from shared.store import Cause, DeadLetter, LetterKind

router = api_router("dead letters", prefix="/dlq")


class DeadLetterQuery(ListQuery):
    """Which dead letters."""

    source: Filter[Text] = Field(None, description="dead letters of this feed")
    cause: Filter[Text] = Field(None, description="dead letters of this cause")
    import_id: Filter[Text] = Field(
        None, description="that ended in this import, though they may have died again since"
    )


class CauseQuery(BaseModel):
    """The causes of which feed."""

    model_config = ConfigDict(extra="forbid")

    source: Filter[Text] = Field(None, description="causes in this feed")


class ReplayRequest(RequestBody):
    """Which dead letters to replay: exactly one way to choose."""

    ids: list[Text] | None = Field(None, max_length=MAX_IDS)
    source: Source | None = None
    cause: Text | None = None
    all: Literal[True] | None = None

    @model_validator(mode="after")
    def _check_choice(self) -> Self:
        names = ("ids", "source", "cause", "all")
        if sum(getattr(self, name) is not None for name in names) != 1:
            raise ValueError('give exactly one of ids, source, cause and "all": true')
        return self


class DeathAnswer(BaseModel):
    """One end of an item."""

    revision: int
    import_id: str | None
    content_hash: str
    kind: LetterKind
    at: Time


class DeadLetterAnswer(BaseModel):
    """An item whose attempts are used up, or that an operator removed."""

    id: str
    queue: str
    source: str
    guid: str
    kind: LetterKind
    revision: int
    reason: str
    error_type: str
    cause: str
    attempts: int
    failed_at: Time
    import_id: str | None
    data: Any = Field(description="the job's data; text where it is no JSON")
    stacktrace: str
    history: list[DeathAnswer]


class CauseExample(BaseModel):
    """The dead letter of a cause that failed last."""

    id: str
    reason: str


class CauseAnswer(BaseModel):
    """Dead letters that failed alike."""

    cause: str
    error_type: str
    count: int
    sources: list[str] = Field(description="the 10 with most of them")
    source_count: int = Field(description="how many sources there are in all")
    latest_failed_at: Time
    example: CauseExample


class CausesAnswer(BaseModel):
    """The 100 most frequent causes, the most frequent first."""

    items: list[CauseAnswer]


class NotReplayed(BaseModel):
    """How many of the chosen dead letters are not replayed for this reason."""

    reason: Obstacle = Field(
        description="too_large: more bytes than JOB_MAX_BYTES; unreadable: the feed's entry could "
        "not be read, so it was not kept whole; undecodable: its data is not a JSON object "
        "with a source and a guid; "
        "removed: an operator removed it; not_found: it is not, or no longer, a dead letter; "
        "overtaken: this replay took too long, try again"
    )
    count: int


class ReplayAnswer(StartedImports):
    """How many dead letters are replayed, one import for each source, and how many are not."""

    replayed: int
    not_replayed: list[NotReplayed] = Field(description="the most frequent reason first")


@router.get("", responses=describe_problems())
def list_dead_letters(
    parts: Parts, query: Annotated[DeadLetterQuery, Query()]
) -> Listing[DeadLetterAnswer]:
    """List dead letters, latest first; removed ones are not listed."""
    page = parts.services.stores.dead_letters.find_page(
        source=query.source,
        cause=query.cause,
        import_id=query.import_id,
        limit=query.limit,
        cursor=query.cursor,
    )
    shown = [show_dead_letter(letter) for letter in page.items]
    return Listing(items=shown, next_cursor=page.next_cursor)


@router.get("/causes", responses=describe_problems())
def list_causes(parts: Parts, query: Annotated[CauseQuery, Query()]) -> CausesAnswer:
    """Group dead letters by cause, the most frequent first; removed ones do not count."""
    causes = parts.services.stores.dead_letters.find_causes(source=query.source)
    return CausesAnswer(items=[show_cause(cause) for cause in causes])


@router.post(
    "/replay",
    status_code=202,
    responses=describe_problems(404, 409, 413, 415, 429),
    dependencies=[Depends(count_start)],
)
def replay_dead_letters(parts: Parts, wanted: ReplayRequest) -> ReplayAnswer:
    """Replay dead letters: they run again with the content they failed with, one import a source.

    Newer content is never overwritten. A dead letter is cleared when its item is stored.
    """
    replay = parts.services.replayer.replay(
        item_ids=wanted.ids,
        source=wanted.source,
        cause=wanted.cause,
        everything=wanted.all is True,
    )
    return ReplayAnswer(
        replayed=replay.replayed,
        imports=[show_started(started) for started in replay.imports],
        not_replayed=[
            NotReplayed(reason=reason, count=count)
            for reason, count in replay.not_replayed.most_common()
        ],
    )


@router.get("/{item_id:path}", responses=describe_problems(404))
def get_dead_letter(parts: Parts, item_id: str) -> DeadLetterAnswer:
    """Return one dead letter, also a removed one."""
    return show_dead_letter(read_dead_letter(parts, item_id))


@router.delete("/{item_id:path}", status_code=204, responses=describe_problems(404, 409))
def remove_dead_letter(parts: Parts, item_id: str) -> None:
    """Mark a dead letter removed: kept so that the same content stays away, but not listed.

    Only an import with `force` stores it again. A replay of it that waits ends as removed; one
    that is being run is not interrupted (409).
    """
    parts.services.remover.remove_dead_letter(item_id)


def read_dead_letter(parts: ApiParts, item_id: str) -> DeadLetter:
    """Return one dead letter whole, also a removed one.

    Raises:
        NotFoundError: there is none.
    """
    found = parts.services.stores.dead_letters.get(item_id)
    if found is None:
        raise NotFoundError(f"there is no dead letter {item_id[:80]!r}")
    return found


def show_dead_letter(letter: DeadLetter) -> DeadLetterAnswer:
    """Return a dead letter, its data decoded where that is possible."""
    return DeadLetterAnswer(
        id=letter.item_id,
        queue=letter.queue,
        source=letter.source,
        guid=letter.guid,
        kind=letter.kind,
        revision=letter.revision,
        reason=show_text(letter.reason),
        error_type=letter.error_type,
        cause=letter.cause,
        attempts=letter.attempts,
        failed_at=format_time(letter.failed_at),
        import_id=letter.import_id,
        data=show_json(letter.data),
        stacktrace=show_text(letter.stacktrace),
        history=[_show_death(death) for death in letter.history],
    )


def show_cause(cause: Cause) -> CauseAnswer:
    """Return a cause and its example."""
    return CauseAnswer(
        cause=cause.cause,
        error_type=cause.error_type,
        count=cause.count,
        sources=cause.sources,
        source_count=cause.source_count,
        latest_failed_at=format_time(cause.latest_failed_at),
        example=CauseExample(id=cause.example_id, reason=show_text(cause.example_reason)),
    )


def _show_death(death: Mapping[str, Any]) -> DeathAnswer:
    return DeathAnswer(
        revision=death["revision"],
        import_id=death["import_id"],
        content_hash=death["content_hash"],
        kind=death["kind"],
        at=format_time(death["at"]),
    )
