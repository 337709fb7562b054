"""Dead letters counted by cause."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from server.commands.api_client import ApiClient
from shared.errors import ServiceError

# Without the service's own counts: so many letters are read, one page after the other.
MAX_READ = 10_000


@dataclass(frozen=True, slots=True)
class Causes:
    """``rows`` of ``{cause, count, example, latest}``, the most frequent first.

    ``is_partial``: there are more dead letters than the ``looked_at`` that were counted.
    """

    rows: list[dict[str, Any]]
    looked_at: int
    is_partial: bool = False


def read_causes(client: ApiClient) -> Causes:
    """Return the causes as the service counts them, or counted here where it does not."""
    try:
        rows = client.get("/dlq/causes")["items"]
    except ServiceError as exc:
        if exc.http_status != 404:
            raise
    else:
        return Causes(rows, sum(row["count"] for row in rows))
    letters = client.get_all("/dlq", max_items=MAX_READ + 1)
    counted = letters[:MAX_READ]
    return Causes(count_causes(counted), len(counted), is_partial=len(letters) > MAX_READ)


def count_causes(letters: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Group letters, latest first, by cause; the latest of each is its example."""
    rows: dict[str, dict[str, Any]] = {}
    for letter in letters:
        new = {"count": 0, "example": letter["id"], "latest": letter["failed_at"]}
        row = rows.setdefault(letter["cause"], {"cause": letter["cause"], **new})
        row["count"] += 1
    return sorted(rows.values(), key=lambda row: (-row["count"], row["cause"]))
