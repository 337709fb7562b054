"""What limits a queue, in a word and a sentence."""

from dataclasses import replace

import pytest

from server.api.queue_status import (
    QueueRole,
    QueueView,
    SpeedLimit,
    describe_rate_limit,
    find_speed_limit,
    find_worst_limit,
)
from shared.queue import GroupLimit, JobState, RateLimit, WorkerSign

LIMIT = RateLimit(100, 1000)
WORKER = WorkerSign("w1", ("items",), held_jobs=5, up_s=60.0)
STOPPED = WorkerSign("w2", ("items",), 5, 60.0, "no answer from db:27017", 3.0)


def view(waiting: int = 10, active: int = 0, **fields: object) -> QueueView:
    counts = dict.fromkeys(JobState, 0) | {JobState.WAITING: waiting, JobState.ACTIVE: active}
    role = fields.pop("role", QueueRole.ITEMS)
    return QueueView(role, counts, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("queue", "kind", "text"),
    [
        (view(0), None, "nothing waits"),
        (view(0, workers=[STOPPED]), None, "nothing waits"),
        (view(is_paused=True, workers=[STOPPED]), "paused", "paused by an operator"),
        (
            view(workers=[STOPPED]),
            "breaker",
            "breaker open: no answer from db:27017",
        ),
        (view(0, 5, workers=[STOPPED]), "breaker", "breaker open"),
        (view(active=5, workers=[WORKER, STOPPED]), "workers", "2 workers at full speed, 5 jobs"),
        (view(oldest_waiting_ms=6000), "no_worker", "no worker takes its jobs"),
        (view(oldest_waiting_ms=6000, rate_per_s=0.0), "no_worker", "no worker"),
        # The rate is the last minute's, and what is active is in the hand of a dead one.
        (view(active=9, oldest_waiting_ms=6000, rate_per_s=1.0), "no_worker", "no worker"),
        (view(0, 5), "no_worker", "no worker"),
        (view(oldest_waiting_ms=100), "workers", "workers"),
        (view(rate_limit=LIMIT, is_rate_used_up=True, workers=[WORKER]), "rate_limit", "100/s"),
        (view(rate_limit=LIMIT, rate_per_s=95.0, workers=[WORKER]), "rate_limit", "100/s"),
        (
            view(rate_limit=LIMIT, rate_per_s=50.0, workers=[WORKER]),
            "workers",
            "1 worker at full speed",
        ),
        (
            view(0, 1, rate_limit=LIMIT, is_rate_used_up=True, workers=[WORKER]),
            "workers",
            "1 job in",
        ),
        (view(3, 16, role=QueueRole.FETCHES), "workers", "fetches under way: 16"),
        (view(role=QueueRole.FETCHES, is_paused=True), "paused", "paused"),
        (view(3, role=QueueRole.DEAD_LETTERS, oldest_waiting_ms=9000), None, "wait for a replay"),
    ],
)
def test_a_queue_is_limited_by_what_has_to_change_first(
    queue: QueueView, kind: str | None, text: str
) -> None:
    limit = find_speed_limit(queue)
    assert limit.kind == kind
    assert text in limit.text


@pytest.mark.parametrize(
    ("waiting", "active", "is_limited"), [(0, 0, True), (3, 0, False), (0, 2, False)]
)
def test_a_queue_is_limited_by_its_groups_where_all_that_waits_is_lined_up(
    waiting: int, active: int, is_limited: bool
) -> None:
    queue = view(waiting, active, workers=[WORKER], group_limit=GroupLimit(5, 1000, "source"))
    lined_up = replace(queue, counts={**queue.counts, JobState.PRIORITIZED: 7})
    limit = find_speed_limit(lined_up)
    assert (limit.kind == "rate_limit") is is_limited
    assert (limit.text == "rate limit 5/s of each source") is is_limited


def test_reason_of_the_breaker_shows_no_password() -> None:
    leaky = WorkerSign("w", ("items",), 0, 1.0, "mongodb://user:secret@db/ is away", 1.0)
    assert "secret" not in find_speed_limit(view(workers=[leaky])).text


def test_worst_of_several_limits_is_told_with_its_queues() -> None:
    limit = SpeedLimit("rate_limit", "rate limit 100/s")
    limits = {"light": limit, "heavy": limit, "fetch": SpeedLimit(None, "nothing waits")}
    assert find_worst_limit(limits) == SpeedLimit("rate_limit", "rate limit 100/s (light, heavy)")
    limits["fetch"] = SpeedLimit("paused", "paused by an operator")
    assert find_worst_limit(limits) == SpeedLimit("paused", "paused by an operator (fetch)")


def test_nothing_limits_when_nothing_waits() -> None:
    nothing = SpeedLimit(None, "nothing waits")
    assert find_worst_limit({}) == nothing
    assert find_worst_limit({"fetch": nothing, "dead": SpeedLimit(None, "other")}) == nothing


def test_rate_limit_is_told_by_second_or_by_its_window() -> None:
    assert describe_rate_limit(LIMIT) == "100/s"
    assert describe_rate_limit(RateLimit(10, 2500)) == "10 per 2.5 s"
