"""``feedmill feeds …`` as it is typed, against a service that answers from a script."""

import io
from datetime import UTC, datetime, timedelta, timezone
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from server.commands.output import (
    describe_interval,
    describe_span,
    describe_time,
    parse_span_ms,
    print_table,
)
from shared.errors import InvalidRequestError
from tests.stub_service import StubService, make_import
from tests.typed import Run

URL = "https://lwn.net/feed"


def make_feed(**fields: Any) -> dict[str, Any]:
    return {
        "source": "lwn",
        "url": URL,
        "enabled": True,
        "interval_s": 3600,
        "cron": None,
        "headers": [],
        "weight": None,
        "next_fetch_at": "2026-11-01T12:12:00.000Z",
        "next_fetch_reason": "regular schedule",
        "last_import": "i#1",
        "consecutive_failures": 0,
        "error": None,
        **fields,
    }


ADDED = make_feed(next_fetch_at="2026-11-01T11:00:00.000Z", next_fetch_reason="new feed")


@pytest.fixture
def run(feedmill: Run) -> Run:
    """Type ``feedmill feeds …``."""
    return partial(feedmill, "feeds")


@pytest.mark.parametrize(
    ("arguments", "body"),
    [
        ([URL], {"url": URL}),
        ([f"{URL}?a", f"{URL}?b"], {"urls": [f"{URL}?a", f"{URL}?b"]}),
        ([URL, "--source", "lwn"], {"url": URL, "source": "lwn"}),
        ([URL, "--interval-s", "60"], {"url": URL, "interval_s": 60}),
        ([URL, "--cron", "0 6 * * 1-5"], {"url": URL, "cron": "0 6 * * 1-5"}),
        ([URL, "--no-schedule"], {"url": URL, "interval_s": None, "cron": None}),
        ([URL, "--weight", "heavy"], {"url": URL, "weight": "heavy"}),
        ([URL, "--tag", "a", "--tag", "b"], {"url": URL, "tags": ["a", "b"]}),
        ([URL, "--title", "News"], {"url": URL, "title": "News"}),
        (
            [URL, "--header", "X-Key: a: b", "--header", "Accept:*/*"],
            {"url": URL, "headers": {"X-Key": "a: b", "Accept": "*/*"}},
        ),
    ],
)
def test_add_sends_what_was_chosen_and_nothing_else(
    service: StubService, run: Run, arguments: list[str], body: dict[str, Any]
) -> None:
    service.answer("/feeds", 201, make_feed())
    done = run("add", *arguments)
    assert (done.code, done.stdout, done.stderr) == (0, f"lwn: added: {URL}\n", "")
    [call] = service.calls_of("/feeds")
    assert (call.method, call.body) == ("POST", body)
    assert run("add", *arguments, "--json").json == make_feed()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([URL, "--interval-s", "60", "--cron", "x"], "--interval-s, --cron and --no-schedule"),
        ([URL, "--cron", "x", "--no-schedule"], "--interval-s, --cron and --no-schedule"),
        ([URL, "--header", "s3cr3t"], "--header must be 'Name: value'"),
        ([URL, "--header", "A: 1", "--header", "a: 2"], "'a' is given twice"),
        ([URL, URL + "2", "--discover"], "--discover needs exactly one URL"),
    ],
)
def test_wrong_usage_of_add_is_one_line_and_2(
    service: StubService, run: Run, arguments: list[str], said: str
) -> None:
    done = run("add", *arguments)
    assert (done.code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert line.startswith("feedmill: ")
    assert said in line
    assert "s3cr3t" not in line
    assert service.calls_of("/feeds") == []


def test_unknown_options_and_values_are_wrong_usage(run: Run) -> None:
    for arguments in (["add"], ["add", URL, "--interval-s", "0"], ["add", URL, "--weight", "x"]):
        assert run(*arguments).code == 2


@pytest.mark.parametrize(
    ("status", "code"), [(409, 1), (404, 1), (422, 2), (503, 1)], ids=lambda value: str(value)
)
def test_refusal_is_printed_in_the_words_of_the_service(
    service: StubService, run: Run, status: int, code: int
) -> None:
    service.refuse("/feeds", status, "source 'lwn' is taken")
    done = run("add", URL)
    assert (done.code, done.stdout) == (code, "")
    assert done.stderr == "feedmill: source 'lwn' is taken\n"


def answer_discovery(service: StubService, *urls: str, is_feed: bool = False) -> None:
    feeds = [{"url": url, "title": None, "type": "text/xml"} for url in urls]
    service.answer("/feeds/discover", 200, {"feeds": feeds, "is_feed": is_feed})


def test_add_discovers_the_one_feed_of_a_page(service: StubService, run: Run) -> None:
    answer_discovery(service, URL)
    service.answer("/feeds", 201, make_feed())
    assert run("add", "https://lwn.net", "--discover").code == 0
    assert service.calls_of("/feeds/discover")[0].body == {"url": "https://lwn.net"}
    assert service.calls_of("/feeds")[0].body == {"url": URL}


def test_discovered_feed_itself_is_added_with_its_credentials(
    service: StubService, run: Run
) -> None:
    written = "https://me:pw@lwn.net/feed"
    answer_discovery(service, "https://***@lwn.net/feed", is_feed=True)
    service.answer("/feeds", 201, make_feed())
    assert run("add", written, "--discover").code == 0
    assert service.calls_of("/feeds")[0].body == {"url": written}


def test_several_discovered_feeds_are_listed_and_none_is_added(
    service: StubService, run: Run
) -> None:
    answer_discovery(service, f"{URL}/a", f"{URL}/b")
    done = run("add", "https://lwn.net", "--discover")
    assert done.code == 2
    assert [line.split()[0] for line in done.stdout.splitlines()[1:]] == [f"{URL}/a", f"{URL}/b"]
    assert done.stderr == "feedmill: the page links to 2 feeds: add one of them by its URL\n"
    as_json = run("add", "https://lwn.net", "--discover", "--json")
    assert [each["url"] for each in as_json.json] == [f"{URL}/a", f"{URL}/b"]
    assert service.calls_of("/feeds") == []


def test_page_without_feeds_is_a_failure_that_shows_no_password(
    service: StubService, run: Run
) -> None:
    answer_discovery(service)
    done = run("add", "https://me:s3cr3t@lwn.net/", "--discover")
    assert (done.code, done.stdout) == (1, "")
    assert done.stderr == "feedmill: https://***@lwn.net/ is a web page without a link to a feed\n"


@pytest.mark.parametrize(("dead", "code"), [(0, 0), (1, 1)])
def test_add_imports_at_once_and_waits(
    service: StubService, run: Run, dead: int, code: int
) -> None:
    ended = make_import(counts={"fetched": 2, "new": 2 - dead, "dead": dead})
    service.answer("/feeds", 201, ADDED)
    service.answer("/imports/start", 202, {"imports": [{"id": "i#1"}]})
    service.answer("/imports/i%231", 200, make_import("fetching"))
    service.answer("/imports/i%231", 200, ended)
    service.answer("/imports", 200, {"items": [], "next_cursor": None})
    done = run("add", URL, "--import")
    assert done.code == code
    body = {"sources": ["lwn"], "force": False, "trigger": "cli"}
    assert service.calls_of("/imports/start")[0].body == body
    assert done.stdout.splitlines()[0] == f"lwn: added: {URL}"
    assert "completed" in done.stdout
    assert "lwn: fetching" in done.stderr
    assert run("add", URL, "--import", "--json").json == {
        "feed": ADDED,
        "imports": [ended],
        "errors": [],
    }


def test_add_waits_for_the_import_of_a_schedule_that_was_faster(
    service: StubService, run: Run
) -> None:
    earlier_feed = make_import(id="i#0", requested_at="2026-11-01T10:59:59.999Z")
    by_schedule = make_import("importing", id="i#2", counts={"fetched": 5, "pending": 5})
    service.answer("/feeds", 201, ADDED)
    listed = [by_schedule, earlier_feed]
    service.answer("/imports", 200, {"items": listed, "next_cursor": None})
    ended = make_import(id="i#2", counts={"fetched": 5, "new": 5})
    service.answer("/imports/i%232", 200, ended)
    shown = run("add", URL, "--import", "--json").json
    # The publisher is asked once.
    assert service.calls_of("/imports/start") == []
    assert shown["imports"] == [ended]


def test_hosts_are_listed_and_lifted(service: StubService, run: Run) -> None:
    held = {"host": "a.example:81", "retry_after_until": "2026-11-01T14:00:00.000Z", "feeds": 3}
    service.answer("/hosts", 200, {"items": [held], "next_cursor": None})
    assert "a.example:81" in run("hosts").stdout
    assert run("hosts", "--json").json == [held]
    service.answer("DELETE /hosts/a.example%3A81", 204, None)
    done = run("hosts", "--lift", "a.example:81")
    assert done.code == 0
    assert "a.example:81: is asked again" in done.stderr
    service.refuse("DELETE /hosts/b.example", 404, "host 'b.example' does not ask")
    assert run("hosts", "--lift", "b.example").code == 1


def test_remove_goes_on_behind_what_is_not_there(service: StubService, run: Run) -> None:
    service.refuse("DELETE /feeds/a", 404, "there is no feed 'a'")
    service.answer("DELETE /feeds/b", 204, None)
    done = run("remove", "a", "b", "b", "--yes")
    assert (done.code, done.stdout) == (1, "b: removed\n")
    assert done.stderr == "feedmill: a: there is no feed 'a'\n"
    assert len(service.calls_of("/feeds/b")) == 1
    assert run("remove", "a", "b", "--yes", "--json").json == {
        "removed": ["b"],
        "errors": [{"source": "a", "error": "there is no feed 'a'"}],
    }


def test_source_in_a_path_is_percent_encoded_whole(service: StubService, run: Run) -> None:
    run("remove", "a/b#c", "--yes")
    assert service.calls[-1].path == "/feeds/a%2Fb%23c"


def test_remove_without_a_terminal_needs_yes(service: StubService, run: Run) -> None:
    done = run("remove", "a", "b")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == "feedmill: refused: add --yes to remove without asking\n"
    assert service.calls_of("/feeds/a") == []


@pytest.mark.parametrize(
    ("answer", "arguments", "code", "removes"),
    [
        (b"y\n", [], 0, 1),
        (b"n\n", [], 1, 0),
        (b"", [], 1, 0),
        (b"n\n", ["--yes"], 0, 1),
    ],
)
def test_remove_asks_on_a_terminal(
    service: StubService, run: Run, answer: bytes, arguments: list[str], code: int, removes: int
) -> None:
    service.answer("DELETE /feeds/lwn", 204, None)
    done = run("remove", "lwn", *arguments, stdin=answer, is_terminal=True)
    assert done.code == code
    assert len(service.calls_of("/feeds/lwn")) == removes


@pytest.mark.parametrize(
    ("arguments", "changes"),
    [
        (["--interval-s", "60"], {"interval_s": 60}),
        (["--cron", "0 6 * * *", "--weight", "heavy"], {"cron": "0 6 * * *", "weight": "heavy"}),
        (["--no-schedule"], {"interval_s": None, "cron": None}),
        (["--url", URL], {"url": URL}),
        (["--url", f"{URL}?a", "--url", f"{URL}?b"], {"urls": [f"{URL}?a", f"{URL}?b"]}),
        (["--header", "X-Key: a"], {"headers": {"X-Key": "a"}}),
        (["--no-headers"], {"headers": {}}),
        (["--tag", "a", "--title", "News"], {"tags": ["a"], "title": "News"}),
        (["--no-tags", "--title", ""], {"tags": [], "title": None}),
    ],
)
def test_edit_changes_what_was_named_and_nothing_else(
    service: StubService, run: Run, arguments: list[str], changes: dict[str, Any]
) -> None:
    service.answer("PATCH /feeds/lwn", 200, make_feed())
    done = run("edit", "lwn", *arguments)
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.splitlines()[0] == "lwn: every 1 h"
    assert [call.body for call in service.calls_of("/feeds/lwn")] == [changes]
    assert run("edit", "lwn", *arguments, "--json").json == make_feed()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "nothing to change"),
        (["--header", "A: 1", "--no-headers"], "one of --header and --no-headers"),
        (["--tag", "a", "--no-tags"], "one of --tag and --no-tags"),
        (["--cron", "x", "--no-schedule"], "one of --interval-s, --cron and --no-schedule"),
    ],
)
def test_edit_that_cannot_be_meant_is_wrong_usage(
    service: StubService, run: Run, arguments: list[str], said: str
) -> None:
    done = run("edit", "lwn", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert said in done.stderr
    assert service.calls_of("/feeds/lwn") == []


@pytest.mark.parametrize(("command", "is_enabled"), [("enable", True), ("disable", False)])
def test_feeds_are_switched_on_and_off_each_by_itself(
    service: StubService, run: Run, command: str, is_enabled: bool
) -> None:
    service.refuse("PATCH /feeds/a", 404, "there is no feed 'a'")
    service.answer("PATCH /feeds/b", 200, make_feed())
    done = run(command, "a", "b")
    assert (done.code, done.stdout) == (1, f"b: {command}d\n")
    assert done.stderr == "feedmill: a: there is no feed 'a'\n"
    assert service.calls_of("/feeds/b")[0].body == {"enabled": is_enabled}
    assert run(command, "b", "--json").json == {f"{command}d": ["b"], "errors": []}


def test_why_prints_next_fetch_reason_and_last_outcome(service: StubService, run: Run) -> None:
    ended = make_import(counts={"fetched": 120, "new": 7, "unchanged": 113})
    service.answer("/feeds/lwn", 200, make_feed())
    service.answer("/imports/i%231", 200, ended)
    service.answer("/imports", 200, {"items": [ended], "next_cursor": None})
    done = run("why", "lwn")
    assert done.code == 0
    first, following, last, failures = done.stdout.splitlines()
    assert first == "lwn: every 1 h"
    assert following.startswith("Next fetch: 2026-11-01 ")
    assert following.endswith("(in 12 min): regular schedule")
    assert last.startswith("Last import: i#1 completed 2026-11-01 ")
    assert last.endswith("(60 min ago): 120 fetched, 7 new, 113 unchanged")
    assert failures == "Failures in a row: 0"
    assert service.calls_of("/imports")[0].path == "/imports?source=lwn&limit=1"


def test_why_of_a_disabled_failing_feed_prints_all(service: StubService, run: Run) -> None:
    failed = make_import("failed", error="gone: server answered 410")
    disabled = make_feed(
        enabled=False,
        next_fetch_at=None,
        next_fetch_reason="disabled",
        consecutive_failures=2,
        error="gone: server answered 410",
        moved_to={"https://old.example/feed": "https://new.example/feed"},
    )
    service.answer("/feeds/lwn", 200, disabled)
    service.answer("/imports/i%231", 200, failed)
    service.answer("/imports", 200, {"items": [failed], "next_cursor": None})
    lines = run("why", "lwn").stdout.splitlines()
    assert lines[:2] == ["lwn: every 1 h, disabled", "Next fetch: none: disabled"]
    assert "i#1 failed" in lines[2]
    assert lines[2].endswith(": gone: server answered 410")
    assert lines[3:5] == ["Failures in a row: 2", "Error: gone: server answered 410"]
    assert lines[5].startswith("Moved permanently: https://old.example/feed is now https://new.ex")


def test_why_prints_an_import_under_way_and_one_no_longer_kept(
    service: StubService, run: Run
) -> None:
    running = make_import("fetching", id="i#2", finished_at=None)
    service.answer("/feeds/lwn", 200, make_feed())
    service.refuse("/imports/i%231", 404, "there is no import 'i#1'")
    service.answer("/imports", 200, {"items": [running], "next_cursor": None})
    lines = run("why", "lwn").stdout.splitlines()
    assert lines[2].startswith("Import i#2 is fetching, requested 2026-11-01 ")
    assert lines[3] == "Last import: i#1, which is no longer kept"
    shown = run("why", "lwn", "--json").json
    assert shown == {"feed": make_feed(), "last_import": None, "running_import": running}


def test_why_of_a_feed_never_imported(service: StubService, run: Run) -> None:
    service.answer("/feeds/lwn", 200, make_feed(last_import=None))
    service.answer("/imports", 200, {"items": [], "next_cursor": None})
    assert "Last import: none yet" in run("why", "lwn").stdout


def test_why_of_an_unknown_feed_is_one_line_and_1(service: StubService, run: Run) -> None:
    service.refuse("/feeds/none", 404, "there is no feed 'none'")
    done = run("why", "none")
    assert (done.code, done.stdout, done.stderr) == (1, "", "feedmill: there is no feed 'none'\n")


OPML = "<opml><body/></opml>"
REPORT = {
    "added": 1,
    "skipped": 2,
    "invalid": [
        {"url": "ftp://x/", "error": "URL must begin with http://"},
        {"url": "", "error": "entry 'Lost' has no xmlUrl"},
    ],
}


@pytest.mark.parametrize("source", ["file", "stdin"])
def test_import_opml_reports_and_fails_when_entries_are_invalid(
    service: StubService, run: Run, tmp_path: Path, source: str
) -> None:
    (tmp_path / "feeds.opml").write_text(OPML)
    service.answer("/feeds/opml", 200, REPORT)
    if source == "file":
        done = run("import-opml", "feeds.opml")
    else:
        done = run("import-opml", "-", stdin=OPML.encode())
    assert done.code == 1
    assert done.stdout.splitlines() == [
        "1 added, 2 skipped (known), 2 invalid",
        "ftp://x/: URL must begin with http://",
        "without URL: entry 'Lost' has no xmlUrl",
    ]
    assert service.calls_of("/feeds/opml")[0].body == OPML.encode()


def test_import_opml_without_invalid_entries_is_done(
    service: StubService, run: Run, tmp_path: Path
) -> None:
    (tmp_path / "feeds.opml").write_text(OPML)
    report = {"added": 1, "skipped": 0, "invalid": []}
    service.answer("/feeds/opml", 200, report)
    done = run("import-opml", "feeds.opml", "--json")
    assert (done.code, done.json) == (0, report)


def test_file_that_cannot_be_read_or_written_is_wrong_usage(service: StubService, run: Run) -> None:
    service.answer("/feeds.opml", 200, OPML.encode())
    for arguments in (["import-opml", "none.opml"], ["export-opml", "none/feeds.opml"]):
        done = run(*arguments)
        assert (done.code, done.stdout) == (2, "")
        [line] = done.stderr.splitlines()
        assert "No such file or directory" in line


def test_export_opml_writes_the_document_and_nothing_else(
    service: StubService, run: Run, tmp_path: Path
) -> None:
    document = '<?xml version="1.0"?><opml title="é [red]"/>'
    service.answer("/feeds.opml", 200, document.encode(), {"Content-Type": "text/x-opml"})
    done = run("export-opml")
    assert (done.code, done.stdout, done.stderr) == (0, document + "\n", "")
    done = run("export-opml", "out.opml")
    assert (done.code, done.stdout) == (0, "written to out.opml\n")
    assert (tmp_path / "out.opml").read_text(encoding="utf-8") == document
    assert run("export-opml", "--json").json == {"opml": document}


def test_export_of_masked_secrets_prints_a_warning(service: StubService, run: Run) -> None:
    service.answer("/feeds.opml", 200, b'<opml xmlUrl="https://***@a/"/>')
    done = run("export-opml")
    assert done.code == 0
    assert "secrets in URLs are written as ***" in done.stderr


def test_without_a_service_it_is_printed_how_to_start_one(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEEDMILL_URL")
    monkeypatch.setenv("PORT", "1")
    done = run("list")
    assert (done.code, done.stdout) == (1, "")
    [line] = done.stderr.splitlines()
    assert "start it with 'feedmill up'" in line


def test_table_takes_text_as_it_is() -> None:
    output = io.StringIO()
    print_table(
        Console(file=output, width=20), ["a"], [["[red]x[/red]\x1b[2J\n:smile:" + "y" * 90]]
    )
    assert output.getvalue().splitlines()[1].rstrip() == "[red]x[/red] [2J :smile:" + "y" * 90


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7199, "120 min"),
        (7200, "2 h"),
        (172_800, "2 d"),
    ],
)
def test_span_is_given_in_its_largest_sensible_unit(seconds: int, said: str) -> None:
    assert describe_span(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(1, "1 s"), (90, "90 s"), (5400, "90 min"), (3600, "1 h"), (86_400, "1 d")],
)
def test_interval_is_given_exactly(seconds: int, said: str) -> None:
    assert describe_interval(seconds) == said


