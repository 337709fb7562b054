"""Queues for people: how full, how fast, and what holds them up."""

from collections.abc import Sequence
from typing import Any

from rich.console import Console

from server.commands.feed_report import NOTHING
from server.commands.output import say_table
from server.commands.times import describe_interval, describe_span

Queue = dict[str, Any]

_ALWAYS = ("waiting", "active", "delayed", "completed", "failed")
# Only foreign producers put jobs there.
_IF_ANY = ("prioritized", "waiting-children")


def print_queues(queues: Sequence[Queue], console: Console) -> None:
    """Print one row a queue."""
    rare = [state for state in _IF_ANY if any(queue["counts"].get(state) for queue in queues)]
    states = [*_ALWAYS, *rare]
    header = ("queue", *states, "per second", "oldest waits", "limited by")
    say_table(console, header, [_row(queue, states) for queue in queues])


def describe_limit(queue: Queue) -> str:
    """Return in words what keeps waiting jobs from being started, and what to do about it."""
    text = queue.get("limited_by_text") or _describe_kind(queue)
    match queue["limited_by"]:
        case "paused":
            return f"{text}: 'feedmill queue resume {queue['name']}' goes on"
        case "no_worker":
            return f"{text}: start one with 'feedmill worker'"
        case _:
            return str(text)


def _row(queue: Queue, states: Sequence[str]) -> tuple[str, ...]:
    rate, oldest_ms = queue["rate_per_s"], queue["oldest_waiting_ms"]
    return (
        queue["name"],
        *(str(queue["counts"].get(state, 0)) for state in states),
        f"{rate:.1f}" if rate is not None else NOTHING,
        describe_span(round(oldest_ms / 1000)) if oldest_ms is not None else NOTHING,
        describe_limit(queue),
    )


def _describe_kind(queue: Queue) -> str:
    """Return the words for a service that has none of its own for it."""
    waiting = queue["counts"].get("waiting", 0) + queue["counts"].get("prioritized", 0)
    match queue["limited_by"]:
        case "rate_limit":
            return f"the rate limit{_describe_rate_limit(queue['rate_limit'])}"
        case "no_worker":
            return "no worker takes its jobs"
        case None:
            return "nothing: it is worked on" if waiting else "nothing waits"
        case other:
            return str(other).replace("_", " ")


def _describe_rate_limit(limit: dict[str, int] | None) -> str:
    if limit is None:
        return ""
    duration_ms = limit["duration_ms"]
    span = f"{duration_ms} ms" if duration_ms % 1000 else describe_interval(duration_ms // 1000)
    return f" of {limit['max_jobs']} in {span}"
