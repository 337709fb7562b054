"""Starting imports and watching them, over HTTP."""

import json
from concurrent.futures import ThreadPoolExecutor

import pytest

from shared.errors import ConflictError
from shared.store import Feed, ImportState
from tests.api import Api

URL = "https://example.org/news.xml"


def add_feed(api: Api, source: str = "news", url: str = URL) -> None:
    assert api.post("/feeds", {"source": source, "url": url}).status_code == 201


def started(api: Api, body: object = None) -> list[dict[str, object]]:
    answer = api.post("/imports/start", body)
    assert answer.status_code == 202, answer.text
    imports: list[dict[str, object]] = answer.json()["imports"]
    return imports


def test_start_without_feeds_answers_an_empty_list(api: Api) -> None:
    assert api.client.post("/imports/start").json() == {"imports": []}


def test_start_makes_one_queued_import_and_one_fetch_job_a_feed(api: Api) -> None:
    add_feed(api)
    [shown] = started(api, {})
    assert shown["source"] == "news"
    assert shown["url"] == URL
    assert shown["state"] == "queued"
    job = api.services.fetch_queue.get_job("feed#news")
    assert job is not None
    assert json.loads(job.data) == {"source": "news", "import_id": shown["id"]}
    feed = api.stores.feeds.get("news")
    assert feed is not None
    assert feed.running_import == shown["id"]


def test_start_of_a_running_feed_answers_with_its_import(api: Api) -> None:
    add_feed(api)
    first, second = started(api), started(api, {"sources": ["news"], "force": True})
    assert first == second


def test_start_of_a_disabled_feed_needs_its_name(api: Api) -> None:
    add_feed(api)
    api.client.patch("/feeds/news", json={"enabled": False})
    assert started(api) == []
    assert len(started(api, {"sources": ["news", "news"]})) == 1


def test_start_of_unknown_sources_starts_nothing(api: Api) -> None:
    add_feed(api)
    assert api.post("/imports/start", {"sources": ["news", "nobody"]}).status_code == 404
    assert api.stores.imports.find_open() == []


def test_start_of_a_url_makes_a_feed_that_is_not_scheduled(api: Api) -> None:
    [shown] = started(api, {"url": "https://www.example.org/a/Feed.xml?key=1"})
    assert shown["source"] == "example.org-a-feed.xml"
    feed = api.client.get("/feeds/example.org-a-feed.xml").json()
    assert feed["enabled"] is True
    assert feed["interval_s"] is feed["cron"] is feed["next_fetch_at"] is None
    assert feed["next_fetch_reason"]


def test_start_of_a_url_uses_the_feed_that_has_exactly_it(api: Api) -> None:
    add_feed(api)
    assert started(api, {"url": URL})[0]["source"] == "news"
    assert started(api, {"url": URL, "source": "news"})[0]["source"] == "news"


def test_two_urls_of_one_path_get_sources_of_their_own(api: Api) -> None:
    [first] = started(api, {"url": URL + "?page=1"})
    [second] = started(api, {"url": URL + "?page=2"})
    assert first["source"] == "example.org-news.xml"
    assert str(second["source"]).startswith("example.org-news.xml-")


def test_start_of_a_url_with_a_taken_source_is_refused(api: Api) -> None:
    add_feed(api)
    answer = api.post("/imports/start", {"url": "https://example.org/other", "source": "news"})
    assert answer.status_code == 409


def test_start_of_a_private_or_bad_url_is_refused(api: Api) -> None:
    for url in ("http://127.0.0.1/x", "file:///etc/passwd", "http://", "x", "http://2130706433/"):
        answer = api.post("/imports/start", {"url": url})
        assert answer.status_code == 422, url
    assert api.client.get("/feeds").json()["items"] == []


def test_document_is_stored_before_its_import(api: Api) -> None:
    [shown] = started(api, {"document": "<rss>ä</rss>", "source": "upload"})
    assert shown["url"] is None
    assert api.stores.documents.read(str(shown["id"])) == "<rss>ä</rss>".encode()
    stored = api.stores.imports.get(str(shown["id"]))
    assert stored is not None
    assert stored.has_document
    assert api.client.get("/feeds/upload").json()["url"] is None


def test_document_for_a_feed_with_urls_leaves_them(api: Api) -> None:
    add_feed(api)
    started(api, {"document": "<rss/>", "source": "news"})
    assert api.client.get("/feeds/news").json()["url"] == URL


