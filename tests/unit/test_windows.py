"""A feed's window: what is fit for one, where its intervals end, what its URLs look like."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.feeds.windows import MAX_STEP_S, FeedWindow, is_template
from shared.errors import ReachedLatest
from shared.intervals import Interval
from shared.store.reading import Misfit

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
FIRST = datetime.min.replace(tzinfo=UTC)
LAST = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def window(**fields: Any) -> FeedWindow:
    return FeedWindow(**({"starts_at": NOON, "step_s": 3600} | fields))


def hour(start: datetime = NOON) -> Interval:
    return Interval(start, start + HOUR, 1)


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({}, "from=2026-11-28T12:00:00Z&to=2026-11-28T13:00:00Z"),
        ({"format": "epoch_s"}, "from=1795867200&to=1795870800"),
        ({"format": "epoch_ms"}, "from=1795867200000&to=1795870800000"),
        ({"overlap_s": 90}, "from=2026-11-28T11:58:30Z&to=2026-11-28T13:00:00Z"),
    ],
)
def test_a_url_holds_the_interval_in_the_windows_format(fields: dict[str, Any], shown: str) -> None:
    url = "https://a.example/items?from={start}&to={ended}"

    assert window(**fields).render(url, hour()) == f"https://a.example/items?{shown}"


def test_milliseconds_are_written_only_where_there_are_any() -> None:
    start = NOON + timedelta(milliseconds=250)

    assert window().render("{start}", hour(start)) == "2026-11-28T12:00:00.250Z"


def test_a_page_number_stands_for_itself_and_other_braces_stay() -> None:
    by_page = window(format="page", overlap_s=0)

    assert by_page.render("/p/{start}?{page}&{other}", Interval(7, 8, 1)) == "/p/7?{page}&{other}"


def test_an_interval_is_one_step_long() -> None:
    assert window().on_handle_step(NOON + HOUR)(NOON) == NOON + HOUR


def test_an_interval_that_is_not_over_says_when_it_will_be() -> None:
    with pytest.raises(ReachedLatest) as raised:
        window(lag_s=60).on_handle_step(NOON + HOUR)(NOON)

    assert raised.value.retry_at == NOON + HOUR + timedelta(seconds=60)


def test_the_last_interval_of_a_back_fill_ends_where_that_ends() -> None:
    until = NOON + timedelta(minutes=90)
    step = window().on_handle_step(NOON + timedelta(days=1), until)

    assert step(NOON + HOUR) == until
    with pytest.raises(ReachedLatest) as raised:
        step(until)
    assert raised.value.retry_at is None


def test_pages_come_one_after_the_other() -> None:
    assert window(format="page").on_handle_step(NOON)(3) == 4


def test_a_window_is_read_as_it_is_stored() -> None:
    stored = window(in_flight=3, overlap_s=60, lag_s=30, format="epoch_s")

    assert FeedWindow.read(stored.to_document()) == stored


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        ({"step_s": 60}, "no from"),
        ({"from": NOON}, "no step_s"),
        ({"from": "today", "step_s": 60}, "not a date"),
        ({"from": FIRST, "step_s": 60}, "from must be in the years 1000 to 2200, not 0001-01-01"),
        ({"from": LAST, "step_s": 60}, "from must be in the years 1000 to 2200, not 9999-12-31"),
        ({"from": NOON, "step_s": 0}, "step_s must be 1 to"),
        ({"from": NOON, "step_s": 60, "in_flight": 33}, "in_flight must be 1 to 32"),
        ({"from": NOON, "step_s": 60, "format": "page", "in_flight": 2}, "must be 1 with format"),
        ({"from": NOON, "step_s": 60, "format": "iso"}, "format must be one of"),
        ({"from": NOON, "step_s": 60, "overlap_s": 6000}, "overlap_s must be"),
        ({"from": NOON, "step_s": 60, "lag_s": -1}, "lag_s must be"),
        ({"from": NOON, "step_s": 60, "first_page": -1}, "first_page must be"),
    ],
)
def test_what_is_no_window_is_refused_with_its_field(document: dict[str, Any], fault: str) -> None:
    with pytest.raises(Misfit, match=fault):
        FeedWindow.read(document)


@pytest.mark.parametrize("year", [1000, 2200])
def test_the_longest_window_at_either_end_of_the_years_can_be_read(year: int) -> None:
    longest = window(
        starts_at=datetime(year, 1, 1, tzinfo=UTC), step_s=MAX_STEP_S, lag_s=MAX_STEP_S
    )
    longest = replace(longest, overlap_s=MAX_STEP_S * 100 - 1)
    ended = longest.on_handle_step(LAST)(longest.starts_at)

    assert longest.find_fault() is None
    assert longest.render("{start}", Interval(longest.starts_at, ended, 1)).startswith(
        f"{year - 101:04}"
    )


def test_a_window_by_page_does_not_care_for_its_time() -> None:
    assert window(format="page", starts_at=FIRST).find_fault() is None


def test_a_url_without_a_place_for_the_interval_is_no_template() -> None:
    assert is_template("https://a.example/{start}")
    assert is_template("https://a.example/?until={ended}")
    assert not is_template("https://a.example/{page}")
