from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.parsing.date_reader import DateReader
from server.parsing.dates import parse_date

NOON = datetime(2026, 11, 2, 12, tzinfo=UTC)
TEN = datetime(2026, 11, 2, 10, tzinfo=UTC)


@pytest.mark.parametrize(
    "text",
    [
        "Mon, 02 Nov 2026 10:00:00 GMT", "Mon, 02 Nov 2026 10:00:00 +0000", "2 Nov 26 10:00 UT",
        "Mon, 02 Nov 2026 10:00:00", "Mo, 02 Nov 2026 10:00:00", "02 Nov 2026 10:00:00 Z",
        "Mon,02 Nov 2026 11:00:00 +01:00", "Mon, 2 November 2026 05:00:00 EST",
        "Mon, 02 Nov 2026 15:30:00 IST", "Mon, 02 Nov 2026 05:00:00 America/New_York",
        "Mon, 02 Nov 2026 10:00:00 GMT+00:00", "Mon, 02 Nov 2026 11:00:00 (CET)",
        "2026-11-02T10:00:00Z", "2026-11-02T10:00:00.000+00:00", "2026-11-02 10:00:00",
        "2026-11-02T11:00+0100", "20261102T100000".replace("T100000", "T10:00:00"),
        "November 2, 2026 10:00 AM", "Mon Nov 02 10:00:00 2026", "Mon Nov 02 10:00:00 UTC 2026",
        "Montag, 02. November 2026 11:00:00 MEZ", "lun. 2 nov. 2026 11:00:00 +0100",
        " Mon, 02 Nov 2026 10:00:00 GMT ",
    ],
)  # fmt: skip
def test_the_same_moment_is_read_from_many_spellings(text: str) -> None:
    assert parse_date(text) == TEN


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-02", datetime(2026, 11, 2, tzinfo=UTC)),
        ("2026-11", datetime(2026, 11, 1, tzinfo=UTC)),
        ("25/12/2026", datetime(2026, 12, 25, tzinfo=UTC)),
        ("12/25/2026", datetime(2026, 12, 25, tzinfo=UTC)),
        ("Tue, 30 Jun 2015 23:59:60 GMT", datetime(2015, 6, 30, 23, 59, 59, tzinfo=UTC)),
        ("2026-11-02T24:00:00Z", datetime(2026, 11, 3, tzinfo=UTC)),
        ("2026-11-02T10:00:00.1239Z", datetime(2026, 11, 2, 10, 0, 0, 123000, tzinfo=UTC)),
    ],
)
def test_unusual_dates_have_one_meaning(text: str, expected: datetime) -> None:
    assert parse_date(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "soon", "1 week ago", "02/11/2026", "Mon, 02 Nov 2026 10:00:00 Mars/Olympus",
        "Mon, 02 Nov 2026 10:00:00 XYZT", "Mon, 31 Feb 2026 10:00:00 GMT", "2026-13-01",
        "2026-11-02T25:00:00Z", "2026-11-02T10:61:00Z", "0000-01-01", "10000-01-01T00:00:00Z",
        "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00+14:00", "2026-11-02T10:00:00+99:00",
        "-44-03-15", "x" * 1000,
    ],
)  # fmt: skip
def test_a_date_that_cannot_be_told_is_none(text: str) -> None:
    assert parse_date(text) is None


@given(st.text(max_size=60))
def test_no_text_breaks_the_reader(text: str) -> None:
    moment = parse_date(text)
    assert moment is None or moment.tzinfo is UTC


@given(st.datetimes(min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1)))
def test_what_is_written_as_rfc_3339_is_read_back(moment: datetime) -> None:
    whole = moment.replace(microsecond=moment.microsecond // 1000 * 1000, tzinfo=UTC)
    assert parse_date(whole.isoformat()) == whole


@pytest.mark.parametrize(
    "text", ["1762077600", "1989-12-31T00:00:00Z", "2026-11-04T12:00:01Z", "2041-01-01"]
)
def test_an_implausible_date_is_absent_and_warned_of(text: str) -> None:
    dates = DateReader(NOON)
    assert dates.read(text) is None
    assert text in dates.warnings()[0]


def test_dates_up_to_two_days_ahead_are_kept_without_a_warning() -> None:
    dates = DateReader(NOON)
    assert dates.read("2026-11-04T12:00:00Z") is not None
    assert dates.read(None) is None
    assert dates.warnings() == ()
