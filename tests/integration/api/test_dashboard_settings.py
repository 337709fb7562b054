"""The page of settings: what is shown, and the rate limit that is changed there."""

import re

import pytest

from shared.queue import NewJob, RateLimit, RedisConnection, WorkerSign, WorkerSigns
from shared.queue.limits import read_rate
from shared.store import Stores
from tests.api import Api, open_api

PATH = "/admin/settings"
KEY = "a-key-of-the-operator"


def change(api: Api, **fields: str) -> str:
    typed = {"max": "50", "every": "2", "unit_ms": "1000", "source_max": "0"}
    return api.send_form(f"{PATH}/rate-limit", **(typed | fields))


def words(page: str) -> str:
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_every_setting_is_shown_with_where_it_comes_from(api: Api) -> None:
    page = api.show_page(PATH)
    shown = words(page)
    assert "WORKER_FLUSH_MS 3000 milliseconds default" in shown
    assert "BULL_QUEUE_NAME items environment (default: job_import_queue)" in shown
    assert "FETCH_ALLOW_PRIVATE false default" in shown
    assert "Workers have an environment of their own" in shown
    assert 'href="/admin/settings"' in page


def test_rate_limit_is_changed_and_reset_on_the_page(api: Api) -> None:
    assert "Reset" not in words(api.show_page(PATH))
    shown = words(change(api))
    assert "Rate limit changed to 50 items per 2 seconds." in shown
    assert "From Changed here" in shown
    assert read_rate(api.services.light_queue) == RateLimit(50, 2000)
    shown = words(api.send_form(f"{PATH}/rate-limit/reset"))
    assert "Rate limit reset to 100 items per second." in shown
    assert read_rate(api.services.light_queue) == RateLimit(100, 1000)
    assert "no API key testclient 50 items per 2 seconds 100 items per second reset" in shown


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"max": "many"}, "Items per window: accepted is a whole number from 0 to 10,000,000"),
        ({"max": "10000001"}, "Items per window: accepted is a whole number"),
        ({"every": "0"}, "Window: accepted is a whole number, from 1 millisecond to 24 hours"),
        ({"every": "25", "unit_ms": "3600000"}, "Window: accepted is"),
        ({"every": "25", "unit_ms": "7"}, "Window: accepted is"),
        ({"source_max": "-1"}, "Of one source: accepted is"),
    ],
)
def test_a_wrong_limit_changes_nothing_and_says_what_is_accepted(
    api: Api, fields: dict[str, str], said: str
) -> None:
    assert said in words(change(api, **fields))
    assert api.services.item_limiter.read().changes == ()


def test_no_secret_is_on_the_page_and_changes_name_the_session(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with open_api(redis_client, stores, api_key=KEY) as api:
        api.client.post("/admin/login", data={"key": KEY, "next": PATH})
        page = change(api)
        assert KEY not in page
        assert "API_KEY set environment" in words(page)
        [made] = api.services.item_limiter.read().changes
        assert (made.by, made.client) == ("dashboard session", "testclient")


def test_a_queue_that_the_rate_limit_holds_back_leads_to_the_settings(api: Api) -> None:
    change(api, max="1")
    jobs = [NewJob(f"lwn#{n}", "item", {"source": "lwn", "guid": str(n)}) for n in range(3)]
    queue = api.services.light_queue
    queue.add_many(jobs)
    WorkerSigns(queue.client).leave(WorkerSign("w1", (queue.name,), held_jobs=1, up_s=60.0))
    queue.claim(limit=1, lock_ms=30_000, token="t1")
    assert 'href="/admin/settings#rate-limit"' in api.show_page("/admin/queues")
