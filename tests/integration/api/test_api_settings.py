"""Settings in the API: where values come from, what is secret, the rate limit and its changes."""

import re
from typing import Any

import pytest

from shared.queue import NewJob, RateLimit, RedisConnection
from shared.queue.limits import read_rate
from shared.settings import Settings
from shared.store import Stores
from shared.store.item_limits import LIMITS_ID
from tests.api import Api, open_api

PATH = "/settings/rate-limit"
KEY = "a-key-of-the-operator"


def settings_of(api: Api) -> dict[str, Any]:
    groups = api.client.get("/settings").json()["groups"]
    return {setting["name"]: setting for group in groups for setting in group["settings"]}


def put(api: Api, status: int = 200, **body: Any) -> Any:
    answer = api.client.put(PATH, json=body)
    assert answer.status_code == status, answer.text
    return answer.json()


def changes(api: Api) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = api.client.get("/settings/changes").json()["items"]
    return found


def test_every_setting_is_shown_in_the_groups_of_env_example(api: Api) -> None:
    groups = api.client.get("/settings").json()["groups"]
    assert [group["name"] for group in groups] == [
        "Stores",
        "Queues",
        "Worker",
        "Jobs",
        "Fetching",
        "Server and command line",
    ]
    assert set(settings_of(api)) == {field.upper() for field in Settings.model_fields}


def test_a_setting_has_value_unit_default_and_origin(api: Api) -> None:
    shown = settings_of(api)
    assert shown["WORKER_FLUSH_MS"] == {
        "name": "WORKER_FLUSH_MS",
        "value": 3000,
        "unit": "milliseconds",
        "default": 3000,
        "accepted": "a whole number from 0 to 600000 (milliseconds)",
        "origin": "default",
        "is_secret": False,
    }
    assert (shown["BULL_QUEUE_NAME"]["value"], shown["BULL_QUEUE_NAME"]["origin"]) == (
        "items",
        "environment",
    )


def test_no_secret_is_shown(redis_client: RedisConnection, stores: Stores) -> None:
    given = {
        "api_key": KEY,
        "api_read_keys": "a-key-for-reading",
        "redis_password": "pass-word",
        "redis_url": "redis://user:pass-word@redis:6379/0",
        "mongodb_url": "mongodb://user:pass-word@mongodb/feedmill",
    }
    with open_api(redis_client, stores, **given) as api:
        headers = {"Authorization": f"Bearer {KEY}"}
        answer = api.client.get("/settings", headers=headers)
        assert answer.status_code == 200
        for secret in ("pass-word", KEY, "a-key-for-reading"):
            assert secret not in answer.text
        values = {
            each["name"]: each["value"]
            for group in answer.json()["groups"]
            for each in group["settings"]
        }
        assert values["API_KEY"] == values["REDIS_PASSWORD"] == values["API_READ_KEYS"] == "set"
        assert values["REDIS_URL"].endswith("@redis:6379/0")
        assert api.client.put(PATH, json={"max": 5, "duration_ms": 1000}).status_code == 401
        reading = {"Authorization": "Bearer a-key-for-reading"}
        body = {"max": 5, "duration_ms": 1000}
        assert api.client.put(PATH, json=body, headers=reading).status_code == 403
        assert api.client.put(PATH, json=body, headers=headers).status_code == 200
        [change] = api.client.get("/settings/changes", headers=reading).json()["items"]
        assert change["by"] == "API key"


def test_a_changed_rate_limit_holds_in_redis_and_is_shown_everywhere(api: Api) -> None:
    assert api.client.get(PATH).json()["origin"] == "default"
    assert put(api, max=50, duration_ms=2000) == {
        "max": 50,
        "duration_ms": 2000,
        "source_max": 0,
        "origin": "changed here",
        "environment": {"max": 100, "duration_ms": 1000, "source_max": 0},
    }
    assert read_rate(api.services.light_queue) == RateLimit(50, 2000)
    assert read_rate(api.services.heavy_queue) == RateLimit(50, 2000)
    shown = settings_of(api)["WORKER_RATE_LIMIT_MAX"]
    assert (shown["value"], shown["default"], shown["origin"]) == (50, 100, "changed here")
    queue = api.client.get("/queues/items").json()
    assert queue["rate_limit"] == {"max_jobs": 50, "duration_ms": 2000}


