"""Back-fills by page: each page names the one behind it. Pure.

Positions are 1, 2, and so on; which URL a position has is known when the one before it is
committed. ``next_url`` is the URL of the last position that was taken, and, as soon as that is
committed, of the next one, or None when there is none: it is among those ``seen`` from the moment
it is taken.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace

from server.feeds.pulls import is_paged, pull_import_id
from shared.store import Import, ImportState
from shared.store.intervals import BackFill, IndexerState

MAX_PAGES = 5000
_HASH_LENGTH = 16
_COMMITTED = (ImportState.IMPORTING, ImportState.COMPLETED)


def note_page(state: IndexerState, imports: Mapping[str, Import]) -> IndexerState:
    """Return a back-fill that knows its next page, if the last one taken is committed.

    Where that names none, or one that was taken before, the next of the feed's URLs follows,
    and behind the last of these nothing. Any other indexer stays as it is.
    """
    backfill = state.backfill
    if backfill is None or not is_paged(state) or knows_next(backfill) or is_at_end(backfill):
        return state
    last = _find_last(state, imports)
    if last is None:
        return state
    following = last.next_page
    if following is None or is_seen(backfill, following):
        following = next((url for url in backfill.step["urls"] if not is_seen(backfill, url)), None)
    if len(backfill.seen) >= MAX_PAGES:
        following = None
    return replace(state, backfill=replace(backfill, next_url=following))


def note_taken(backfill: BackFill) -> BackFill:
    """Return a back-fill whose next page has been taken."""
    assert backfill.next_url is not None
    return replace(backfill, seen=[*backfill.seen, _short(backfill.next_url)])


def knows_next(backfill: BackFill) -> bool:
    """Return whether there is a page to take next."""
    return backfill.next_url is not None and not is_seen(backfill, backfill.next_url)


def is_at_end(backfill: BackFill) -> bool:
    """Return whether there is no page behind those that were taken."""
    return backfill.next_url is None


def is_seen(backfill: BackFill, url: str) -> bool:
    """Return whether a URL was the first of a run already."""
    return _short(url) in backfill.seen


def _find_last(state: IndexerState, imports: Mapping[str, Import]) -> Import | None:
    """Return the import of the last position that was taken, once it is committed."""
    for one in state.open:
        if one.ended != state.cursor or one.retry_at is not None:
            continue
        found = imports.get(pull_import_id(state.name, one))
        if found is not None and found.state in _COMMITTED:
            return found
    return None


def _short(url: str) -> str:
    return hashlib.sha256(url.encode()).hexdigest()[:_HASH_LENGTH]
