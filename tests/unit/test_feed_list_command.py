"""``feedmill feeds list`` as it is typed, and its table at the widths of terminals."""

import io
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from server.commands.feed_report import print_feeds
from tests.stub_service import StubService
from tests.typed import Run
from tests.unit.test_feeds_commands import URL, make_feed

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)
ERROR = "dns: feeds.example has no address; check the name or its DNS server"


@pytest.fixture
def run(feedmill: Run) -> Run:
    """Type ``feedmill feeds list …``."""
    return partial(feedmill, "feeds", "list")


def answer_page(service: StubService, *feeds: dict[str, Any]) -> None:
    service.answer("GET /feeds", 200, {"items": list(feeds), "next_cursor": None})


def table_of(width: int, *feeds: dict[str, Any]) -> list[str]:
    """Return the lines of the table in a terminal."""
    output = io.StringIO()
    console = Console(file=output, width=width, force_terminal=True, color_system=None)
    print_feeds(feeds, console, NOON)
    lines = output.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    return [line.rstrip() for line in lines]


def test_list_shows_every_page_in_a_table_that_is_never_cut(service: StubService, run: Run) -> None:
    long_url = "https://example.org/" + "x" * 300
    first = make_feed(url=long_url, error="html: a web page", consecutive_failures=3)
    second = make_feed(source="off", enabled=False, next_fetch_at=None, cron="0 6 * * *")
    service.answer("/feeds", 200, {"items": [first], "next_cursor": "c/1="})
    service.answer("/feeds", 200, {"items": [second], "next_cursor": None})
    done = run()
    assert (done.code, done.stderr) == (0, "")
    header, row, other = done.stdout.splitlines()
    assert header.split("  ")[0] == "source"
    assert long_url in row
    assert "every 1 h" in row
    assert "in 12 min" in row
    assert row.rstrip().endswith("html: a web page  3")
    assert "cron 0 6 * * * (UTC)" in other
    assert "disabled" in other
    assert [call.path for call in service.calls_of("/feeds")] == [
        "/feeds?limit=500",
        "/feeds?limit=500&cursor=c%2F1%3D",
    ]


def test_list_as_json_is_one_list_of_what_the_api_shows(service: StubService, run: Run) -> None:
    feeds = [make_feed(error="[red]\x1b[2J é"), make_feed(source="b")]
    answer_page(service, *feeds)
    assert run("--json").json == feeds


def test_list_of_no_feeds_prints_how_to_add_one(service: StubService, run: Run) -> None:
    answer_page(service)
    done = run()
    assert (done.code, done.stdout) == (0, "")
    assert "feedmill feeds add" in done.stderr
    assert run("--json").json == []
    assert run("--failing").stderr == "no feed matches\n"


@pytest.mark.parametrize(
    ("arguments", "query"),
    [
        (["news"], "limit=500&q=news"),
        (["--tag", "tech", "--failing"], "limit=500&tag=tech&state=failing"),
        (["--disabled"], "limit=500&state=disabled"),
        (["--manual", "--sort", "title"], "limit=500&state=manual&sort=title"),
        (["--limit", "2"], "limit=3"),
    ],
)
def test_list_asks_for_what_is_chosen(
    service: StubService, run: Run, arguments: list[str], query: str
) -> None:
    answer_page(service, make_feed())
    assert run(*arguments).code == 0
    assert [call.path for call in service.calls_of("/feeds")] == [f"/feeds?{query}"]


def test_list_says_when_there_are_more_than_it_shows(service: StubService, run: Run) -> None:
    answer_page(service, make_feed(), make_feed(source="b"))
    done = run("--limit", "1")
    assert len(done.stdout.splitlines()) == 2
    assert done.stderr == "there are more: these are the first 1; raise --limit\n"
    assert run("--limit", "2").stderr == ""


def test_states_exclude_one_another(service: StubService, run: Run) -> None:
    done = run("--failing", "--disabled")
    assert (done.code, done.stdout) == (2, "")
    assert "choose one of --failing, --disabled and --manual" in done.stderr
    assert service.calls_of("/feeds") == []


def test_feed_with_several_urls_shows_all_and_one_without_none(
    service: StubService, run: Run
) -> None:
    several = make_feed(urls=[f"{URL}?a", f"{URL}?b"], title="Both", tags=["a", "b"])
    del several["url"]
    answer_page(service, several, make_feed(source="handed-in", url=None))
    _, first, handed_in = run().stdout.splitlines()
    assert f"Both   a b   {URL}?a {URL}?b" in first
    assert handed_in.split()[:4] == ["handed-in", "-", "-", "-"]


def test_terminal_of_80_characters_breaks_lines_between_words() -> None:
    failing = make_feed(source="example.org-news-rss", error=ERROR)
    lines = table_of(
        80, make_feed(), failing, make_feed(source="m", interval_s=None, next_fetch_at=None)
    )
    assert lines == [
        "source                next fetch   state",
        "lwn                   in 12 min    ok",
        "example.org-news-rss  in 12 min    dns: feeds.example has no address; check the",
        "                                   name or its DNS server",
        "m                     manual only  ok",
    ]


def test_wider_terminal_shows_titles_and_schedules() -> None:
    [header, row] = table_of(120, make_feed(title="LWN.net", tags=["linux"]))
    assert header.split("  ")[0] == "source"
    assert "LWN.net  linux  every 1 h  in 12 min" in " ".join(row.split("   "))


def test_long_source_has_a_line_of_its_own() -> None:
    source = "x" * 64
    first, *below = table_of(80, make_feed(source=source, error=ERROR))
    assert first == source
    assert " ".join(line.strip() for line in below) == f"next fetch in 12 min, state {ERROR}"
