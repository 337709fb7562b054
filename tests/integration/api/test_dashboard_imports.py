"""The pages of imports: their history, one as it runs, and starting them."""

from typing import Any
from urllib.parse import quote

import pytest

from shared.queue import RedisConnection
from shared.store import ImportState, Stores
from tests.api import Api, open_api
from tests.factories import make_letter_of
from tests.pages import Page, get_page, post_form

URL = "https://example.org/news.xml"
HOSTILE = "<script>alert('x')</script>"


def start(api: Api, source: str = "news", **fields: Any) -> str:
    if api.client.get(f"/feeds/{source}").status_code == 404:
        api.post("/feeds", {"source": source, "url": f"{URL}?{source}"})
    answer = api.post("/imports/start", {"sources": [source], **fields})
    import_id: str = answer.json()["imports"][0]["id"]
    return import_id


def commit(api: Api, import_id: str, **outcome: Any) -> None:
    now = api.clock.now()
    assert api.stores.imports.mark_fetching(import_id, 1, now)
    values = {"state": ImportState.IMPORTING, "counts": {"fetched": 4, "unchanged": 1}}
    values |= {"journaled": 3, "queue": "items"}
    assert api.stores.imports.commit(import_id, 1, values | outcome)


def fail(api: Api, import_id: str, kind: str, said: str) -> None:
    outcome = {"error": said, "error_kind": kind, "finished_at": api.clock.now()}
    assert api.stores.imports.fail(import_id, None, outcome)


def sources(page: Page) -> list[str]:
    """Return the sources of the listed imports, in order."""
    links = [link for link in page.links() if link.startswith("/admin/imports/")]
    by_id = {f"/admin/imports/{link.rsplit('/', 1)[1]}": link for link in links}
    return list(by_id)


def test_no_imports_yet_is_told_from_no_match(api: Api) -> None:
    page = get_page(api, "/admin/imports")
    assert "No imports yet." in page.text
    assert "/admin/feeds-add" in page.links()
    page = get_page(api, "/admin/imports", source="news")
    assert "No import matches the filters. Clear filters" in page.text
    [filters] = page.all("details", class_="fold wide-open")
    assert "open" in filters


def test_feeds_are_shown_by_their_titles(api: Api) -> None:
    import_id = start(api)
    api.stores.feeds.note_title("news", "News <of> the day")
    listed = get_page(api, "/admin/imports")
    assert "News <of> the day queued" in listed.text
    assert listed.all("span", title="news")
    running = get_page(api, "/").text.partition("Running imports")[2]
    assert running.strip().startswith("News <of> the day news queued")
    assert f"/admin/imports/{import_id}" in get_page(api, "/").links()


def test_imports_are_listed_with_state_trigger_counts_and_error(api: Api) -> None:
    commit(api, start(api))
    fail(api, start(api, "board"), "dns", "no such host")
    page = get_page(api, "/admin/imports")
    assert "news importing 3 pending of 4" in page.text
    assert "board failed dns: no such host" in page.text
    assert page.text.count("by api") == 2
    [bar] = page.all("svg", class_="bar")
    assert bar["aria-label"] == "Counts of news: 1 unchanged, 3 pending"


def test_imports_are_filtered_by_source_state_and_time_in_the_url(api: Api) -> None:
    ids = {}
    for number, source in enumerate(("one", "two", "three")):
        api.clock.advance(seconds=60)
        ids[source] = start(api, source)
        if number == 1:
            fail(api, ids[source], "dns", "x")

    def found(**query: str) -> list[str]:
        listed = sources(get_page(api, "/admin/imports", **query))
        by_path = {f"/admin/imports/{import_id}": source for source, import_id in ids.items()}
        return [by_path[path] for path in listed]

    assert found() == ["three", "two", "one"]
    assert found(source="one", state="", since="", until="") == ["one"]
    assert found(state="failed") == ["two"]
    # As a browser without scripts sends it: UTC.
    assert found(since="2026-11-01T12:02:00", until="2026-11-01T12:03:00") == ["two"]
    page = get_page(api, "/admin/imports", source="one", state="queued")
    assert page.value("source") == "one"
    assert page.all("option", selected="")


