import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.parsing import date_forms
from server.parsing.dates import DateReader, parse_date
from shared.models import ExtraField

NAMES = Path(date_forms.__file__).with_name("calendar_names.json")
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
        " Mon, 02 Nov 2026 10:00:00 GMT ", "Monday, November 2, 2026 - 10:00",
        "Mon, 11/02/2026 - 10:00", "Mon, 02/11/2026 - 10:00", "Montag, 02.11.2026, 10:00 Uhr",
        "2026/11/02 10:00:00", "2026-11-2 10:00", "2026.11.02 10:00", "20261102T100000Z",
        "20261102100000", "1793613600", "1793613600000", "November 2nd, 2026 at 10:00 AM",
        "Mon, 02 Nov 2026 05:00:00 EST5EDT", "2. Nov. 2026 um 10.00 Uhr", "2.Nov.2026 10:00",
        "Mon Nov 02 2026 11:00:00 GMT+0100 (Central European Standard Time)",
        "2 novembre 2026 à 10h00", "segunda-feira, 2 de novembro de 2026 às 10:00",
        "2 de novembre de 2026 10:00", "2 de noviembre de 2026, 10:00", "Ma, 02 Marras 2026 10:00",
        "2 marraskuuta 2026 klo 10.00", "Пн, 02 ноя 2026 13:00:00 +0300",
        "2 ноября 2026 г. в 10:00", "понеділок, 2 листопада 2026 р. 10:00",
        "Pzt, 02 Kas 2026 10:00:00", "2 KASIM 2026 10:00", "pon., 02 lis 2026 10:00 UTC",
        "ponedjeljak, 2 studenoga 2026 10:00", "måndag 2 november 2026 kl. 10:00",
        "2026. november 2. 10:00", "2026 m. lapkričio 2 d. 10:00", "2026. gada 2. novembris 10:00",
        "Δευ, 02 Νοε 2026 10:00:00", "2026年11月2日 10:00", "2026年11月2日(月) 午前10時00分",
        "２０２６年１１月２日　１０：００", "2026년 11월 2일 오전 10:00", "2 tháng 11, 2026 10:00",
        "2 नवंबर 2026 10:00", "٢ نوفمبر ٢٠٢٦ 10:00", "2 พฤศจิกายน 2026 10:00",
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
        "Mon, 02 Nov 2026 10:00:00 +2400", "Mon, 02 Nov 2026 10:00:00 -1500",
        "-44-03-15", "x" * 1000, "07.08.2026 10:00", "11-02-2026", "Tue, 02/11/2026",
        "2 listopada 2026", "2 jui 2026", "Fri, 1 Mer 2013", "not before 2 Nov 2026",
        "12/25/26", "12345678", "1793613600000000000", "20261102T1000000Z",
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
    "text", ["1893456000", "1989-12-31T00:00:00Z", "2026-11-04T12:00:01Z", "2041-01-01"]
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


@pytest.mark.parametrize("text", ["pe 1 Mar 2013 10:00", "Pe, 01 Mar 2013 10:00:00 +0200"])
def test_the_finnish_november_is_never_march(text: str) -> None:
    moment = parse_date(text)
    assert moment is None or moment.month == 11


def test_a_name_of_two_months_is_told_by_the_weekday_or_the_language() -> None:
    assert parse_date("2 listopada 2026") is None
    assert month_of("2 listopada 2026", language="pl") == 11
    assert month_of("2 listopada 2026", language="hr-HR") == 10
    assert month_of("pt, 2 lis 2026") == 11
    assert month_of("pet, 2 lis 2026") == 10
    # A Monday in November alone.
    assert month_of("pon, 2 lis 2026") == 11
    assert month_of("2 lis 2026", "wt, 3 wrz 2025") == 11
    assert month_of("1 mar 2026", language="fi") is None
    assert month_of("1 mar 2026", language="en") == 3


@pytest.mark.parametrize("name", ["marraskuuta", "marraskuu", "marras", "MARRAS.", "marrask"])
def test_only_the_whole_beginning_of_a_name_decides(name: str) -> None:
    assert month_of(f"6 {name} 2013") == 11


def test_every_name_of_cldr_is_read_as_its_month_or_not_at_all() -> None:
    for language, names in json.loads(NAMES.read_text(encoding="utf-8")).items():
        for number, spellings in enumerate(names["months"], 1):
            for spelling in spellings:
                assert month_of(f"6 {spelling} 2013") in (number, None), (language, spelling)
                if " " not in spelling:
                    found = month_of(f"6 {spelling} 2013", language=language)
                    assert found == number, (language, spelling)


@pytest.mark.parametrize(
    ("text", "others", "expected"),
    [
        ("07.08.2026 10:00", ["27.08.2026 10:00"], 8),
        ("07/08/2026", ["27/08/2026", "03/04/2026"], 8),
        ("07/08/2026", ["08/27/2026"], 7),
        ("07/08/2026", ["Fri, 08/07/2026 - 15:09"], 7),
        ("07/08/2026", ["27/08/2026", "08/27/2026"], None),
        ("07/08/2026", ["27/08/2026", "Fri, 08/07/2026"], None),
        ("07/08/2026", ["03/04/2026", "2026-08-07", "soon"], None),
        ("08/08/2026", [], 8),
    ],
)  # fmt: skip
def test_the_dates_of_a_document_tell_the_order_of_day_and_month(
    text: str, others: list[str], expected: int | None
) -> None:
    assert month_of(text, *others) == expected
    assert month_of(text, *reversed(others)) == expected


def test_a_point_behind_the_day_is_read_by_the_documents_language() -> None:
    assert month_of("07.08.2026", language="de-AT") == 8
    assert month_of("07.08.2026", language="en-us") is None
    assert month_of("07.08.2026") is None
    assert month_of("07.08.2026", "08.27.2026", language="de") == 7


def test_other_dates_are_asked_only_by_a_date_that_needs_them() -> None:
    def fail() -> list[str]:
        raise AssertionError("the other dates were asked")

    dates = DateReader(NOON, written=fail, language="de")
    for text in ("Mon, 02 Nov 2026 10:00:00 GMT", "2026-11-02", "25/12/2025", "2 Nov 2026", "soon"):
        dates.read(text)


def test_a_date_left_out_is_kept_word_for_word() -> None:
    dates = DateReader(NOON)
    published, updated = "1 week ago", "Sun, 01 Jan 2034 10:00:00 GMT"
    assert (dates.read(published), dates.read(updated)) == (None, None)
    assert dates.unread(published, updated) == (
        ExtraField("published", published),
        ExtraField("updated", updated),
    )
    assert dates.unread("2026-11-02", None) == ()


def test_the_names_are_those_of_the_library_that_they_came_from() -> None:
    pytest.importorskip("babel")
    from tests import calendar_names

    assert NAMES.read_text(encoding="utf-8") == calendar_names.write(calendar_names.build_names())


def month_of(text: str, *others: str, language: str | None = None) -> int | None:
    dates = DateReader(
        datetime(2036, 1, 1, tzinfo=UTC), written=lambda: (text, *others), language=language
    )
    moment = dates.read(text)
    return moment.month if moment is not None else None
