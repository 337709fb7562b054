"""Log lines: one a line, events with fields, secrets masked, libraries included."""

import json
import logging

import pytest
import structlog

from shared.logs import RepeatFilter, configure_logs, get_logger
from shared.urls import mask_secrets

pytestmark = pytest.mark.usefixtures("logging_as_before")


def logged(capsys: pytest.CaptureFixture[str]) -> list[dict[str, object]]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return [json.loads(line) for line in captured.err.splitlines()]


def test_json_line_has_event_fields_level_logger_and_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("INFO", "json")
    get_logger("importer").info("feed_imported", source="lwn", items=3)
    [line] = logged(capsys)
    assert str(line.pop("timestamp")).endswith("Z")
    assert line == {
        "event": "feed_imported",
        "source": "lwn",
        "items": 3,
        "level": "info",
        "logger": "importer",
    }


def test_library_lines_come_out_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("INFO", "json")
    logging.getLogger("uvicorn.error").warning("at %s\nx", "redis://:pw@host")
    [line] = logged(capsys)
    assert line["event"] == "at redis://***@host x"
    assert line["logger"] == "uvicorn.error"
    assert line["level"] == "warning"


@pytest.mark.parametrize("library", ["apscheduler.scheduler", "httpx2", "pymongo.topology"])
def test_chatty_libraries_are_quiet_at_info(
    library: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configure_logs("INFO", "json")
    logging.getLogger(library).info("request")
    assert logged(capsys) == []


def test_levels_below_the_set_one_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("WARNING", "json")
    get_logger("x").info("quiet")
    get_logger("x").warning("loud")
    assert [line["event"] for line in logged(capsys)] == ["loud"]


def test_secrets_are_masked_in_fields_and_in_tracebacks(
    capsys: pytest.CaptureFixture[str],
) -> None:
    configure_logs("INFO", "json")
    try:
        raise ConnectionError("cannot reach mongodb://user:hunter2@host/db")
    except ConnectionError:
        get_logger("x").exception(
            "store_lost", api_key="hunter2", nested={"password": "hunter2", "n": [1, "a"]}
        )
    [line] = logged(capsys)
    assert "hunter2" not in json.dumps(line)
    assert line["nested"] == {"password": "***", "n": [1, "a"]}
    assert "mongodb://***@host/db" in str(line["exception"])


def test_console_has_an_event_on_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("INFO", "console")
    get_logger("x").info("feed_imported", title="a\nb\x1b[31m")
    captured = capsys.readouterr().err
    assert captured.count("\n") == 1
    assert "\x1b" not in captured
    assert "feed_imported" in captured


def test_what_json_cannot_hold_does_not_lose_the_line(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logs("INFO", "json")
    get_logger("x").info("odd_item", title="\ud800", count=2**70)
    [line] = logged(capsys)
    assert line["title"] == "'\\ud800'"
    assert line["level"] == "info"


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("redis://:pw@h:1/0", "redis://***@h:1/0"),
        ("https://h/feed?api_key=abc&page=2", "https://h/feed?api_key=***&page=2"),
        ("Authorization: Bearer abc.def-1", "Authorization: Bearer ***"),
        ("https://h/a@b", "https://h/a@b"),
        ("mail me@example.org", "mail me@example.org"),
    ],
    ids=["userinfo", "query", "bearer", "at sign in a path", "mail"],
)
def test_masking_takes_secrets_only(text: str, masked: str) -> None:
    assert mask_secrets(text) == masked


def warn_of(repeats: RepeatFilter, **fields: object) -> dict[str, object] | None:
    """Let a warning through the filter; None when it is dropped."""
    try:
        return dict(repeats(logging.getLogger("worker"), "warning", {"event": "failed", **fields}))
    except structlog.DropEvent:
        return None


def test_warning_that_says_the_same_is_written_every_30_s_and_counted() -> None:
    now_s = 0.0
    repeats = RepeatFilter(lambda: now_s)
    assert warn_of(repeats, error="away", failures=1) is not None
    assert [warn_of(repeats, error="away", failures=number) for number in (2, 3)] == [None, None]
    now_s = 30.0
    assert warn_of(repeats, error="away") == {"event": "failed", "error": "away", "repeated": 2}
    now_s = 60.0
    assert warn_of(repeats, error="away") == {"event": "failed", "error": "away"}


def test_warning_that_says_something_else_is_written() -> None:
    repeats = RepeatFilter(lambda: 0.0)
    fields: list[dict[str, object]] = [
        {"error": "away"},
        {"error": "refused"},
        {"error": "away", "queue": "items"},
        {"error": "away", "job": "lwn#1"},
    ]
    assert None not in [warn_of(repeats, **each) for each in fields]


def test_line_without_an_error_and_what_is_logged_as_an_error_are_never_dropped() -> None:
    repeats = RepeatFilter(lambda: 0.0)
    assert None not in [warn_of(repeats, jobs=3) for _ in range(3)]
    assert None not in [warn_of(repeats, error=None) for _ in range(3)]
    logger = logging.getLogger("worker")
    for _ in range(3):
        assert repeats(logger, "error", {"event": "failed", "error": "away"})


def test_memory_of_the_repeat_filter_is_bounded() -> None:
    now_s = 0.0
    repeats = RepeatFilter(lambda: now_s)
    for number in range(5000):
        now_s += 1
        assert warn_of(repeats, error=str(number)) is not None
    assert len(repeats._written) <= 1000
