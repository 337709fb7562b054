"""``feedmill imports …`` as it is typed, against a service that answers from a script."""

from typing import Any

import pytest

from tests.stub_service import StubService, make_import
from tests.typed import Run


def make_shown(state: str = "completed", **fields: Any) -> dict[str, Any]:
    """Return an import with everything that the API shows."""
    fetch = {
        "url": "https://lwn.net/feed",
        "http_status": 200,
        "not_modified": False,
        "error": None,
    }
    more = {"trigger": "api", "started_at": None, "fetches": [fetch], "warnings": []}
    return make_import(state, **{**more, **fields})


def test_list_shows_each_import_with_its_outcome(service: StubService, feedmill: Run) -> None:
    done_one = make_shown(counts={"fetched": 5, "new": 3, "unchanged": 2})
    failed = make_shown("failed", id="i#2", error="gone: server answered 410")
    service.answer("/imports", 200, {"items": [done_one, failed], "next_cursor": None})
    done = feedmill("imports")
    assert (done.code, done.stderr) == (0, "")
    _, first, second = done.stdout.splitlines()
    assert first.split()[:3] == ["i#1", "lwn", "completed"]
    assert first.endswith("(60 min ago)  5 fetched, 3 new, 2 unchanged")
    assert second.endswith("gone: server answered 410")
    assert feedmill("imports", "--json").json == [done_one, failed]


def test_list_sends_its_filters_and_stops_at_the_limit(service: StubService, feedmill: Run) -> None:
    page = {"items": [make_shown()] * 500, "next_cursor": "c"}
    service.answer("/imports", 200, page)
    service.answer("/imports", 200, {"items": [make_shown()] * 20, "next_cursor": "d"})
    arguments = ("--source", "lwn", "--state", "failed", "--limit", "520", "--json")
    assert len(feedmill("imports", *arguments).json) == 520
    assert [call.path for call in service.calls_of("/imports")] == [
        "/imports?limit=500&source=lwn&state=failed",
        "/imports?limit=20&cursor=c&source=lwn&state=failed",
    ]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [([], "feedmill import URL-or-file"), (["--state", "failed"], "no such imports")],
)
def test_empty_list_prints_a_message(
    service: StubService, feedmill: Run, arguments: list[str], said: str
) -> None:
    service.answer("/imports", 200, {"items": [], "next_cursor": None})
    done = feedmill("imports", *arguments)
    assert (done.code, done.stdout) == (0, "")
    assert said in done.stderr


def test_show_prints_how_each_url_answered_and_what_went_wrong(
    service: StubService, feedmill: Run
) -> None:
    bad = {"url": "https://b/", "http_status": None, "not_modified": False, "error": "dns: none"}
    same = {"url": "https://c/", "http_status": 304, "not_modified": True, "error": None}
    fetches = [*make_shown()["fetches"], bad, same]
    shown = make_shown(fetches=fetches, warnings=["b failed"], counts={"fetched": 2, "dead": 2})
    service.answer("/imports/i%231", 200, shown)
    lines = feedmill("imports", "show", "i#1").stdout.splitlines()
    assert lines[0] == "i#1: lwn, completed"
    assert lines[1].endswith("(60 min ago) by api")
    assert lines[3:] == [
        "Fetched: https://lwn.net/feed: HTTP 200",
        "Fetched: https://b/: dns: none",
        "Fetched: https://c/: not modified",
        "Outcome: 2 fetched, 2 dead",
        "Warning: b failed",
        "Dead items: feedmill dlq list --source lwn",
    ]
    assert feedmill("imports", "show", "i#1", "--json").json == shown


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (make_shown(counts={"fetched": 1, "new": 1}), 0),
        (make_shown(counts={"fetched": 1, "dead": 1}), 1),
        (make_shown("failed", error="dns: none"), 1),
    ],
)
def test_follow_waits_for_the_end_and_answers_with_it(
    service: StubService, feedmill: Run, ended: dict[str, Any], code: int
) -> None:
    service.answer("/imports/i%231", 200, make_shown("queued"))
    service.answer("/imports/i%231", 200, make_shown("importing"))
    service.answer("/imports/i%231", 200, ended)
    done = feedmill("imports", "show", "i#1", "--follow", "--json")
    assert (done.code, done.json) == (code, ended)
    assert done.stderr.splitlines()[:2] == ["lwn: queued", "lwn: importing"]


def test_unknown_import_is_one_line_and_1(service: StubService, feedmill: Run) -> None:
    service.refuse("/imports/none", 404, "there is no import 'none'")
    done = feedmill("imports", "show", "none")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == "feedmill: there is no import 'none'\n"


def test_option_of_the_list_before_show_is_not_silently_lost(feedmill: Run) -> None:
    done = feedmill("imports", "--json", "show", "i#1")
    assert done.code == 2
    assert done.stderr == "feedmill: put the options of 'imports show' after its ID\n"


def test_unknown_state_and_limit_are_wrong_usage(feedmill: Run) -> None:
    assert feedmill("imports", "--state", "x").code == 2
    assert feedmill("imports", "--limit", "0").code == 2
