"""Dead letters grouped by cause."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from server.commands.api_client import ApiClient
from shared.errors import ServiceError

# Without the service's own groups: so many letters are read, one page after the other.
MAX_READ = 10_000
_SHOWN_SOURCES = 10

Letter = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Causes:
    """The causes as ``GET /dlq/causes`` shows them, the most frequent first.

    ``unread_after``: how many letters were counted when there are more; None when all were.
    """

    rows: list[dict[str, Any]]
    unread_after: int | None = None


def read_causes(client: ApiClient, source: str | None) -> Causes:
    """Return the causes as the service groups them, or grouped here where it does not."""
    try:
        return Causes(client.get("/dlq/causes", source=source)["items"])
    except ServiceError as exc:
        if exc.http_status != 404:
            raise
    letters = client.get_all("/dlq", max_items=MAX_READ + 1, source=source)
    rows = group_by_cause(letters[:MAX_READ])
    return Causes(rows, MAX_READ if len(letters) > MAX_READ else None)


def group_by_cause(letters: Sequence[Letter]) -> list[dict[str, Any]]:
    """Group letters, latest first, by cause; the latest of each is its example."""
    # Sorting keeps the order within a cause.
    ordered = sorted(letters, key=_cause_of)
    rows = [_describe(cause, list(alike)) for cause, alike in groupby(ordered, key=_cause_of)]
    return sorted(rows, key=lambda row: -row["count"])


def _cause_of(letter: Letter) -> str:
    return str(letter["cause"])


def _describe(cause: str, alike: Sequence[Letter]) -> dict[str, Any]:
    sources = Counter(letter["source"] for letter in alike)
    latest = alike[0]
    return {
        "cause": cause,
        "error_type": latest["error_type"],
        "count": len(alike),
        "sources": [source for source, _ in sources.most_common(_SHOWN_SOURCES)],
        "source_count": len(sources),
        "latest_failed_at": latest["failed_at"],
        "example": {"id": latest["id"], "reason": latest["reason"]},
    }