def test_unreadable_filter_is_explained_and_what_was_typed_is_not_lost(api: Api) -> None:
    start(api)
    page = get_page(api, "/admin/imports", 422, since="yesterday", source="abc")
    assert page.message == "Since: use RFC 3339, as in 2026-11-01T12:00:00Z ×"
    assert page.value("source") == "abc"
    assert sources(page) == []


def test_older_imports_are_behind_a_link_that_keeps_the_filter(api: Api) -> None:
    for number in range(3):
        api.clock.advance(seconds=1)
        fail(api, start(api, f"feed{number}"), "dns", "x")
    first = get_page(api, "/admin/imports", limit="2", state="failed")
    [older] = [found["href"] for found in first.all("a", rel="next")]
    assert "state=failed" in older
    second = get_page(api, older)
    assert (len(sources(first)), len(sources(second))) == (2, 1)
    assert not second.all("a", rel="next")
    # Older pages stand still: nothing in them changes.
    assert not second.all("div", id="imports")[0].get("hx-get")


def test_list_goes_on_by_itself_and_loses_none_of_its_rows(api: Api) -> None:
    for number in range(3):
        api.clock.advance(seconds=1)
        start(api, f"feed{number}")
    first = get_page(api, "/admin/imports", limit="2")
    [live] = first.all("div", id="imports")
    assert live["hx-trigger"].startswith("every 2s")
    api.clock.advance(seconds=1)
    start(api, "feed3")
    later = get_page(api, live["hx-get"])
    assert len(sources(later)) == 3
    assert set(sources(first)) < set(sources(later))
    [again] = later.all("div", id="imports")
    assert get_page(api, again["hx-get"]).text == later.text


def test_open_import_is_asked_for_each_second_until_it_has_ended(api: Api) -> None:
    import_id = start(api)
    commit(api, import_id)
    page = get_page(api, f"/admin/imports/{import_id}")
    assert "1 of 4 items done" in page.text
    [progress] = page.all("div", id="progress")
    assert progress["hx-trigger"].startswith("every 1s")
    assert page.all("div", **{"aria-live": "polite"})[1:], "progress is announced"
    counts = {"fetched": 4, "unchanged": 1, "new": 3}
    api.clock.advance(seconds=83)
    assert api.stores.imports.complete(import_id, counts, api.clock.now())
    for name in ("progress", "details"):
        [part] = page.all("div", id=name)
        ended = get_page(api, part["hx-get"])
        assert "hx-get" not in ended.all("div", id=name)[0]
    page = get_page(api, f"/admin/imports/{import_id}")
    assert "completed took 1 min 23 s" in page.text
    assert "4 fetched 3 new 1 unchanged" in page.text


def test_failed_import_says_why_and_what_to_do(api: Api) -> None:
    import_id = start(api)
    fail(api, import_id, "too_large", "more than 33554432 bytes")
    page = get_page(api, f"/admin/imports/{import_id}")
    assert "too_large: more than 33554432 bytes" in page.text
    assert "What to do: The document is larger than FETCH_MAX_BYTES." in page.text


def test_urls_warnings_and_failures_of_an_import_are_shown(api: Api) -> None:
    import_id = start(api)
    fetches = [
        {"url": f"{URL}?a", "http_status": 304, "not_modified": True},
        {"url": f"{URL}?token=s3cr3t", "http_status": 500, "error": "http_status: 500"},
        {"url": "javascript:alert(1)"},
    ]
    commit(api, import_id, fetches=fetches, warnings=["a part is missing"])
    death = make_letter_of("7", item_id="lwn#7", import_id=import_id, reason="it is odd")
    other = make_letter_of("8", item_id="lwn#8", import_id="other", reason="of another one")
    api.stores.dead_letters.record_many([death, other])
    page = get_page(api, f"/admin/imports/{import_id}")
    assert f"{URL}?a not modified" in page.text
    assert f"{URL}?token=*** 500 http_status: 500" in page.text
    assert "s3cr3t" not in page.html
    assert "a part is missing" in page.text
    assert "lwn#7 invalid it is odd" in page.text
    assert "/admin/dlq/lwn%237" in page.links()
    assert "of another one" not in page.text
    assert not [link for link in page.links() if link.startswith("javascript:")]


