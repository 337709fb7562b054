"""Tables of imports and queues at the widths of terminals: what is typed again is never broken."""

import io
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from rich.console import Console

from server.commands.import_report import COUNTS, print_imports
from server.commands.queues import print_queues

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
IMPORT_ID = "0123456789ab0000"


def make_import(source: str = "lwn", **fields: Any) -> dict[str, Any]:
    counts = dict.fromkeys(COUNTS, 0) | {"fetched": 120, "new": 7, "unchanged": 113}
    return {
        "id": IMPORT_ID,
        "source": source,
        "state": "completed",
        "requested_at": "2026-11-01T11:00:00Z",
        "counts": counts,
        "warnings": [],
        "error": None,
        "not_modified": False,
        **fields,
    }


def make_queue(name: str) -> dict[str, Any]:
    return {
        "name": name,
        "counts": {"waiting": 1000},
        "rate_per_s": 1.5,
        "oldest_waiting_ms": 90_000,
        "limited_by": "no_worker",
        "limited_by_text": "no worker",
    }


def lines_of(width: int, show: Callable[[Console], None]) -> list[str]:
    """Return the lines that a terminal of this width is given."""
    output = io.StringIO()
    show(Console(file=output, width=width, force_terminal=True, color_system=None))
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def imports_of(width: int, *imports: dict[str, Any]) -> list[str]:
    return lines_of(width, lambda console: print_imports(imports, console, NOON))


def queues_of(width: int, *names: str) -> list[str]:
    return lines_of(width, lambda console: print_queues([*map(make_queue, names)], console))


def test_imports_fit_on_80_characters_with_whole_ids_and_sources() -> None:
    assert imports_of(80, make_import("news.ycombinator.com-rss")) == [
        "id                source                    state      outcome",
        f"{IMPORT_ID}  news.ycombinator.com-rss  completed  120 fetched, 7 new, 113",
        "                                                       unchanged",
    ]


def test_wider_terminals_show_when_an_import_was_requested() -> None:
    [header, row] = imports_of(120, make_import())
    assert "requested" in header
    assert "2026-11-01 11:00 (60 min ago)" in row


def test_a_long_source_leaves_the_rest_a_line_below() -> None:
    source = "a" * 64
    assert imports_of(80, make_import(source)) == [
        IMPORT_ID,
        f"  source {source}, state",
        "  completed, outcome 120 fetched, 7 new, 113 unchanged",
    ]


def test_queues_fit_on_80_characters_with_whole_names() -> None:
    assert queues_of(80, "job_import_queue_heavy") == [
        "queue                   waiting  active  delayed  failed  limited by",
        "job_import_queue_heavy  1000     0       0        0       no worker: start one",
        "                                                          with 'feedmill worker'",
    ]


@pytest.mark.parametrize("width", [100, 120, 200])
def test_a_queues_name_is_never_broken(width: int) -> None:
    assert any(
        "job_import_queue_heavy" in line for line in queues_of(width, "job_import_queue_heavy")
    )


def test_a_table_without_rows_is_its_header() -> None:
    assert len(imports_of(80)) == 1
