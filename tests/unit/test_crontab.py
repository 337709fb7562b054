"""Crontab lines."""

from datetime import UTC, datetime

import pytest

from server.feeds.schedules import check_cron, cron_time
from shared.errors import InvalidRequestError

# A Sunday.
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("cron", "expected"),
    [
        ("*/15 * * * *", datetime(2026, 11, 1, 12, 15, tzinfo=UTC)),
        ("0 12 * * *", datetime(2026, 11, 2, 12, tzinfo=UTC)),
        ("0 6 * * 0", datetime(2026, 11, 8, 6, tzinfo=UTC)),
        ("0 6 * * 7", datetime(2026, 11, 8, 6, tzinfo=UTC)),
        ("0 6 * * 1", datetime(2026, 11, 2, 6, tzinfo=UTC)),
        ("0 6 * * 1-5", datetime(2026, 11, 2, 6, tzinfo=UTC)),
        ("0 6 * * TUE,thu", datetime(2026, 11, 3, 6, tzinfo=UTC)),
        ("0 6 * * fri-mon", datetime(2026, 11, 2, 6, tzinfo=UTC)),
        ("0 6 * * */3", datetime(2026, 11, 4, 6, tzinfo=UTC)),
        # Day of month or weekday, whichever comes first, as cron has it.
        ("0 6 20 * 1", datetime(2026, 11, 2, 6, tzinfo=UTC)),
        ("@daily", datetime(2026, 11, 2, tzinfo=UTC)),
    ],
)
def test_crontab_is_read_as_cron_reads_it(cron: str, expected: datetime) -> None:
    assert cron_time(cron, NOW) == expected


@pytest.mark.parametrize(
    "cron",
    [
        "",
        "* * * *",
        "* * * * * *",
        "60 * * * *",
        "* * * * 8",
        "a b c d e",
        "0 0 30 2 *",
        "* * * * ,",
        "*/0 * * * *",
        "* * * * */0",
        "\x00 * * * *",
        "0 6 * * 1--3",
        "* * * * \ud800",
    ],
)
def test_unfit_crontab_is_refused_with_what_is_accepted(cron: str) -> None:
    with pytest.raises(InvalidRequestError, match="use five crontab fields"):
        check_cron(cron, NOW)