def test_document_is_refused_while_the_sources_import_runs(api: Api) -> None:
    started(api, {"document": "<rss/>", "source": "upload"})
    answer = api.post("/imports/start", {"document": "<rss/>", "source": "upload"})
    assert answer.status_code == 409
    assert len(api.stores.documents.read_import_ids()) == 1


def test_document_for_a_source_that_addresses_cannot_hold_leaves_nothing(api: Api) -> None:
    answer = api.post("/imports/start", {"document": "<rss/>", "source": ".."})
    assert answer.status_code == 422
    assert "source '..'" in answer.json()["detail"]
    assert not api.stores.documents.read_import_ids()


def test_document_over_the_limit_is_too_large(api: Api) -> None:
    answer = api.post("/imports/start", {"document": "x" * 1_000_001, "source": "upload"})
    assert answer.status_code == 413
    assert api.stores.imports.find_open() == []


def test_feed_without_url_cannot_be_fetched(api: Api) -> None:
    started(api, {"document": "<rss/>", "source": "upload"})
    assert api.post("/imports/start", {"sources": ["upload"]}).status_code == 422


def test_claim_heals_an_import_that_was_never_inserted(api: Api) -> None:
    add_feed(api)
    feed = api.stores.feeds.get("news")
    assert feed is not None
    assert api.stores.feeds.reserve(feed, "0123456789ab0000", scheduled=False)
    [shown] = started(api)
    assert shown["id"] == "0123456789ab0000"
    assert api.services.fetch_queue.get_job("feed#news") is not None


def test_claim_heals_a_lost_document_import_as_one(api: Api) -> None:
    feed = api.services.feeds.get_or_add_without_url("upload")
    api.stores.documents.insert("0123456789ab0000", b"<rss/>")
    assert api.stores.feeds.reserve(feed, "0123456789ab0000", scheduled=False)
    seen = api.services.feeds.get("upload")
    healed, is_new = api.reservations.reserve(seen, "schedule")
    assert (healed.has_document, is_new) == (True, False)


def test_claim_does_the_feed_step_of_an_ended_import_first(api: Api) -> None:
    add_feed(api)
    [first] = started(api)
    outcome = {"error": "timeout: slow", "error_kind": "timeout", "feed_step": {"error": "slow"}}
    assert api.stores.imports.fail(str(first["id"]), None, outcome)
    [second] = started(api)
    assert second["id"] != first["id"]
    feed = api.stores.feeds.get("news")
    assert feed is not None
    assert (feed.last_import, feed.error) == (first["id"], "slow")


def test_scheduled_claim_is_refused_when_the_feed_changed(api: Api) -> None:
    add_feed(api)
    seen = api.stores.feeds.get("news")
    assert isinstance(seen, Feed)
    api.clock.advance(seconds=5)
    api.client.patch("/feeds/news", json={"interval_s": 60})
    with pytest.raises(ConflictError):
        api.reservations.reserve(seen, "schedule", scheduled=True)


def test_many_starts_at_once_make_one_import(api: Api) -> None:
    add_feed(api)

    def start(_number: int) -> str:
        [begun] = api.services.starter.start_all()
        return begun.import_id

    with ThreadPoolExecutor(8) as executor:
        assert len(set(executor.map(start, range(40)))) == 1
    assert len(api.stores.imports.find_open()) == 1


def test_import_is_shown_as_the_interface_says(api: Api) -> None:
    add_feed(api)
    [begun] = started(api, {"trigger": "cli"})
    shown = api.client.get(f"/imports/{begun['id']}").json()
    assert shown["trigger"] == "cli"
    assert shown["requested_at"] == "2026-11-01T12:00:00.000Z"
    assert shown["started_at"] is None
    assert shown["counts"] == dict.fromkeys(shown["counts"], 0)
    assert list(shown["counts"]) == [
        "fetched", "new", "updated", "unchanged", "duplicate",
        "superseded", "dead", "removed", "pending",
    ]  # fmt: skip


def commit(api: Api, import_id: str, journaled: int) -> None:
    imports = api.stores.imports
    assert imports.mark_fetching(import_id, 1, api.clock.now())
    assert imports.commit(
        import_id,
        1,
        {
            "state": ImportState.IMPORTING,
            "counts": {"fetched": journaled + 1, "unchanged": 1},
            "journaled": journaled,
            "queue": "items",
        },
    )


