"""Feeds with a window over HTTP: adding and changing them, rollbacks, back-fills."""

from datetime import timedelta
from typing import Any

import pytest

from shared.models import format_time
from shared.queue import RedisConnection
from shared.store import Import, KeptBody, Stores
from tests.api import Api, open_api

URL = "https://news.example/items?from={start}&to={ended}"
HOUR = timedelta(hours=1)


def at(api: Api, hours: float = 0) -> str:
    """Return the time so many hours from now."""
    return format_time(api.clock.now() + HOUR * hours)


def add(api: Api, hours: float = 4, **fields: Any) -> dict[str, Any]:
    window = {"from": at(api, -hours), "step_s": 3600, "in_flight": 2, **fields.pop("window", {})}
    answer = api.post("/feeds", {"source": "news", "url": URL, "window": window, **fields})
    assert answer.status_code == 201, answer.text
    added: dict[str, Any] = answer.json()
    return added


def show(api: Api) -> dict[str, Any]:
    shown: dict[str, Any] = api.client.get("/feeds/news").json()
    return shown


def change(api: Api, body: dict[str, Any], status: int = 200) -> dict[str, Any]:
    answer = api.client.patch("/feeds/news", json=body)
    assert answer.status_code == status, answer.text
    changed: dict[str, Any] = answer.json()
    return changed


def open_pulls(api: Api) -> list[Import]:
    return [each for each in api.stores.imports.find_open("news") if each.indexer is not None]


def test_added_window_is_shown_whole_and_begins_at_once(api: Api) -> None:
    added = add(api)
    assert added["window"] == {
        "from": at(api, -4),
        "step_s": 3600,
        "in_flight": 2,
        "overlap_s": 0,
        "lag_s": 0,
        "format": "rfc3339",
        "first_page": 1,
    }
    assert added["position"] == {"epoch": 1, "cursor": at(api, -4), "in_flight": 0}
    assert added["next_fetch_at"] is None
    assert added["next_fetch_reason"] == "its window"
    assert added["interval_s"] == api.services.settings.fetch_interval_s
    [listed] = api.client.get("/feeds").json()["items"]
    assert listed == added


def test_feed_without_a_window_has_neither_window_nor_position(api: Api) -> None:
    added = api.post("/feeds", {"url": "https://news.example/feed"}).json()
    assert not {"window", "position"} & added.keys()


@pytest.mark.parametrize(
    ("window", "named"),
    [
        ({"from": "yesterday", "step_s": 60}, "from"),
        ({"from": None, "step_s": 60}, "from"),
        ({"from": "0001-01-01T00:00:00Z", "step_s": 3600, "overlap_s": 60}, "years 1000 to 2200"),
        ({"from": "9999-12-31T23:59:59Z", "step_s": 60}, "years 1000 to 2200"),
        ({"from": "2026-11-01T12:00:00Z"}, "step_s"),
        ({"from": "2026-11-01T12:00:00Z", "step_s": 0}, "step_s"),
        ({"from": "2026-11-01T12:00:00Z", "step_s": "60"}, "step_s"),
        ({"from": "2026-11-01T12:00:00Z", "step_s": 60, "in_flight": 33}, "in_flight"),
        ({"from": "2026-11-01T12:00:00Z", "step_s": 60, "overlap_s": 6000}, "overlap_s"),
        ({"from": "2026-11-01T12:00:00Z", "step_s": 60, "format": "page", "in_flight": 2}, "page"),
        ({"from": "2026-11-01T12:00:00Z", "step_s": 60, "until": 3}, "known fields: from, step_s"),
        ([], "window"),
    ],
)
def test_window_that_is_not_fit_is_refused_and_says_why(api: Api, window: Any, named: str) -> None:
    answer = api.post("/feeds", {"url": URL, "window": window})
    assert answer.status_code == 422, answer.text
    assert named in answer.text
    assert api.client.get("/feeds").json()["items"] == []


def test_window_needs_a_place_for_times_in_each_url(api: Api) -> None:
    window = {"from": at(api, -1), "step_s": 60}
    urls = [URL, "https://news.example/all"]
    answer = api.post("/feeds", {"urls": urls, "window": window})
    assert answer.status_code == 422
    assert "{start} or {ended}" in answer.json()["detail"]
    add(api)
    change(api, {"url": "https://news.example/all"}, 422)
    assert show(api)["url"] == URL


