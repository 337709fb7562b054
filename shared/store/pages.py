"""Lists, newest first, cut into pages by an opaque cursor."""

import base64
import binascii
from dataclasses import dataclass
from datetime import datetime
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


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """One page of a list; ``next_cursor`` is None on the last."""

    items: list[T]
    next_cursor: str | None


def find_page(
    collection: Collection[Document],
    query: Document,
    *,
    time_field: str,
    limit: int,
    cursor: str | None,
    fields: Document | None = None,
) -> Page[Document]:
    """Return up to ``limit`` documents, newest by ``time_field`` first, ties by ``_id``.

    ``fields`` is a projection; it has to keep ``time_field``.

    Stable while documents are added: each page goes on where the last one ended.

    Raises:
        InvalidRequestError: ``cursor`` was not made by this function.
    """
    if cursor is not None:
        query = {"$and": [query, _after(cursor, time_field)]}
    with mapped_errors():
        found = list(
            collection.find(query, fields)
            .sort([(time_field, DESCENDING), ("_id", DESCENDING)])
            .limit(limit + 1)
            .max_time_ms(MAX_READ_MS)
        )
    shown = found[:limit]
    more = len(found) > limit
    return Page(shown, encode_cursor(shown[-1][time_field], shown[-1]["_id"]) if more else None)


def encode_cursor(moment: datetime, last_id: str) -> str:
    """Return the cursor that goes on behind the document with this time and id."""
    place = orjson.dumps([format_time(moment), last_id])
    return base64.urlsafe_b64encode(place).decode().rstrip("=")


def _after(cursor: str, time_field: str) -> Document:
    moment, last_id = _decode_cursor(cursor)
    return {
        "$or": [
            {time_field: {"$lt": moment}},
            {time_field: moment, "_id": {"$lt": last_id}},
        ]
    }


def _decode_cursor(cursor: str) -> tuple[datetime, str]:
    try:
        padded = cursor.encode("ascii") + b"=" * (-len(cursor) % 4)
        place: Any = orjson.loads(base64.urlsafe_b64decode(padded))
        moment, last_id = place
        if not isinstance(last_id, str):
            raise InvalidRequestError(f"cursor {cursor[:40]!r} was not given out by this list")
        return parse_time(moment), last_id
    except (binascii.Error, ValueError, TypeError) as exc:
        raise InvalidRequestError(f"cursor {cursor[:40]!r} was not given out by this list") from exc
