"""The pages of feeds: their list, one of them, changing it, and OPML."""

from typing import Any

import pytest

from shared.queue import RedisConnection
from shared.store import Feed, StoredValidators, Stores
from tests.api import Api, open_api
from tests.pages import Page, get_page, post_form

URL = "https://example.org/news.xml"
HOSTILE = "<img src=x onerror=alert(1)>"


def add(api: Api, source: str = "news", **fields: Any) -> None:
    answer = api.post("/feeds", {"source": source, "url": f"{URL}?{source}"} | fields)
    assert answer.status_code == 201, answer.text


def stored(api: Api, source: str = "news") -> Feed:
    feed = api.stores.feeds.get(source)
    assert feed is not None
    return feed


def test_feed_shows_its_settings_imports_and_items_but_no_secret(api: Api) -> None:
    url = "https://me:s3cr3t@example.org/a?token=s3cr3t"
    add(api, url=url, cron="0 6 * * *", headers={"X-Key": "s3cr3t"}, weight="heavy")
    page = get_page(api, "/admin/feeds/news")
    for said in ("0 6 * * * (UTC)", "X-Key", "heavy", "https://***@example.org/a?token=***"):
        assert said in page.text
    for path in ("/admin/feeds/news", "/admin/feeds/news/edit", "/admin/feeds"):
        assert "s3cr3t" not in get_page(api, path).html
    assert "No imports yet." in page.text
    assert "No items yet." in page.text


def test_failing_feed_says_what_to_do(api: Api) -> None:
    add(api)
    failing = {"error": "gone: server answered 410", "consecutive_failures": 1}
    api.stores.feeds.update("news", failing)
    page = get_page(api, "/admin/feeds/news")
    assert "1 failure in a row. gone: server answered 410" in page.text
    assert "What to do: The publisher reports that the feed is gone for good." in page.text


def test_hostile_text_in_a_feed_stays_text(api: Api) -> None:
    add(api)
    history = {"urls": [{"url": f"{URL}?news", "moved_to": "javascript:alert(1)"}]}
    hostile = {"error": HOSTILE, "next_fetch_reason": HOSTILE, "history": history}
    api.stores.feeds.update("news", hostile)
    api.stores.feeds.note_title("news", HOSTILE)
    for path in ("/admin/feeds", "/admin/feeds/news"):
        page = get_page(api, path)
        assert page.text.count(HOSTILE) >= 2
        assert HOSTILE not in page.html
        assert not [link for link in page.links() if link.startswith("javascript:")]
        for link in page.all("a", target="_blank"):
            assert link["rel"] == "noopener noreferrer"


def test_feed_is_disabled_and_enabled(api: Api) -> None:
    add(api)
    page = post_form(api, "/admin/feeds/news/disable")
    assert "Feed news is disabled: it is imported only when you start it." in page.message
    assert not stored(api).enabled
    assert not page.all("form", action="/admin/feeds/news/disable")
    post_form(api, "/admin/feeds/news/enable")
    assert stored(api).enabled


def test_deleting_asks_first_and_says_that_items_stay(api: Api) -> None:
    add(api)
    [button] = [
        each for each in get_page(api, "/admin/feeds/news").all("button", class_="danger")
        if "data-confirm" in each
    ]  # fmt: skip
    assert "Its items stay" in button["data-confirm"]
    page = post_form(api, "/admin/feeds/news/remove")
    assert "Feed news is deleted; its items are kept." in page.message
    assert api.stores.feeds.get("news") is None
    assert post_form(api, "/admin/feeds/news/disable", status=404)


def test_new_url_of_a_moved_feed_is_taken_on_request(api: Api) -> None:
    add(api)
    old, new = f"{URL}?news", "https://new.example/feed"
    api.stores.feeds.update("news", {"history": {"urls": [{"url": old, "moved_to": new}]}})
    page = get_page(api, "/admin/feeds/news")
    assert f"{old} has moved to {new} ." in page.text
    assert page.all("input", name="url", value=old)
    post_form(api, "/admin/feeds/news/move", url=old)
    assert stored(api).urls == [new]
    again = post_form(api, "/admin/feeds/news/move", url=old)
    assert "The URL has not moved, or was changed in the meantime" in again.message