@pytest.mark.parametrize(
    ("moment", "said"),
    [
        ("2026-11-01T12:12:00.000Z", "2026-11-01 14:12 (in 12 min)"),
        ("2026-11-01T12:00:00.000Z", "2026-11-01 14:00 (now)"),
        ("2026-10-31T23:00:00.000Z", "2026-11-01 01:00 (13 h ago)"),
    ],
)
def test_time_is_given_in_the_viewers_zone_with_its_distance(moment: str, said: str) -> None:
    noon = datetime(2026, 11, 1, 12, tzinfo=UTC)
    assert describe_time(moment, noon, timezone(timedelta(hours=2))) == said


@pytest.mark.parametrize(
    ("typed", "ms"),
    [
        ("0s", 0),
        ("250ms", 250),
        ("90 s", 90_000),
        ("15m", 900_000),
        ("2min", 120_000),
        ("1H", 3_600_000),
        ("7d", 604_800_000),
    ],
)
def test_typed_span_is_read_with_its_unit(typed: str, ms: int) -> None:
    assert parse_span_ms(typed) == ms


@pytest.mark.parametrize("typed", ["", "1", "h", "1 week", "-1h", "1.5h"])
def test_span_without_a_known_unit_is_refused(typed: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not a duration"):
        parse_span_ms(typed)
