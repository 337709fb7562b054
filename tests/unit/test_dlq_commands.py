"""``feedmill dlq …`` as it is typed, against a service that answers from a script."""

import io
from typing import Any

import pytest
from rich.console import Console

from server.commands.dead_letters import print_causes, print_letters
from server.commands.output import print_paragraph
from tests.fakes import FakeClock
from tests.stub_service import StubService, make_import
from tests.typed import Run

ID = "lwn#https://lwn.net/1/"
PATH = "/dlq/lwn%23https%3A%2F%2Flwn.net%2F1%2F"


def make_letter(item_id: str = ID, **fields: Any) -> dict[str, Any]:
    """Return a dead letter as the API shows it."""
    return {
        "id": item_id,
        "queue": "job_import_queue_dlq",
        "source": "lwn",
        "guid": "1",
        "kind": "dead",
        "revision": 4,
        "reason": "title is 70000 long",
        "error_type": "invalid",
        "cause": "invalid: title is … long",
        "attempts": 1,
        "failed_at": "2026-11-01T11:00:00.000Z",
        "import_id": "i#1",
        "data": {"title": "x [red]"},
        "stacktrace": "",
        "history": [],
        **fields,
    }


def make_cause(**fields: Any) -> dict[str, Any]:
    """Return a cause as the API shows it."""
    return {
        "cause": "a",
        "error_type": "invalid",
        "count": 9,
        "sources": ["lwn", "xkcd"],
        "source_count": 3,
        "latest_failed_at": "2026-11-01T11:00:00.000Z",
        "example": {"id": ID, "reason": "a 1"},
        **fields,
    }


def answer_page(service: StubService, *letters: dict[str, Any]) -> None:
    service.answer("/dlq", 200, {"items": list(letters), "next_cursor": None})


def test_list_shows_why_each_item_is_dead(service: StubService, feedmill: Run) -> None:
    answer_page(service, make_letter())
    done = feedmill("dlq", "list", "--source", "lwn", "--cause", "x: …", "--limit", "10")
    assert (done.code, done.stderr) == (0, "")
    row = done.stdout.splitlines()[1]
    assert row.startswith(ID)
    assert row.endswith("(60 min ago)  1         invalid: title is 70000 long")
    [call] = service.calls_of("/dlq")
    assert call.path == "/dlq?limit=11&source=lwn&cause=x%3A+%E2%80%A6"
    assert feedmill("dlq", "list", "--json").json == [make_letter()]
    feedmill("dlq", "list", "--import", "i#1")
    assert service.calls[-1].path == "/dlq?limit=51&import_id=i%231"


def test_list_reports_that_there_are_more_than_it_shows(
    service: StubService, feedmill: Run
) -> None:
    answer_page(service, make_letter("lwn#1"), make_letter("lwn#2"))
    done = feedmill("dlq", "list", "--limit", "1")
    assert "lwn#2" not in done.stdout
    assert done.stderr == "the first 1; there are more: raise --limit\n"
    assert len(feedmill("dlq", "list", "--limit", "1", "--json").json) == 1
    assert feedmill("dlq", "list", "--limit", "2").stderr == ""


def test_a_paragraph_is_broken_between_words_on_a_terminal_alone() -> None:
    lines = ["The reason: MongoDB", "refused the document"]
    for is_terminal, shown in ((True, lines), (False, [" ".join(lines)])):
        output = io.StringIO()
        console = Console(file=output, width=20, force_terminal=is_terminal, color_system=None)
        print_paragraph(console, " ".join(lines))
        assert [line.rstrip() for line in output.getvalue().splitlines()] == shown


@pytest.mark.parametrize("width", [40, 80])
def test_a_terminal_shows_letters_and_causes_in_whole_words(width: int) -> None:
    reason = "MongoDB refused the document (code 121): Document failed validation"
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=True, color_system=None)
    now = FakeClock().now()
    print_letters([make_letter(reason=reason, error_type="rejected_by_store")], console, now)
    print_causes([make_cause(cause=f"rejected_by_store: {reason}")], console, now)
    lines = output.getvalue().splitlines()
    assert max(len(line.rstrip()) for line in lines) <= width
    words = output.getvalue().split()
    assert [word for word in (ID, *reason.split(), "xkcd", "2026-11-01") if word not in words] == []