def test_new_url_with_a_secret_has_to_be_written_by_hand(api: Api) -> None:
    add(api)
    moved = {"url": f"{URL}?news", "moved_to": "https://new.example/?key=***"}
    api.stores.feeds.update("news", {"history": {"urls": [moved]}})
    page = get_page(api, "/admin/feeds/news")
    assert "The new URL holds a secret: edit the feed and type it in." in page.text
    assert not page.all("form", action="/admin/feeds/news/move")
    refused = post_form(api, "/admin/feeds/news/move", url=moved["url"])
    assert "write the secret" in refused.message


def edit(api: Api, status: int = 200, **typed: Any) -> Page:
    fields = {"urls": f"{URL}?news", "schedule": "interval", "every": "1", "unit_s": "3600"}
    return post_form(api, "/admin/feeds/news/edit", status, **(fields | typed))


def test_form_that_is_saved_as_it_is_changes_nothing(api: Api) -> None:
    url = "https://me:s3cr3t@example.org/a?token=s3cr3t"
    add(api, url=url, headers={"X-Key": "s3cr3t"}, interval_s=5400)
    api.stores.feeds.update("news", {"validators": {url: StoredValidators(etag='"1"')}})
    before = stored(api)
    page = get_page(api, "/admin/feeds/news/edit")
    assert (page.value("every"), page.value("kept_headers")) == ("90", "X-Key")
    [text] = page.all("textarea", name="urls")
    masked = "https://***@example.org/a?token=***"
    api.clock.advance(seconds=60)
    edit(api, urls=masked, every="90", unit_s="60", kept_headers="X-Key", weight="")
    assert stored(api) == before
    assert text


def test_every_field_of_a_feed_can_be_changed(api: Api) -> None:
    add(api, headers={"X-Old": "1", "X-Kept": "2"})
    edit(
        api, urls=f"{URL}?a\r\n\r\n other.example/b \r\n", schedule="cron", cron="*/5 * * * *",
        headers="Authorization: Bearer a:b\n", kept_headers="X-Kept", weight="heavy",
    )  # fmt: skip
    changed = stored(api)
    assert changed.urls == [f"{URL}?a", "https://other.example/b"]
    assert (changed.cron, changed.interval_s, changed.weight) == ("*/5 * * * *", None, "heavy")
    assert changed.headers == {"X-Kept": "2", "Authorization": "Bearer a:b"}
    edit(api, schedule="none")
    unscheduled = stored(api)
    assert (unscheduled.cron, unscheduled.interval_s, unscheduled.headers) == (None, None, {})
    edit(api, every="2", unit_s="86400")
    assert stored(api).interval_s == 172_800


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ({"every": "often"}, "every 'often': a whole number is accepted"),
        ({"every": "0"}, "interval_s: must be at least 1"),
        ({"every": "9" * 5000}, "a whole number is accepted"),
        ({"schedule": "cron", "cron": "daily"}, "crontab"),
        ({"schedule": "cron", "cron": ""}, "crontab"),
        ({"urls": "ftp://example.org/"}, "http"),
        ({"urls": "http://localhost/"}, "localhost"),
        ({"urls": ""}, "urls"),
        ({"headers": "s3cr3t"}, "accepted is Name: value"),
        ({"headers": "Host: example.org"}, "header 'Host' is set by Feedmill itself"),
    ],
)
def test_change_that_is_refused_is_explained_beside_what_was_typed(
    api: Api, typed: dict[str, str], said: str
) -> None:
    add(api)
    before = stored(api)
    page = edit(api, 422, **typed)
    assert said.lower() in page.message.lower()
    assert stored(api) == before
    name, value = list(typed.items())[-1]
    assert value in page.text or page.value(name) == value


