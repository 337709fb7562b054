"""Lists, newest first, cut into pages by an opaque cursor."""

import base64
import binascii
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any, Generic, TypeVar

import orjson
from pymongo import DESCENDING
from pymongo.collection import Collection

from shared.errors import InvalidRequestError
from shared.models import format_time, parse_time
from shared.store.database import Document, mapped_errors

T = TypeVar("T")
# A request must not hold the store longer than this, whatever its filter is.
MAX_READ_MS = 10_000
# Spans of time in which a list is read, from 1 s to four years. Twice as long each for ten minutes,
# for somebody who looks after a burst is not to wait for all of it; then eight times.
_WIDTHS = tuple(
    timedelta(seconds=width)
    for width in (*(2**power for power in range(10)), *(8**power for power in range(4, 10)))
)
# A look at 100 causes remembers one each; it is not to drop those of the lists.
_MAX_ENDS = 1_000
_MILLISECOND = timedelta(milliseconds=1)
_EARLIEST = datetime(1, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``next_cursor`` is None on the last."""

    items: list[T]
    next_cursor: str | None


class PagedList:
    """A collection as a list: newest by ``time_field`` first, ties by ``_id``.

    Read in spans of time from the newest back, until a page is full. A store that takes all that
    matches before it sorts and cuts (SecantusDB 0.7) so reads little more than a page, and any
    other answers each span from its index. SecantusDB looks for the index by the form of a query:
    equality has to be written bare, and the first field is the one that it looks up. With
    ``has_untimed`` documents without a time stand at the end of the list. Safe for threads.
    """

    def __init__(
        self, collection: Collection[Document], time_field: str, *, has_untimed: bool = False
    ) -> None:
        self._collection = collection
        self._time_field = time_field
        self._has_untimed = has_untimed
        # Where the first page of a query ended, for the next look at it: after a burst, spans that
        # only grow would read all of the burst.
        self._ends: dict[str, datetime] = {}

    def find(
        self, query: Document, *, limit: int, cursor: str | None, fields: Document | None = None
    ) -> Page[Document]:
        """Return up to ``limit`` documents; ``fields`` is a projection that keeps the time.

        Of the time ``query`` may hold ``$gte`` and ``$lt``. Each page goes on where the last one
        ended, whatever is added meanwhile; what is changed while it is read may be missing.

        Raises:
            InvalidRequestError: ``cursor`` was not made by this list.
        """
        key = f"{query} {limit}"
        ends_s = time.monotonic() + MAX_READ_MS / 1000
        found: list[Document] = []
        with mapped_errors():
            for part in self._parts(query, cursor, self._ends.get(key)):
                order = [(self._time_field, DESCENDING), ("_id", DESCENDING)]
                rows = self._collection.find(part, fields).sort(order)
                left_ms = max(1, round((ends_s - time.monotonic()) * 1000))
                found += rows.limit(limit + 1 - len(found)).max_time_ms(left_ms)
                if len(found) > limit:
                    break
            if len(found) > limit:
                found = self._complete_tie(query, found, limit, cursor, fields)
        found = self._sort_ties(found)
        if len(found) <= limit:
            return Page(found, None)
        last, next_one = found[limit - 1], found[limit]
        if cursor is None and isinstance(next_one.get(self._time_field), datetime):
            self._remember_end(key, next_one[self._time_field])
        moment = last.get(self._time_field)
        place = moment if isinstance(moment, datetime) else None
        return Page(found[:limit], encode_cursor(place, last["_id"]))

    def _parts(
        self, query: Document, cursor: str | None, known_end: datetime | None
    ) -> Iterator[Document]:
        """Yield the queries that together find what comes behind the cursor's place, in order."""
        others = {name: value for name, value in query.items() if name != self._time_field}
        bounds = query.get(self._time_field, {})
        since, until = bounds.get("$gte"), bounds.get("$lt")
        if cursor is not None:
            moment, last_id = _decode_cursor(cursor)
            if moment is None:
                untimed = {"$not": {"$gte": _EARLIEST}}
                yield {self._time_field: untimed, **others, "_id": {"$lt": last_id}}
                return
            if (since is None or since <= moment) and (until is None or moment < until):
                # Not $lt: see _complete_tie.
                yield {self._time_field: moment, **others, "_id": {"$not": {"$gte": last_id}}}
            until = moment if until is None else min(moment, until)
        has_operators = any(isinstance(value, dict | list) for value in others.values())
        if not has_operators:
            for edge in _edges(since, until, known_end):
                yield {self._time_field: _span(edge, until), **others}
                until = edge
        if since is None and "$lt" not in bounds and self._has_untimed:
            rest = {} if until is None else {"$not": {"$gte": until}}
        else:
            rest = _span(since, until)
        # No index serves operators beside a span of time: those that find less come first.
        timed = {self._time_field: rest} if rest else {}
        yield {**others, **timed} if has_operators else {**timed, **others}

    def _complete_tie(
        self,
        query: Document,
        found: list[Document],
        limit: int,
        cursor: str | None,
        fields: Document | None,
    ) -> list[Document]:
        """Read once more what has the same time as the last one found, if the page ends amid it.

        In an index that goes down SecantusDB 0.7 puts an ``_id`` before all that begin with it, so
        that ``lwn#1`` comes before ``lwn#10``; behind an equality it sorts rightly.
        """
        moment = found[limit].get(self._time_field)
        is_amid = found[limit - 1].get(self._time_field) == moment
        begins_amid = cursor is not None and _decode_cursor(cursor)[0] == moment
        if not is_amid or begins_amid or not isinstance(moment, datetime):
            return found
        kept = [row for row in found if row.get(self._time_field) != moment]
        order = [(self._time_field, DESCENDING), ("_id", DESCENDING)]
        # The time first: it is what the index begins with.
        tied = {self._time_field: moment} | {**query, self._time_field: moment}
        rows = self._collection.find(tied, fields).sort(order)
        return kept + list(rows.limit(limit + 1 - len(kept)).max_time_ms(MAX_READ_MS))

    def _sort_ties(self, found: list[Document]) -> list[Document]:
        ties = groupby(found, key=lambda row: row.get(self._time_field))
        return [
            row
            for _, tie in ties
            for row in sorted(tie, key=lambda row: str(row["_id"]), reverse=True)
        ]

    def _remember_end(self, key: str, moment: datetime) -> None:
        if len(self._ends) >= _MAX_ENDS:
            self._ends.clear()
        self._ends[key] = moment


def _edges(
    since: datetime | None, until: datetime | None, known_end: datetime | None
) -> list[datetime]:
    """Return where to cut the time between two bounds, newest first.

    Where the list begins is not known: a wrong guess costs time, never a document.
    """
    newest = until if until is not None else datetime.now(UTC)
    edges = {newest - width for width in _WIDTHS}
    if known_end is not None:
        edges.add(known_end)
    between = (edge for edge in edges if since is None or since < edge)
    return sorted((edge for edge in between if until is None or edge < until), reverse=True)


def _span(since: datetime | None, until: datetime | None) -> Document:
    """Return the times from ``since`` on that are before ``until``.

    Times have whole milliseconds. For ``$gte`` behind an equality SecantusDB 0.7 leaves out what is
    just at the bound, if the index goes down and has more fields.
    """
    span = {} if since is None else {"$gt": since - _MILLISECOND}
    return span if until is None else {**span, "$lt": until}


def encode_cursor(moment: datetime | None, last_id: str) -> str:
    """Return the cursor that goes on behind the document with this time (or none) and id."""
    place = orjson.dumps([None if moment is None else format_time(moment), last_id])
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _decode_cursor(cursor: str) -> tuple[datetime | None, str]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place: Any = orjson.loads(base64.urlsafe_b64decode(padded))
        moment, last_id = place
        if not isinstance(last_id, str):
            raise InvalidRequestError(
                f"invalid cursor {cursor[:40]!r}: use this list's next_cursor"
            )
        return None if moment is None else parse_time(moment), last_id
    except (binascii.Error, ValueError, TypeError) as exc:
        raise InvalidRequestError(
            f"invalid cursor {cursor[:40]!r}: use this list's next_cursor"
        ) from exc