def test_empty_list_prints_a_message(service: StubService, feedmill: Run) -> None:
    answer_page(service)
    service.answer("/dlq/causes", 200, {"items": []})
    for arguments in ([], ["--by-cause"]):
        done = feedmill("dlq", "list", *arguments)
        assert (done.code, done.stdout) == (0, "")
        assert "no dead letter matches" in done.stderr
        assert feedmill("dlq", "list", *arguments, "--json").json == []


def test_causes_are_those_that_the_service_counts(service: StubService, feedmill: Run) -> None:
    row = make_cause()
    service.answer("/dlq/causes", 200, {"items": [row]})
    shown = feedmill("dlq", "list", "--by-cause").stdout.splitlines()[1]
    assert shown.startswith("9      a")
    assert shown.endswith(f"(60 min ago)  lwn, xkcd and 1 more  {ID}")
    assert feedmill("dlq", "list", "--by-cause", "--source", "lwn", "--json").json == [row]
    assert service.calls[-1].path == "/dlq/causes?source=lwn"
    assert service.calls_of("/dlq") == []


def test_causes_of_one_cause_are_wrong_usage(feedmill: Run) -> None:
    done = feedmill("dlq", "list", "--by-cause", "--cause", "x")
    assert (done.code, done.stderr) == (2, "feedmill: --by-cause goes with --source alone\n")


def test_show_prints_everything_about_one(service: StubService, feedmill: Run) -> None:
    end = {"revision": 3, "kind": "removed", "at": "2026-10-30T12:00:00.000Z"}
    letter = make_letter(history=[end], stacktrace="Traceback\n  boom\n", attempts=3)
    service.answer(PATH, 200, letter)
    text = feedmill("dlq", "show", ID).stdout
    assert text.startswith(f"{ID}: dead\nReason: invalid: title is 70000 long\n")
    assert "after 3 attempts\n" in text
    assert "Earlier: removed at revision 3, 2026-10-30" in text
    assert '"title": "x [red]"' in text
    assert text.endswith("Stack trace:\nTraceback\n  boom\n")
    assert feedmill("dlq", "show", ID, "--json").json == letter


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        (["a#1", "a#2"], {"ids": ["a#1", "a#2"]}),
        (["--source", "lwn"], {"source": "lwn"}),
        (["--cause", "x"], {"cause": "x"}),
        (["--all"], {"all": True}),
    ],
)
def test_replay_takes_one_way_to_choose(
    service: StubService, feedmill: Run, arguments: list[str], body: dict[str, Any]
) -> None:
    report = {"replayed": 2, "imports": [make_import("importing")], "not_replayed": []}
    service.answer("POST /dlq/replay", 202, report)
    done = feedmill("dlq", "replay", *arguments)
    assert (done.code, done.stdout.splitlines()) == (
        0,
        ["Replaying 2 dead letters", "lwn: feedmill imports show i#1 --follow"],
    )
    assert service.calls_of("/dlq/replay")[0].body == body
    assert feedmill("dlq", "replay", *arguments, "--json").json == report


@pytest.mark.parametrize("arguments", [[], ["a#1", "--all"], ["--source", "a", "--cause", "b"]])
def test_replay_of_none_or_of_two_choices_is_wrong_usage(
    service: StubService, feedmill: Run, arguments: list[str]
) -> None:
    done = feedmill("dlq", "replay", *arguments)
    assert (done.code, done.stderr) == (
        2,
        "feedmill: choose one of IDs, --source, --cause and --all\n",
    )
    assert service.calls_of("/dlq/replay") == []


