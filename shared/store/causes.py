"""Dead letters grouped by cause: what failed most, and one of each to look at."""

import heapq
import re
from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime

from pymongo.collection import Collection

from shared.store.database import Document, mapped_errors
from shared.store.pages import PagedList

MAX_CAUSE_LENGTH = 200
# A screen shows no more, and nothing else bounds how many different reasons there are.
MAX_CAUSES = 100
MAX_CAUSE_SOURCES = 10
# Reasons and feeds are as many as others make them; the pairs with fewest letters do not come here.
_MAX_PAIRS = 10_000
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


def group_by_cause(
    letters: Collection[Document], latest: PagedList, query: Document
) -> list[Cause]:
    """Return the 100 most frequent causes among the letters that fit, the most frequent first.

    MongoDB does the counting: however many letters there are, only pairs of cause and source come
    here, the 10,000 with most letters, and one letter a cause. ``latest`` lists the letters, the
    last that failed first.

    Raises:
        StoreUnavailable: also when the counting takes longer than 15 s.
    """
    counts = _count(letters, query)
    frequent = heapq.nsmallest(
        MAX_CAUSES, counts, key=lambda cause: (-sum(counts[cause].values()), cause)
    )
    examples = {cause: _find_latest(latest, query | {"cause": cause}) for cause in frequent}
    return [
        _to_cause(cause, counts[cause], example)
        for cause, example in examples.items()
        # None: they were cleared since they were counted.
        if example is not None and isinstance(example["failed_at"], datetime)
    ]


def _count(letters: Collection[Document], query: Document) -> dict[str, dict[str, int]]:
    """Return how many letters there are by cause and source; reads only what an index holds."""
    # Nothing but $sum: not every server that speaks MongoDB's protocol has $max, $first or $push.
    pair = {"cause": "$cause", "source": "$source"}
    grouping: list[Document] = [
        {"$match": query},
        {"$group": {"_id": pair, "count": {"$sum": 1}}},
        {"$sort": {"count": -1}},
        {"$limit": _MAX_PAIRS},
    ]
    counts: dict[str, dict[str, int]] = defaultdict(dict)
    with mapped_errors():
        for row in letters.aggregate(grouping, maxTimeMS=MAX_GROUPING_MS, allowDiskUse=True):
            cause, source = row["_id"].get("cause"), row["_id"].get("source")
            # Letters that somebody spoilt have no cause to be counted under.
            if isinstance(cause, str) and isinstance(source, str):
                counts[cause][source] = row["count"]
    return counts


def _find_latest(latest: PagedList, query: Document) -> Document | None:
    fields = {"failed_at": True, "reason": True}
    return next(iter(latest.find(query, limit=1, cursor=None, fields=fields).items), None)


def _to_cause(cause: str, counts: dict[str, int], example: Document) -> Cause:
    return Cause(
        cause=cause,
        error_type=cause.partition(": ")[0],
        count=sum(counts.values()),
        sources=heapq.nsmallest(MAX_CAUSE_SOURCES, counts, key=lambda one: (-counts[one], one)),
        source_count=len(counts),
        latest_failed_at=example["failed_at"],
        example_id=example["_id"],
        example_reason=str(example.get("reason", "")),
    )