def test_start_of_a_windowed_feed_pulls_its_next_intervals(api: Api) -> None:
    add(api)
    answer = api.post("/imports/start", {"sources": ["news"]})
    assert answer.status_code == 202
    started = answer.json()["imports"]
    assert [each["source"] for each in started] == ["news", "news"]
    assert {each["id"] for each in started} == {each.import_id for each in open_pulls(api)}
    shown = api.client.get(f"/imports/{started[0]['id']}").json()
    assert (shown["trigger"], shown["indexer"], shown["epoch"]) == ("pull", "news", 1)
    assert shown["interval"] == {"start": at(api, -4), "ended": at(api, -3)}
    again = api.post("/imports/start", {"sources": ["news"]}).json()["imports"]
    assert {each["id"] for each in again} == {each["id"] for each in started}


def test_start_of_a_disabled_window_announces_no_further_fetch(api: Api) -> None:
    add(api, enabled=False)
    assert len(api.post("/imports/start", {"sources": ["news"]}).json()["imports"]) == 2
    shown = show(api)
    assert (shown["enabled"], shown["next_fetch_reason"]) == (False, "disabled")


def test_start_of_everything_leaves_windowed_feeds_to_their_intervals(api: Api) -> None:
    add(api)
    assert api.post("/imports/start", {}).json()["imports"] == []


def test_other_imports_show_no_interval(api: Api) -> None:
    api.post("/feeds", {"source": "plain", "url": "https://plain.example/feed"})
    [started] = api.post("/imports/start", {"sources": ["plain"]}).json()["imports"]
    assert "epoch" not in api.client.get(f"/imports/{started['id']}").json()


def test_window_is_given_to_a_feed_later_and_taken_away_again(api: Api) -> None:
    api.post("/feeds", {"source": "news", "url": URL})
    given = change(api, {"window": {"from": at(api, -2), "step_s": 3600}})
    assert given["position"]["cursor"] == at(api, -2)
    assert given["next_fetch_at"] is None
    api.post("/imports/start", {"sources": ["news"]})
    assert len(open_pulls(api)) == 1

    taken = change(api, {"window": None})
    assert not {"window", "position"} & taken.keys()
    assert (taken["next_fetch_at"], taken["next_fetch_reason"]) == (at(api), "its window ended")
    assert open_pulls(api) == []


def test_window_begins_in_a_further_epoch_when_it_is_given_again(api: Api) -> None:
    add(api)
    change(api, {"window": None})
    given = change(api, {"window": {"from": at(api, -1), "step_s": 60}})
    assert given["position"] == {"epoch": 2, "cursor": at(api, -1), "in_flight": 0}


def test_start_of_a_window_moves_until_something_was_taken(api: Api) -> None:
    add(api)
    moved = change(api, {"window": {"from": at(api, -9), "step_s": 3600}})
    assert moved["position"]["cursor"] == at(api, -9)
    api.post("/imports/start", {"sources": ["news"]})
    refused = change(api, {"window": {"from": at(api, -7), "step_s": 3600}}, 422)
    assert "use rollback" in refused["detail"]
    assert show(api)["window"]["from"] == at(api, -9)
    longer = change(api, {"window": {"from": at(api, -9), "step_s": 7200}})
    assert longer["position"]["cursor"] == at(api, -8)


def test_deleting_a_feed_ends_its_window_and_its_back_fill(api: Api) -> None:
    add(api)
    api.post("/feeds/news/backfill", {"from": at(api, -9)})
    api.post("/imports/start", {"sources": ["news"]})
    assert api.client.delete("/feeds/news").status_code == 204
    assert open_pulls(api) == []
    assert api.client.get("/backfills").json()["items"] == []
    assert add(api, hours=1)["position"]["epoch"] == 2


def test_rollback_answers_epoch_and_cursor(api: Api) -> None:
    add(api)
    api.post("/imports/start", {"sources": ["news"]})
    answer = api.post("/feeds/news/rollback", {"to": at(api, -4)})
    assert answer.status_code == 200, answer.text
    assert answer.json() == {"epoch": 2, "cursor": at(api, -4)}
    assert open_pulls(api) == []
    assert show(api)["position"]["epoch"] == 2