@pytest.mark.parametrize(("dead", "code"), [(0, 0), (1, 1)])
def test_replay_that_waits_ends_as_its_imports_do(
    service: StubService, feedmill: Run, dead: int, code: int
) -> None:
    ended = make_import(counts={"fetched": 1, "new": 1 - dead, "dead": dead})
    report = {"replayed": 1, "imports": [{"id": "i#1"}], "not_replayed": []}
    service.answer("POST /dlq/replay", 202, report)
    service.answer("/imports/i%231", 200, make_import("importing"))
    service.answer("/imports/i%231", 200, ended)
    done = feedmill("dlq", "replay", "--all", "--wait")
    assert done.code == code
    assert "lwn: importing" in done.stderr
    assert "completed" in done.stdout
    shown = feedmill("dlq", "replay", "--all", "--wait", "--json").json
    assert shown == {"replayed": 1, "imports": [ended], "not_replayed": [], "errors": []}


REFUSED = [{"reason": "too_large", "count": 5}, {"reason": "unreadable", "count": 2}]


def test_replay_of_some_names_how_many_are_not_and_why(service: StubService, feedmill: Run) -> None:
    report = {"replayed": 1, "imports": [make_import("importing")], "not_replayed": REFUSED}
    service.answer("POST /dlq/replay", 202, report)
    done = feedmill("dlq", "replay", "--all")
    assert (done.code, done.stdout.splitlines()[0]) == (
        0,
        "Replaying 1 dead letter; 7 not: too large (5), unreadable (2)",
    )
    assert "too large: raise JOB_MAX_BYTES on servers and workers" in done.stderr
    assert "unreadable: only the publisher can fix it" in done.stderr


@pytest.mark.parametrize(
    ("refused", "reason"),
    [
        (REFUSED, "nothing replayed: too large (5), unreadable (2)"),
        ([], "nothing replayed: no dead letter matches"),
    ],
)
def test_replay_of_nothing_exits_with_1_and_names_the_reason(
    service: StubService, feedmill: Run, refused: list[dict[str, Any]], reason: str
) -> None:
    report = {"replayed": 0, "imports": [], "not_replayed": refused}
    service.answer("POST /dlq/replay", 202, report)
    done = feedmill("dlq", "replay", "--all")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr.startswith(f"feedmill: {reason}\n")
    shown = feedmill("dlq", "replay", "--all", "--json")
    assert (shown.code, shown.json) == (1, report)


def test_replay_that_waits_exits_with_1_when_some_are_not_replayed(
    service: StubService, feedmill: Run
) -> None:
    report = {"replayed": 1, "imports": [{"id": "i#1"}], "not_replayed": REFUSED}
    service.answer("POST /dlq/replay", 202, report)
    ended = make_import(counts={"fetched": 1, "new": 1})
    service.answer("/imports/i%231", 200, ended)
    assert feedmill("dlq", "replay", "--all", "--wait").code == 1


@pytest.mark.parametrize(
    ("answer", "arguments", "code", "removes"),
    [(b"y\n", [], 0, 1), (b"n\n", [], 1, 0), (b"", ["--yes"], 0, 1)],
)
def test_remove_asks_on_a_terminal(
    service: StubService,
    feedmill: Run,
    answer: bytes,
    arguments: list[str],
    code: int,
    removes: int,
) -> None:
    service.answer(f"DELETE {PATH}", 204, None)
    done = feedmill("dlq", "remove", ID, *arguments, stdin=answer, is_terminal=True)
    assert done.code == code
    assert len(service.calls_of(PATH)) == removes


def test_remove_goes_on_behind_what_is_not_there(service: StubService, feedmill: Run) -> None:
    service.refuse("DELETE /dlq/a", 404, "there is no dead letter 'a'")
    service.answer("DELETE /dlq/b", 204, None)
    done = feedmill("dlq", "remove", "a", "b", "--json")
    assert (done.code, done.json) == (
        1,
        {"removed": ["b"], "errors": [{"id": "a", "error": "there is no dead letter 'a'"}]},
    )
