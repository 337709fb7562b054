"""``feedmill queue …`` as it is typed, against a service that answers from a script."""

from typing import Any

import pytest

from server.commands.queues import describe_limit
from tests.stub_service import StubService
from tests.typed import Run

LIGHT = "job_import_queue"
STATES = (
    "waiting",
    "prioritized",
    "delayed",
    "waiting-children",
    "active",
    "completed",
    "failed",
)


def make_queue(name: str = LIGHT, **fields: Any) -> dict[str, Any]:
    """Return a queue as the API shows it."""
    return {
        "name": name,
        "is_paused": False,
        "counts": dict.fromkeys(STATES, 0) | fields.pop("counts", {}),
        "rate_per_s": None,
        "oldest_waiting_ms": None,
        "rate_limit": None,
        "limited_by": None,
        "limited_by_text": "nothing waits",
        **fields,
    }


def test_status_shows_counts_rate_age_and_what_limits(service: StubService, feedmill: Run) -> None:
    busy = make_queue(
        counts={"waiting": 1200, "active": 7},
        rate_per_s=99.96,
        oldest_waiting_ms=180_400,
        rate_limit={"max_jobs": 100, "duration_ms": 1000},
        limited_by="rate_limit",
        limited_by_text="the rate limit of 100 in 1 s",
    )
    queues = [busy, make_queue("feed_fetch_queue")]
    service.answer("/queues", 200, {"items": queues, "next_cursor": None})
    done = feedmill("queue", "status")
    assert (done.code, done.stderr) == (0, "")
    header, first, second = done.stdout.splitlines()
    assert "prioritized" not in header
    assert first.split() == [
        *(LIGHT, "1200", "7", "0", "0", "0", "100.0", "3", "min"),
        *["the", "rate", "limit", "of", "100", "in", "1", "s"],
    ]
    assert second.endswith("nothing waits")
    assert feedmill("queue", "status", "--json").json == queues


def test_status_of_one_queue_shows_rare_states_when_jobs_are_there(
    service: StubService, feedmill: Run
) -> None:
    one = make_queue("a b", counts={"prioritized": 3})
    service.answer("/queues/a%20b", 200, one)
    assert "prioritized" in feedmill("queue", "status", "a b").stdout.splitlines()[0]
    assert feedmill("queue", "status", "a b", "--json").json == one


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        (
            {"limited_by": "paused", "limited_by_text": "paused"},
            f"paused: resume it with 'feedmill queue resume {LIGHT}'",
        ),
        (
            {"limited_by": "no_worker", "limited_by_text": "no worker takes its jobs"},
            "no worker takes its jobs: start one with 'feedmill worker'",
        ),
        (
            {"limited_by": "no_worker", "limited_by_text": "none", "weight": "heavy"},
            "none: start one with 'feedmill worker --app MODULE'",
        ),
        ({"limited_by": None}, "nothing waits"),
        ({"limited_by": "breaker", "limited_by_text": "MongoDB is away"}, "MongoDB is away"),
        (
            {"limited_by": "paused", "limited_by_text": "paused by Ann"},
            "paused by Ann: resume it with 'feedmill queue resume",
        ),
    ],
)
def test_limit_is_described_in_words(fields: dict[str, Any], expected: str) -> None:
    assert describe_limit(make_queue(**fields)).startswith(expected)


@pytest.mark.parametrize("action", ["pause", "resume"])
@pytest.mark.parametrize(("arguments", "name"), [([], LIGHT), (["feed_fetch_queue"],) * 2])
def test_pause_and_resume_take_the_light_queue_unless_one_is_named(
    service: StubService, feedmill: Run, action: str, arguments: list[str], name: str | list[str]
) -> None:
    queue_name = name if isinstance(name, str) else name[0]
    shown = make_queue(queue_name, limited_by="paused", limited_by_text="paused")
    service.answer(f"POST /queues/{queue_name}/{action}", 200, shown)
    done = feedmill("queue", action, *arguments)
    assert done.code == 0
    assert done.stdout.startswith(f"{queue_name}: paused")
    assert feedmill("queue", action, *arguments, "--json").json == shown


def test_clean_sends_state_and_age(service: StubService, feedmill: Run) -> None:
    path = f"/queues/{LIGHT}/clean"
    service.answer(f"POST {path}", 200, {"removed": 7})
    arguments = ("queue", "clean", LIGHT, "--state", "failed", "--older-than", "1h")
    done = feedmill(*arguments)
    assert (done.code, done.stdout) == (0, f"{LIGHT}: 7 removed\n")
    assert service.calls_of(path)[0].body == {"state": "failed", "grace_ms": 3_600_000}
    assert feedmill(*arguments, "--json").json == {"removed": 7}


@pytest.mark.parametrize(
    ("answer", "arguments", "code", "cleans"),
    [(b"y\n", [], 0, 1), (b"n\n", [], 1, 0), (b"n\n", ["--yes"], 0, 1)],
)
def test_clean_asks_on_a_terminal(
    service: StubService,
    feedmill: Run,
    answer: bytes,
    arguments: list[str],
    code: int,
    cleans: int,
) -> None:
    path = f"/queues/{LIGHT}/clean"
    service.answer(f"POST {path}", 200, {"removed": 0})
    done = feedmill(
        *("queue", "clean", LIGHT, "--state", "waiting", *arguments), stdin=answer, is_terminal=True
    )
    assert done.code == code
    assert len(service.calls_of(path)) == cleans


@pytest.mark.parametrize(
    "arguments",
    [[LIGHT], [LIGHT, "--state", "active"], [LIGHT, "--state", "failed", "--older-than", "1"]],
)
def test_clean_that_cannot_be_meant_is_wrong_usage(
    service: StubService, feedmill: Run, arguments: list[str]
) -> None:
    assert feedmill("queue", "clean", *arguments).code == 2
    assert service.calls_of(f"/queues/{LIGHT}/clean") == []


def test_unknown_queue_is_printed_in_the_words_of_the_service(
    service: StubService, feedmill: Run
) -> None:
    service.refuse("POST /queues/none/pause", 404, "there is no queue 'none'; there are a, b")
    done = feedmill("queue", "pause", "none")
    assert (done.code, done.stderr) == (1, "feedmill: there is no queue 'none'; there are a, b\n")


def test_replay_sends_the_reason_and_says_how_many(service: StubService, feedmill: Run) -> None:
    path = "/queues/emails_dlq/replay"
    service.answer(f"POST {path}", 200, {"replayed": 3})
    done = feedmill("queue", "replay", "emails_dlq", "--reason", "away")
    assert (done.code, done.stdout) == (0, "emails_dlq: 3 replayed\n")
    assert service.calls_of(path)[0].body == {"reason": "away"}
    assert feedmill("queue", "replay", "emails_dlq", "--json").json == {"replayed": 3}


def test_replay_asks_on_a_terminal(service: StubService, feedmill: Run) -> None:
    done = feedmill("queue", "replay", "emails_dlq", stdin=b"n\n", is_terminal=True)
    assert done.code == 1
    assert service.calls_of("/queues/emails_dlq/replay") == []


def test_status_without_any_queue_says_when_there_will_be_one(
    service: StubService, feedmill: Run
) -> None:
    service.answer("/queues", 200, {"items": [], "next_cursor": None})
    assert "no queues yet: they appear when" in feedmill("queue", "status").stdout