def test_the_limit_of_a_source_stays_as_it_is_unless_it_is_named(api: Api) -> None:
    put(api, max=50, duration_ms=2000, source_max=5)
    assert put(api, max=60, duration_ms=2000)["source_max"] == 5
    assert put(api, max=60, duration_ms=2000, source_max=0)["source_max"] == 0


def test_a_reset_brings_the_environment_back(api: Api) -> None:
    put(api, max=50, duration_ms=2000)
    answer = api.client.delete(PATH)
    assert (answer.status_code, answer.json()["max"], answer.json()["origin"]) == (
        200,
        100,
        "default",
    )
    assert read_rate(api.services.light_queue) == RateLimit(100, 1000)


def test_changes_are_listed_newest_first_with_who_made_them(api: Api) -> None:
    assert changes(api) == []
    put(api, max=50, duration_ms=2000)
    api.client.delete(PATH)
    reset, first = changes(api)
    values = {"duration_ms": 2000, "source_max": 0, "max": 50}
    environment = {"duration_ms": 1000, "source_max": 0, "max": 100}
    assert first == {
        "at": "2026-11-01T12:00:00.000Z",
        "by": "no API key",
        "client": "testclient",
        "before": environment,
        "after": values,
        "is_reset": False,
    }
    assert (reset["before"], reset["after"], reset["is_reset"]) == (values, environment, True)


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"max": -1, "duration_ms": 1000}, "body.max: must be at least 0"),
        ({"max": 10_000_001, "duration_ms": 1}, "body.max: must be at most 10000000"),
        ({"max": 5, "duration_ms": 0}, "body.duration_ms: must be at least 1"),
        ({"max": "5", "duration_ms": 1000}, "body.max: must be a whole number"),
        ({"duration_ms": 1000}, "body.max: is missing"),
        ({"max": 5, "duration_ms": 1000, "rate": 1}, "known fields: max, duration_ms, source_max"),
    ],
)
def test_a_wrong_limit_is_refused_with_what_is_accepted(
    api: Api, body: dict[str, Any], said: str
) -> None:
    answer = api.client.put(PATH, json=body)
    assert answer.status_code == 422
    assert said in answer.json()["detail"]
    assert changes(api) == []


def test_a_stored_limit_that_was_spoilt_is_named_and_holds_for_nothing(api: Api) -> None:
    meta = api.stores.database.collection("meta")
    meta.insert_one({"_id": LIMITS_ID, "revision": 1, "limits": {"max_items": "many"}})
    assert api.client.get(PATH).json()["max"] == 100
    detail = put(api, 409, max=5, duration_ms=1000)["detail"]
    assert LIMITS_ID in detail
    assert "delete it" in detail


def test_workers_wanted_follow_the_backlog_and_the_rate_limit(api: Api) -> None:
    jobs = [NewJob(f"lwn#{n}", "item", {"source": "lwn", "guid": str(n)}) for n in range(6001)]
    api.services.light_queue.add_many(jobs)
    assert wanted(api) == {"items": 1, "items_heavy": 1}  # 100 a second are one worker's work
    put(api, max=0, duration_ms=1000)
    assert wanted(api) == {"items": 2, "items_heavy": 1}
    assert api.client.get("/queues/items").json()["workers_wanted"] == 2
    assert api.client.get("/queues/feed_fetch_queue").json()["workers_wanted"] is None
    api.services.light_queue.pause()
    assert wanted(api) == {"items": 1, "items_heavy": 1}


def wanted(api: Api) -> dict[str, int]:
    text = api.client.get("/metrics").text
    found = re.findall(r'^feedmill_workers_wanted\{queue="(\w+)"\} (\d+)', text, re.MULTILINE)
    return {queue: int(workers) for queue, workers in found}