@pytest.mark.parametrize("hours", [-5, 1])
def test_rollback_to_what_was_not_read_is_refused(api: Api, hours: float) -> None:
    add(api)
    assert api.post("/feeds/news/rollback", {"to": at(api, hours)}).status_code == 422
    assert show(api)["position"]["epoch"] == 1


@pytest.mark.parametrize("body", [{}, {"to": None}, {"to": "noon"}, {"to": True}, {"to": 3}, []])
def test_rollback_to_nowhere_is_refused(api: Api, body: Any) -> None:
    add(api)
    assert api.post("/feeds/news/rollback", body).status_code == 422


def test_rollback_needs_a_feed_with_a_window(api: Api) -> None:
    to = {"to": at(api, -1)}
    assert api.post("/feeds/news/rollback", to).status_code == 404
    api.post("/feeds", {"source": "news", "url": "https://news.example/feed"})
    assert api.post("/feeds/news/rollback", to).status_code == 422


def test_back_fill_is_begun_watched_paused_resumed_and_cancelled(api: Api) -> None:
    add(api)
    assert api.client.get("/feeds/news/backfill").status_code == 404
    answer = api.post("/feeds/news/backfill", {"from": at(api, -10)})
    assert answer.status_code == 202, answer.text
    begun = answer.json()
    assert (begun["from"], begun["to"], begun["state"]) == (at(api, -10), at(api, -4), "running")
    assert begun["intervals"] == {"total": 6, "done": 0, "in_flight": 0, "failing": 0}
    assert api.client.get("/feeds/news/backfill").json() == begun
    assert api.client.get("/backfills").json() == {"items": [begun], "next_cursor": None}
    assert api.post("/feeds/news/backfill", {"from": at(api, -9)}).status_code == 409

    assert api.post("/feeds/news/backfill/pause").json()["state"] == "paused"
    assert api.post("/feeds/news/backfill/resume").json()["state"] == "running"
    cancelled = api.client.delete("/feeds/news/backfill").json()
    assert (cancelled["state"], cancelled["epoch"]) == ("cancelled", 2)
    assert api.client.delete("/feeds/news/backfill").status_code == 409

    again = api.post("/feeds/news/backfill", {"from": at(api, -9), "to": at(api, -5)}).json()
    assert [each["state"] for each in again["history"]] == ["cancelled"]


@pytest.mark.parametrize(
    ("from_", "to"), [(1, None), (-1, None), (-5, -6), (-5, 1), (-10_000_000, None)]
)
def test_back_fill_of_times_that_make_no_sense_is_refused(
    api: Api, from_: float, to: float | None
) -> None:
    add(api)
    body = {"from": at(api, from_)} | ({} if to is None else {"to": at(api, to)})
    assert api.post("/feeds/news/backfill", body).status_code == 422


def test_back_fill_of_pages_goes_from_the_newest_back(api: Api) -> None:
    api.post("/feeds", {"source": "news", "url": "https://news.example/feed"})
    begun = api.post("/feeds/news/backfill", {"from": at(api, -100)}).json()
    assert (begun["to"], begun["intervals"]["total"]) == (None, None)


def test_calls_that_start_reading_count_against_the_limit(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with open_api(redis_client, stores, api_rate_limit="2/minute") as api:
        add(api)
        assert api.post("/feeds/news/backfill", {"from": at(api, -9)}).status_code == 202
        assert api.post("/feeds/news/rollback", {"to": at(api, -4)}).status_code == 200
        assert api.post("/feeds/news/rollback", {"to": at(api, -4)}).status_code == 429
        assert api.post("/feeds/news/backfill", {"from": at(api, -9)}).status_code == 429


def test_kept_answers_are_read_again_on_request(api: Api) -> None:
    assert api.post("/feeds/news/reparse", {}).status_code == 404
    api.post("/feeds", {"source": "news", "url": "https://news.example/feed"})
    assert api.post("/feeds/news/reparse", {}).status_code == 422
    api.stores.bodies.keep(KeptBody("news", "", 1, "i1", api.clock.now(), 1, b"x"), 3)
    assert api.post("/feeds/news/reparse", {"since": at(api, 1)}).status_code == 422

    started = api.post("/feeds/news/reparse", {"since": at(api, -1)})

    assert started.status_code == 202, started.text
    [shown] = started.json()["imports"]
    running = api.stores.imports.get(shown["id"])
    assert running is not None
    assert running.bodies_since is not None
    assert api.post("/feeds/news/reparse", {}).status_code == 409
