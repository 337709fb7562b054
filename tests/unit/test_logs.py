"""Log lines: one a line, events with fields, secrets masked, libraries included."""

import json
import logging

import pytest

from shared.logs import configure_logs, get_logger
from shared.masking import mask_secrets

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
