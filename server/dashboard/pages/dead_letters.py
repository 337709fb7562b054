"""Dead letters: by cause with what to do, one by one, replayed and removed."""

from collections.abc import Iterable
from contextlib import suppress
from typing import Annotated, Literal

from fastapi import Depends, Form, Query, Request
from starlette.responses import Response

from server.api.parts import ApiParts, Parts, count_start
from server.api.routes import dead_letters as api
from server.api.routes.dead_letters import CauseQuery, DeadLetterQuery, ReplayAnswer, ReplayRequest
from server.dashboard.advice import DOCS_PATH, REMOVED, describe_refused, find_advice
from server.dashboard.filters import quote_segment
from server.dashboard.rendering import is_own_path, redirect, render
from server.dashboard.replays import find_obstacle_of_cause, preview_causes, sum_up
from server.dashboard.site import page_router
from server.importing.replayer import find_obstacle
from shared.errors import ConflictError, NotFoundError
from shared.store import LetterKind
from shared.store.causes import MAX_CAUSES

router = page_router()

LIST_PATH = "/admin/dlq"


class LettersQuery(DeadLetterQuery):
    """Which dead letters, and whether one by one without any filter."""

    view: Literal["causes", "latest"] = "causes"

    @property
    def is_list(self) -> bool:
        """Whether letters are shown, rather than their causes."""
        return self.view == "latest" or bool(self.cause or self.import_id or self.cursor)


@router.get(LIST_PATH)
def show_dead_letters(
    request: Request, parts: Parts, query: Annotated[LettersQuery, Query()]
) -> Response:
    """Show causes; or dead letters: the latest, or those of one cause or import."""
    if query.is_list:
        return _show_list(request, parts, query)
    causes = api.list_causes(parts, CauseQuery(source=query.source)).items
    previews = preview_causes(parts, causes, query.source)
    return render(
        request,
        "dead_letters/causes.html",
        query=query,
        causes=causes,
        previews=previews,
        in_all=sum_up(previews),
        max_causes=MAX_CAUSES,
        titles=_find_titles(parts, (source for each in causes for source in each.sources)),
        find_advice=find_advice,
        docs_path=DOCS_PATH,
    )


def _show_list(request: Request, parts: ApiParts, query: LettersQuery) -> Response:
    listing = api.list_dead_letters(parts, query)
    cause = query.cause
    return render(
        request,
        "dead_letters/list.html",
        query=query,
        listing=listing,
        titles=_find_titles(parts, (letter.source for letter in listing.items)),
        title_of=title_of,
        find_advice=find_advice,
        obstacle=find_obstacle_of_cause(parts, cause, query.source) if cause else None,
    )


@router.post(f"{LIST_PATH}/replay", dependencies=[Depends(count_start)])
def replay_dead_letters(
    request: Request,
    parts: Parts,
    ids: Annotated[list[str] | None, Form()] = None,
    source: Annotated[str | None, Form()] = None,
    cause: Annotated[str | None, Form()] = None,
    everything: Annotated[bool, Form(alias="all")] = False,
    back: Annotated[str, Form()] = LIST_PATH,
) -> Response:
    """Replay the selected ones, and name the imports that store them."""
    if not (ids or source or cause or everything):
        return _ask_to_select(request, back)
    wanted = ReplayRequest(ids=ids, source=source, cause=cause, all=True if everything else None)
    return _report_replay(request, api.replay_dead_letters(parts, wanted), back)


@router.post(f"{LIST_PATH}/remove")
def remove_dead_letters(
    request: Request,
    parts: Parts,
    ids: Annotated[list[str] | None, Form()] = None,
    back: Annotated[str, Form()] = LIST_PATH,
) -> Response:
    """Remove the selected ones for good."""
    if not ids:
        return _ask_to_select(request, back)
    removed = refused = 0
    for item_id in ids:
        # Replayed or removed by somebody else meanwhile: it is gone as wanted.
        with suppress(NotFoundError):
            try:
                api.remove_dead_letter(parts, item_id)
                removed += 1
            except ConflictError:
                refused += 1
    text = f"{_letters(removed)} removed; the same content stays away."
    if refused:
        text += f" {_letters(refused)} not removed: being replayed now. Try again in a moment."
    return redirect(request, _own(back), text)


@router.get(f"{LIST_PATH}/{{item_id:path}}")
def show_dead_letter(request: Request, parts: Parts, item_id: str, whole: bool = False) -> Response:
    """Show one letter, also a removed one."""
    found = api.read_dead_letter(parts, item_id)
    is_dead = found.kind is LetterKind.DEAD
    return render(
        request,
        "dead_letters/letter.html",
        letter=api.show_dead_letter(found),
        title_of=title_of,
        here=f"{LIST_PATH}/{quote_segment(item_id)}",
        is_dead=is_dead,
        feed_title=_find_titles(parts, [found.source]).get(found.source, found.source),
        advice=find_advice(found.error_type) if is_dead else REMOVED,
        obstacle=find_obstacle(found, parts.services.settings.job_max_bytes),
        docs_path=DOCS_PATH,
        is_whole=whole,
    )


def title_of(letter: api.DeadLetterAnswer) -> str:
    """Return the title of the item that a dead letter is of; its guid where that is not known."""
    title = letter.data.get("title") if isinstance(letter.data, dict) else None
    return title if isinstance(title, str) and title.strip() else letter.guid


def _find_titles(parts: ApiParts, sources: Iterable[str]) -> dict[str, str]:
    return parts.services.stores.feed_lists.find_titles(set(sources))


def _report_replay(request: Request, replay: ReplayAnswer, back: str) -> Response:
    refused = describe_refused({each.reason: each.count for each in replay.not_replayed})
    if not replay.imports:
        text = f"Nothing replayed: {refused or 'no dead letter matches'}."
        return redirect(request, _own(back), text, level="warning")
    text = f"Replaying {_letters(replay.replayed)}"
    if refused:
        text += f"; {sum(each.count for each in replay.not_replayed)} not: {refused}"
    text += ". Each leaves this list when its item is stored."
    if len(replay.imports) == 1:
        link, link_text = f"/admin/imports/{replay.imports[0].id}", "See its import"
    else:
        link, link_text = "/admin/imports", f"See its {len(replay.imports)} imports"
    return redirect(request, _own(back), text, link=link, link_text=link_text)


def _ask_to_select(request: Request, back: str) -> Response:
    text = "Nothing selected: select dead letters first."
    return redirect(request, _own(back), text, level="warning")


def _letters(count: int) -> str:
    return f"{count} dead letter{'' if count == 1 else 's'}"


def _own(back: str) -> str:
    return back if is_own_path(back) and back.startswith(LIST_PATH) else LIST_PATH
