"""Dead letters: looking at them, replaying them, removing them."""

from typing import Annotated

from fastapi import APIRouter, Depends, Query

from server.api.answers import CausesAnswer, DeadLetterAnswer, Listing, ReplayAnswer
from server.api.parts import Parts, count_start
from server.api.presentation import show_cause, show_dead_letter, show_started
from server.api.problems import describe_problems
from server.api.request_models import CauseQuery, DeadLetterQuery, ReplayRequest
from shared.errors import NotFoundError

router = APIRouter(prefix="/dlq", tags=["dead letters"])


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
    """Group dead letters by what failed, the most frequent first; removed ones do not count."""
    causes = parts.services.stores.dead_letters.find_causes(source=query.source)
    return CausesAnswer(items=[show_cause(cause) for cause in causes])


@router.post(
    "/replay",
    status_code=202,
    responses=describe_problems(404, 409, 413, 415, 429),
    dependencies=[Depends(count_start)],
)
def replay_dead_letters(parts: Parts, wanted: ReplayRequest) -> ReplayAnswer:
    """Bring dead letters back into the item queues, by one import a source."""
    replay = parts.services.replayer.replay(
        item_ids=wanted.ids,
        source=wanted.source,
        cause=wanted.cause,
        everything=wanted.all is True,
    )
    imports = [show_started(started) for started in replay.imports]
    return ReplayAnswer(replayed=replay.replayed, imports=imports)


@router.get("/{item_id:path}", responses=describe_problems(404))
def get_dead_letter(parts: Parts, item_id: str) -> DeadLetterAnswer:
    """Return one dead letter, also a removed one."""
    found = parts.services.stores.dead_letters.get(item_id)
    if found is None:
        raise NotFoundError(f"there is no dead letter {item_id[:80]!r}")
    return show_dead_letter(found)


@router.delete("/{item_id:path}", status_code=204, responses=describe_problems(404, 409))
def remove_dead_letter(parts: Parts, item_id: str) -> None:
    """Mark a dead letter removed: kept so that the same content stays away, but not listed.

    A replay of it that waits ends as removed; one that is being run is not interrupted (409).
    """
    parts.services.remover.remove_dead_letter(item_id)
