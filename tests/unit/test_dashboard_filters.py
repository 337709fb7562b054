"""How values look on a page, and which links of feed text are followed."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from starlette.requests import Request
from starlette.responses import Response

from server.dashboard.filters import (
    quote_segment,
    safe_link,
    show_bytes,
    show_count,
    show_document,
    show_duration,
    show_moment,
    show_rate,
    show_span,
)
from server.dashboard.rendering import COOKIE, Message, is_own_path, leave_message, take_message

MOMENT = datetime(2026, 11, 1, 12, 0, 5, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "–"), (0, "0 s"), (0.25, "250 ms"), (2.0, "2 s"), (2.44, "2.4 s"), (59.6, "1 min"),
        (200, "3 min 20 s"), (3600, "1 h"), (3605, "1 h"), (90061, "1 day 1 h"),
        (7020, "1 h 57 min"),
        (172_800, "2 days"),
    ],
)  # fmt: skip
def test_a_duration_is_shown_in_its_two_largest_units(seconds: float | None, text: str) -> None:
    assert show_duration(seconds) == text


def test_numbers_are_grouped_and_as_exact_as_it_matters() -> None:
    assert [show_count(n) for n in (None, 7, 1234567)] == ["–", "7", "1\u202f234\u202f567"]
    assert [show_rate(r) for r in (0.0, 0.4, 2.0, 9.96, 98.4)] == ["0", "0.4", "2", "10.0", "98"]
    assert [show_bytes(n) for n in (None, 999, 1500, 2.5e9)] == ["–", "999 B", "1.5 KB", "2.5 GB"]


def test_times_are_shown_in_utc_wherever_they_come_from() -> None:
    east = MOMENT.astimezone(timezone(timedelta(hours=3)))
    for moment in (MOMENT, east, MOMENT.replace(tzinfo=None), "2026-11-01T12:00:05.000Z"):
        assert show_moment(moment) == "2026-11-01 12:00:05 UTC"
    assert show_moment(None) == "–"
    assert show_span("2026-11-01T12:00:00Z", MOMENT) == "5 s"
    assert show_span(None, MOMENT) == "–"


def test_documents_are_shown_as_text_whatever_they_hold() -> None:
    assert show_document("<b>") == "<b>"
    shown = show_document({"at": MOMENT, "bad": float("nan"), "bytes": b"\xff", "\ud800": 1})
    assert '"at": "2026-11-01T12:00:05.000Z"' in shown
    assert '"bad": null' in shown


@pytest.mark.parametrize(
    "url",
    [
        "javascript:alert(1)",
        " JavaScript:alert(1)",
        "data:text/html,x",
        "//x.example",
        "ftp://x",
        "",
    ],
)
def test_links_that_run_something_are_not_followed(url: str) -> None:
    assert safe_link(url) is None


def test_web_links_are_followed() -> None:
    assert safe_link(" HTTPS://x.example/?a=b ") == "HTTPS://x.example/?a=b"


def carry(response: Response) -> Request:
    cookie = response.headers["set-cookie"].split(";")[0]
    return Request({"type": "http", "headers": [(b"cookie", cookie.encode())]})


def test_message_travels_to_the_next_page() -> None:
    response, message = Response(), Message("Done: é <b>", "warning", "/admin/imports/1", "See it")
    leave_message(response, message)
    assert take_message(carry(response)) == message
    assert "HttpOnly" in response.headers["set-cookie"]


@pytest.mark.parametrize("value", ["", "%%%", "e30=", "WzFd", "WyJ4IiwiYmFkIixudWxsLCIiXQ=="])
def test_message_that_nobody_left_is_none(value: str) -> None:
    request = Request({"type": "http", "headers": [(b"cookie", f"{COOKIE}={value}".encode())]})
    assert take_message(request) is None


def test_message_leads_to_no_other_site() -> None:
    response = Response()
    leave_message(response, Message("x", link="https://evil.example"))
    assert take_message(carry(response)) is None


@pytest.mark.parametrize(
    ("path", "is_own"),
    [
        ("/", True), ("/admin/x?a=b#c", True), ("//x", False), ("/\\x", False), ("/a\\b", False),
        ("/\t/x", False), ("/\n/x", False), ("x", False), ("https://x/", False), (None, False),
    ],
)  # fmt: skip
def test_paths_of_this_site_are_told_from_others(path: str | None, is_own: bool) -> None:
    assert is_own_path(path) is is_own


def test_what_turns_text_around_is_shown_by_its_number() -> None:
    assert show_document({"a": "x\u202ey"}) == '{\n  "a": "x\\u202ey"\n}'
    assert show_document("\u200bplain") == "\\u200bplain"


@pytest.mark.parametrize("depth", [300, 2000])
def test_a_document_that_is_nested_too_deep_is_no_failure(depth: int) -> None:
    value: object = "x"
    for _ in range(depth):
        value = [value]
    assert "nested too deep" in show_document(value)


def test_any_text_becomes_one_segment_of_a_path() -> None:
    assert quote_segment("a#/../b?c=1&é%2F") == "a%23%2F..%2Fb%3Fc%3D1%26%C3%A9%252F"