def test_edit_of_a_feed_that_was_deleted_meanwhile_is_explained(api: Api) -> None:
    assert "There is no feed 'news'" in edit(api, 404).text


def test_opml_is_imported_from_a_file_with_a_report(api: Api) -> None:
    add(api)
    hostile = HOSTILE.replace("<", "&lt;")
    document = f"""<opml><body><outline xmlUrl="https://a.example/"/>
        <outline xmlUrl="{URL}?news"/><outline xmlUrl="http://localhost/{hostile}"/>
        </body></opml>"""
    answer = api.client.post("/admin/feeds-opml", files={"file": ("feeds.opml", document)})
    assert answer.status_code == 200
    page = Page(answer.text)
    assert "1 added , 1 already there and skipped, 1 invalid." in page.text
    assert "http://localhost/<img" in page.text
    assert HOSTILE not in page.html
    assert api.stores.feeds.get("a.example") is not None


def test_opml_is_imported_from_pasted_text(api: Api) -> None:
    text = '<opml><body><outline xmlUrl="https://a.example/"/></body></opml>'
    assert "1 added" in post_form(api, "/admin/feeds-opml", text=text).text
    assert "1 already there and skipped" in post_form(api, "/admin/feeds-opml", text=text).text


@pytest.mark.parametrize(
    ("text", "said"), [("", "Choose a file, or paste its text"), ("<html>", "not readable XML")]
)
def test_opml_that_cannot_be_read_is_explained_and_kept(api: Api, text: str, said: str) -> None:
    page = post_form(api, "/admin/feeds-opml", 422, text=text)
    assert said in page.message
    assert text in page.text


def test_opml_file_may_be_as_large_as_a_feed_and_no_larger(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with open_api(redis_client, stores, fetch_max_bytes=3_000_000) as api:

        def send(size: int) -> int:
            document = f"<opml><!--{'x' * size}--></opml>"
            files = {"file": ("feeds.opml", document)}
            return int(api.client.post("/admin/feeds-opml", files=files).status_code)

        assert send(2_900_000) == 200
        assert send(5_000_000) == 413


def test_exported_opml_is_a_file_that_can_be_imported(api: Api) -> None:
    add(api)
    assert "/admin/feeds-export" in get_page(api, "/admin/feeds-opml").links()
    answer = api.client.get("/admin/feeds-export")
    assert answer.headers["content-disposition"] == 'attachment; filename="feedmill.opml"'
    assert answer.content == api.client.get("/feeds.opml").content
    assert "no-store" in answer.headers["cache-control"]


def test_feeds_named_like_words_of_the_dashboard_have_their_pages(api: Api) -> None:
    for source in ("add", "opml", "export", "edit"):
        add(api, source)
        assert "every 1 h" in get_page(api, f"/admin/feeds/{source}").text


def test_window_title_and_tags_are_edited(api: Api) -> None:
    window = {"from": "2026-11-01T00:00:00.500Z", "step_s": 3600, "lag_s": 60}
    urls = f"{URL}?from={{start}}"
    add(api, url=urls, window=window, tags=["a", "b"], title="Mine")
    before = stored(api)
    page = get_page(api, "/admin/feeds/news/edit")
    names = ("step_s", "in_flight", "overlap_s", "lag_s", "first_page", "from")
    shown = {f"window_{name}": page.value(f"window_{name}") for name in names}
    assert (shown["window_step_s"], shown["window_lag_s"]) == ("3600", "60")
    shown |= {"urls": urls, "title": page.value("title"), "tags": page.value("tags")}
    edit(api, **shown)
    assert stored(api) == before
    edit(api, **(shown | {"window_in_flight": "3", "tags": "c", "title": ""}))
    changed = stored(api)
    assert before.window is not None
    assert changed.window == before.window | {"in_flight": 3}
    assert (changed.title, changed.tags) == (None, ["c"])
    blank = {name: "" for name in shown if name.startswith("window_")}
    edit(api, **(shown | blank | {"urls": f"{URL}?plain"}))
    assert stored(api).window is None
