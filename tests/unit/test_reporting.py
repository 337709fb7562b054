"""What workers of one's own queues log, and at which level."""

import logging

import pytest

from feedmill.reporting import log_event


@pytest.mark.parametrize(
    ("event", "level"),
    [
        ("job_succeeded", logging.DEBUG),
        ("breaker_opened", logging.WARNING),
        ("breaker_closed", logging.INFO),
        ("heartbeat_failed", logging.WARNING),
    ],
)
def test_trouble_is_a_warning_and_its_end_is_none(
    event: str, level: int, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG, logger="feedmill"):
        log_event(event, queue="emails")
    assert [record.levelno for record in caplog.records] == [level]