def test_more_failures_than_fit_are_behind_a_link(api: Api) -> None:
    import_id = start(api)
    deaths = [make_letter_of(f"{n}", item_id=f"lwn#{n}", import_id=import_id) for n in range(21)]
    api.stores.dead_letters.record_many(deaths)
    assert (
        f"/admin/dlq?import_id={import_id}" in get_page(api, f"/admin/imports/{import_id}").links()
    )


def test_hostile_text_in_an_import_stays_text(api: Api) -> None:
    import_id = start(api)
    fail(api, import_id, "internal", HOSTILE)
    for path in ("/admin/imports", f"/admin/imports/{import_id}"):
        page = get_page(api, path)
        assert HOSTILE in page.text
        assert HOSTILE not in page.html


def test_import_is_started_again_and_by_force(api: Api) -> None:
    first = start(api)
    fail(api, first, "dns", "x")
    api.clock.advance(seconds=1)
    page = post_form(api, "/admin/imports-start", source="news", force="true")
    assert "Import of news" in page.text
    [newest, _] = api.client.get("/imports?source=news").json()["items"]
    stored = api.stores.imports.get(newest["id"])
    assert stored is not None
    assert (stored.force, stored.trigger) == (True, "api")
    # Still queued: it answers with that one.
    post_form(api, "/admin/imports-start", source="news")
    assert len(api.client.get("/imports?source=news").json()["items"]) == 2


def test_all_enabled_feeds_are_started_at_once(api: Api) -> None:
    assert "there is no enabled feed" in post_form(api, "/admin/imports-start").message
    for source in ("a", "b"):
        api.post("/feeds", {"source": source, "url": f"{URL}?{source}"})
    page = post_form(api, "/admin/imports-start")
    assert "2 imports started." in page.message
    assert len(sources(page)) == 2


def test_start_that_is_refused_is_said_on_the_page_it_came_from(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with open_api(redis_client, stores, api_rate_limit="1/minute") as api:
        api.post("/feeds", {"source": "news", "url": URL})
        post_form(api, "/admin/imports-start", source="news")
        page = post_form(api, "/admin/imports-start", source="news")
        assert (
            "More than 1/minute calls that start work (API_RATE_LIMIT); try again in"
            in page.message
        )
        assert "/admin/feeds/news/edit" in page.links()


def test_import_of_a_deleted_feed_can_be_looked_at_but_not_repeated(api: Api) -> None:
    import_id = start(api)
    api.client.delete("/feeds/news")
    page = get_page(api, f"/admin/imports/{import_id}")
    assert "feed_deleted" in page.text
    assert not page.all("form", action="/admin/imports-start")


@pytest.mark.parametrize("path", ["/admin/imports/none", "/admin/imports/none/progress"])
def test_unknown_import_is_not_found(api: Api, path: str) -> None:
    assert "There is no import 'none'" in get_page(api, path, 404).text


@pytest.mark.parametrize("source", ["a\r\nSet-Cookie: b=c", "☃", "a?b#c", "../queues"])
def test_refused_start_leads_a_script_back_to_a_valid_url(api: Api, source: str) -> None:
    answer = api.client.post(
        "/admin/imports-start", data={"source": source}, headers={"HX-Request": "true"}
    )
    assert answer.status_code == 204
    assert answer.headers["hx-redirect"] == f"/admin/feeds/{quote(source, safe='')}"


def test_place_to_go_back_to_is_quoted_for_a_script(api: Api) -> None:
    answer = api.client.post(
        "/admin/dlq/remove", data={"back": "/admin/dlq?cause=☃%23"}, headers={"HX-Request": "true"}
    )
    assert answer.headers["hx-redirect"] == "/admin/dlq?cause=%E2%98%83%23"