def test_counts_of_an_open_import_add_up(api: Api) -> None:
    add_feed(api)
    [begun] = started(api)
    commit(api, str(begun["id"]), journaled=3)
    counts = api.client.get(f"/imports/{begun['id']}").json()["counts"]
    assert counts["fetched"] == 4
    assert counts["pending"] == 3
    assert counts["fetched"] == sum(counts.values()) - counts["fetched"]


def test_imports_are_listed_newest_first_in_pages(api: Api) -> None:
    for number in range(3):
        api.clock.advance(seconds=1)
        add_feed(api, f"feed{number}", f"{URL}?{number}")
        started(api, {"sources": [f"feed{number}"]})
    first = api.client.get("/imports?limit=2").json()
    second = api.client.get("/imports", params={"limit": 2, "cursor": first["next_cursor"]}).json()
    sources = [shown["source"] for shown in first["items"] + second["items"]]
    assert sources == ["feed2", "feed1", "feed0"]
    assert second["next_cursor"] is None
    assert len(api.client.get("/imports?source=feed1&state=").json()["items"]) == 1
    assert api.client.get("/imports?state=failed").json()["items"] == []


def test_imports_are_found_by_source_state_and_time_of_request_together(api: Api) -> None:
    for number in range(4):
        api.clock.advance(seconds=60)
        add_feed(api, f"feed{number}", f"{URL}?{number}")
        [begun] = started(api, {"sources": [f"feed{number}"]})
        if number % 2:
            api.stores.imports.fail(str(begun["id"]), None, {"error": "x", "error_kind": "dns"})

    def found(**query: str) -> list[str]:
        answer = api.client.get("/imports", params=query)
        assert answer.status_code == 200, answer.text
        return [shown["source"] for shown in answer.json()["items"]]

    assert found(since="2026-11-01T12:03:00Z") == ["feed3", "feed2"]
    assert found(until="2026-11-01T12:03:00Z") == ["feed1", "feed0"]
    assert found(since="2026-11-01T13:02:00+01:00", until="2026-11-01T12:04:00Z") == [
        "feed2",
        "feed1",
    ]
    assert found(state="failed", since="2026-11-01T12:03:00Z") == ["feed3"]
    assert found(source="feed1", state="failed", until="2026-11-01T12:03:00Z") == ["feed1"]
    assert found(source="feed1", since="2026-11-01T12:03:00Z") == []
    assert found(since="", until="") == ["feed3", "feed2", "feed1", "feed0"]


def test_pages_of_imports_stay_within_the_times_asked_for(api: Api) -> None:
    for number in range(5):
        api.clock.advance(seconds=60)
        add_feed(api, f"feed{number}", f"{URL}?{number}")
        started(api, {"sources": [f"feed{number}"]})
    query = {"limit": "1", "since": "2026-11-01T12:02:00Z", "until": "2026-11-01T12:05:00Z"}
    sources: list[str] = []
    cursor: str | None = ""
    while cursor is not None:
        page = api.client.get("/imports", params=query | {"cursor": cursor}).json()
        sources += [shown["source"] for shown in page["items"]]
        cursor = page["next_cursor"]
    assert sources == ["feed3", "feed2", "feed1"]


@pytest.mark.parametrize("query", ["since=yesterday", "until=12", "until=2026-11-01T12:00:00Q"])
def test_unreadable_time_is_refused_with_what_is_accepted(api: Api, query: str) -> None:
    answer = api.client.get(f"/imports?{query}")
    assert answer.status_code == 422
    assert "use RFC 3339" in answer.json()["detail"]


def read_events(text: str) -> list[dict[str, object]]:
    blocks = [block for block in text.split("\n\n") if block.startswith("event: import")]
    return [json.loads(block.split("data: ", 1)[1]) for block in blocks]


def test_events_of_an_ended_import_are_one_last_event(api: Api) -> None:
    add_feed(api)
    [begun] = started(api)
    api.stores.imports.fail(str(begun["id"]), None, {"error": "x", "error_kind": "dns"})
    answer = api.client.get(f"/imports/{begun['id']}/events")
    assert answer.headers["content-type"].startswith("text/event-stream")
    [event] = read_events(answer.text)
    assert event["state"] == "failed"
    assert event["error"] == "dns: x"


def test_events_of_an_unknown_import_are_not_found(api: Api) -> None:
    assert api.client.get("/imports/a%2Fb/events").status_code == 404
