"""``feedmill settings`` as it is typed, against a service that answers from a script."""

from typing import Any

import pytest

from server.commands.settings import parse_limit
from shared.errors import InvalidRequestError
from tests.stub_service import StubService
from tests.typed import Run

PATH = "/settings/rate-limit"
ENVIRONMENT = {"max": 100, "duration_ms": 1000, "source_max": 0}


def make_limits(**fields: Any) -> dict[str, Any]:
    return {**ENVIRONMENT, "origin": "default", "environment": ENVIRONMENT, **fields}


def make_setting(name: str, value: Any, **fields: Any) -> dict[str, Any]:
    shown = {"name": name, "value": value, "default": None, "unit": None, "origin": "default"}
    return {**shown, "is_secret": False, **fields}


def test_settings_are_shown_in_groups_with_units_and_origins(
    service: StubService, feedmill: Run
) -> None:
    worker = [
        make_setting("WORKER_FLUSH_MS", 500, unit="milliseconds", default=3000, origin=".env"),
        make_setting("FETCH_ALLOW_PRIVATE", False, default=False),
    ]
    service.answer("/settings", 200, {"groups": [{"name": "Worker", "settings": worker}]})
    done = feedmill("settings")
    assert done.code == 0
    assert done.stdout.splitlines() == [
        "Worker",
        "  WORKER_FLUSH_MS                500 milliseconds (.env; default: 3000)",
        "  FETCH_ALLOW_PRIVATE            false (default)",
    ]
    assert feedmill("settings", "--json").json["groups"][0]["name"] == "Worker"


def test_rate_limit_is_shown_with_where_it_comes_from(service: StubService, feedmill: Run) -> None:
    service.answer(PATH, 200, make_limits())
    assert feedmill("settings", "rate-limit").stdout == "100 items per second (default)\n"


def test_rate_limit_is_changed(service: StubService, feedmill: Run) -> None:
    changed = make_limits(max=50, duration_ms=500, origin="changed here")
    service.answer(f"GET {PATH}", 200, make_limits(source_max=3))
    service.answer(f"PUT {PATH}", 200, changed)
    done = feedmill("settings", "rate-limit", "50/500ms")
    assert done.stdout == (
        "50 items per 500 milliseconds (changed here); --reset brings back 100 items per second\n"
    )
    [_, call] = service.calls_of(PATH)
    assert call.body == {"max": 50, "duration_ms": 500, "source_max": None}


def test_the_limit_of_a_source_alone_leaves_the_other_as_it_is(
    service: StubService, feedmill: Run
) -> None:
    service.answer(f"GET {PATH}", 200, make_limits())
    service.answer(f"PUT {PATH}", 200, make_limits(source_max=5, origin="changed here"))
    done = feedmill("settings", "rate-limit", "--source-max", "5")
    assert "100 items per second, 5 of one source" in done.stdout
    [_, call] = service.calls_of(PATH)
    assert call.body == ENVIRONMENT | {"source_max": 5}


def test_rate_limit_is_reset(service: StubService, feedmill: Run) -> None:
    service.answer(f"DELETE {PATH}", 200, make_limits())
    assert feedmill("settings", "rate-limit", "--reset").code == 0
    assert [call.method for call in service.calls_of(PATH)] == ["DELETE"]


def test_a_reset_with_a_value_is_wrong_usage(service: StubService, feedmill: Run) -> None:
    done = feedmill("settings", "rate-limit", "5/s", "--reset")
    assert (done.code, service.calls_of(PATH)) == (2, [])


def test_changes_are_listed(service: StubService, feedmill: Run) -> None:
    change = {
        "at": "2026-11-01T12:00:00.000Z",
        "by": "API key",
        "client": "10.0.0.7",
        "before": ENVIRONMENT,
        "after": {"max": 0, "duration_ms": 1000, "source_max": 0},
        "is_reset": False,
    }
    service.answer("/settings/changes", 200, {"items": [change], "next_cursor": None})
    shown = feedmill("settings", "changes").stdout
    assert "10.0.0.7" in shown
    assert "no limit" in shown


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("100/s", (100, 1000)),
        ("100/1s", (100, 1000)),
        ("50 / 500ms", (50, 500)),
        ("600/10min", (600, 600_000)),
        ("5/H", (5, 3_600_000)),
        ("0", (0, None)),
    ],
)
def test_limits_are_read_as_people_type_them(text: str, limit: tuple[int, int | None]) -> None:
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "100", "s", "100/", "100/x", "-5/s", "1.5/s", "100/s/s"])
def test_what_is_no_limit_is_refused_with_what_is_accepted(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="write MAX/DURATION, as 100/s"):
        parse_limit(text)
