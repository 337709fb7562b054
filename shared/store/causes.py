"""Dead letters grouped by cause: what failed most, and one of each to look at."""

import re
from dataclasses import dataclass
from datetime import datetime

from pymongo.collection import Collection

from shared.store.database import Document, find_by_ids, mapped_errors

MAX_CAUSE_LENGTH = 200
# A screen shows no more, and nothing else bounds how many different reasons there are.
MAX_CAUSES = 100
MAX_CAUSE_SOURCES = 10
# It looks at every dead letter: SecantusDB 0.7 took 12 s for 100,000 on two busy cores. A socket
# waits 20 s.
MAX_GROUPING_MS = 15_000
_VARIABLE_PART = re.compile(r"'[^']*'|\"[^\"]*\"|\b0x[0-9a-f]+\b|\d+")


@dataclass(frozen=True, slots=True)
class Cause:
    """Dead letters that failed alike; the example is the one that failed last.

    ``sources`` names the 10 with most of them, of ``source_count``.
    """

    cause: str
    error_type: str
    count: int
    sources: list[str]
    source_count: int
    latest_failed_at: datetime
    example_id: str
    example_reason: str


def make_cause(error_type: str, reason: str) -> str:
    """Return the name under which like failures are grouped: the reason without its variables."""
    normalised = _VARIABLE_PART.sub("…", reason.strip().splitlines()[0] if reason.strip() else "")
    return f"{error_type}: {normalised}"[:MAX_CAUSE_LENGTH]


def group_by_cause(letters: Collection[Document], query: Document) -> list[Cause]:
    """Return the 100 most frequent causes among the letters that fit, the most frequent first.

    MongoDB does the counting: however many letters there are, only the causes come here.

    Raises:
        StoreUnavailable: also when it takes longer than 15 s.
    """
    with mapped_errors():
        found = letters.aggregate(_grouping(query), maxTimeMS=MAX_GROUPING_MS, allowDiskUse=True)
        rows = list(found)
    examples = find_by_ids(letters, (row["latest"]["id"] for row in rows), {"reason": True})
    reasons = {document["_id"]: str(document.get("reason", "")) for document in examples}
    # Letters that somebody spoilt have no cause to be counted under.
    return [_to_cause(row, reasons) for row in rows if _is_sound(row)]


_BY_CAUSE_AND_SOURCE: Document = {
    "_id": {"cause": "$cause", "source": "$source"},
    "count": {"$sum": 1},
    "latest": {"$max": {"at": "$failed_at", "id": "$_id"}},
}


def _grouping(query: Document) -> list[Document]:
    """Return the stages. The first reads only what the index of causes holds."""
    return [
        {"$match": query},
        {"$group": _BY_CAUSE_AND_SOURCE},
        {"$sort": {"count": -1, "_id.source": 1}},
        {
            "$group": {
                "_id": "$_id.cause",
                "count": {"$sum": "$count"},
                "latest": {"$max": "$latest"},
                "sources": {"$push": "$_id.source"},
            }
        },
        {"$sort": {"count": -1, "_id": 1}},
        {"$limit": MAX_CAUSES},
        {
            "$project": {
                "count": True,
                "latest": True,
                "source_count": {"$size": "$sources"},
                "sources": {"$slice": ["$sources", MAX_CAUSE_SOURCES]},
            }
        },
    ]


def _is_sound(row: Document) -> bool:
    is_text = isinstance(row["_id"], str) and all(isinstance(one, str) for one in row["sources"])
    return is_text and isinstance(row["latest"].get("at"), datetime)


def _to_cause(row: Document, reasons: dict[str, str]) -> Cause:
    example_id = row["latest"]["id"]
    return Cause(
        cause=row["_id"],
        error_type=row["_id"].partition(": ")[0],
        count=row["count"],
        sources=row["sources"],
        source_count=row["source_count"],
        latest_failed_at=row["latest"]["at"],
        example_id=example_id,
        # Cleared since it was counted: there is nothing to show of it any more.
        example_reason=reasons.get(example_id, ""),
    )
