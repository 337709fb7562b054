"""Feeds and OPML over HTTP."""

import time
from typing import Any

import pytest

from shared.store import StoredValidators
from tests.api import Api

URL = "https://example.org/news.xml"
NOW = "2026-11-01T12:00:00.000Z"
BOTH = 'feedmill:source="a" feedmill:interval_s="60" feedmill:cron="* * * * *"'


def add(api: Api, **fields: Any) -> dict[str, Any]:
    answer = api.post("/feeds", {"source": "news", "url": URL} | fields)
    assert answer.status_code == 201, answer.text
    shown: dict[str, Any] = answer.json()
    return shown


def test_new_feed_takes_the_default_interval_and_is_due_at_once(api: Api) -> None:
    assert add(api) == {
        "source": "news",
        "title": None,
        "tags": [],
        "url": URL,
        "enabled": True,
        "interval_s": 3600,
        "cron": None,
        "headers": [],
        "weight": None,
        "next_fetch_at": NOW,
        "next_fetch_reason": "new feed",
        "last_import": None,
        "consecutive_failures": 0,
        "error": None,
    }
    assert api.client.get("/feeds/news").json()["url"] == URL


def test_explicit_nulls_mean_not_scheduled(api: Api) -> None:
    shown = add(api, interval_s=None, cron=None)
    assert (shown["interval_s"], shown["cron"], shown["next_fetch_at"]) == (None, None, None)
    assert shown["enabled"] is True
    assert shown["next_fetch_reason"] == "manual only: it has no schedule"


def test_feed_with_several_urls_shows_urls(api: Api) -> None:
    urls = [f"{URL}?a", f"{URL}?b"]
    answer = api.post("/feeds", {"source": "board", "urls": urls})
    assert answer.json()["urls"] == urls
    assert "url" not in answer.json()


def test_taken_source_is_a_conflict(api: Api) -> None:
    add(api)
    assert api.post("/feeds", {"source": "news", "url": URL + "2"}).status_code == 409
    assert api.post("/feeds", {"url": URL}).status_code == 409


def test_source_is_made_of_host_and_path(api: Api) -> None:
    answer = api.post("/feeds", {"url": "https://user:pw@www.Example.org:443/a/b.xml?c=1"})
    assert answer.json()["source"] == "example.org-a-b.xml"


def test_headers_and_credentials_are_never_shown(api: Api) -> None:
    shown = add(api, url="https://me:s3cr3t@example.org/", headers={"X-Key": "s3cr3t"})
    assert shown["headers"] == ["X-Key"]
    for path in ("/feeds", "/feeds/news", "/feeds.opml"):
        assert "s3cr3t" not in api.client.get(path).text
    started = api.post("/imports/start", {}).json()["imports"][0]
    assert "s3cr3t" not in str(started)
    assert "s3cr3t" not in api.client.get("/imports").text


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"url": "http://10.0.0.1/"},
        {"url": "ftp://example.org/"},
        {"url": URL, "urls": [URL]},
        {"urls": []},
        {"urls": [URL, URL]},
        {"url": URL, "interval_s": 60, "cron": "* * * * *"},
        {"url": URL, "interval_s": 0},
        {"url": URL, "interval_s": "60"},
        {"url": URL, "cron": "every day"},
        {"url": URL, "cron": "0 0 30 2 *"},
        {"url": URL, "source": "Not A Slug"},
        {"url": URL, "source": ".."},
        {"url": URL, "source": ""},
        {"url": URL, "weight": "enormous"},
        {"url": URL, "headers": {"A": "b\r\nC: d"}},
        {"url": URL, "headers": {"Host": "x"}},
        {"url": URL, "window": {"from": NOW, "step_s": 60, "in_flight": 1}},
        {"url": URL, "intervall_s": 60},
        {"url": {"$gt": ""}},
        {"url": "https://example.org/\x00"},
        {"url": "https://***@example.org/"},
        {"url": "https://example.org/?token=***"},
        [],
        None,
    ],
)
def test_unfit_feed_is_refused_with_a_problem(api: Api, body: Any) -> None:
    answer = api.post("/feeds", body)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"]
    assert api.client.get("/feeds").json()["items"] == []


def test_unknown_field_is_named_with_what_is_accepted(api: Api) -> None:
    detail = api.post("/feeds", {"url": URL, "intervall_s": 60}).json()["detail"]
    assert "'intervall_s'" in detail
    assert "interval_s, cron" in detail


def test_changed_urls_clear_validators_and_make_it_due(api: Api) -> None:
    add(api)
    known = {URL: StoredValidators(etag='"1"')}
    api.stores.feeds.update("news", {"validators": known, "next_fetch_at": None, "error": "x"})
    api.clock.advance(seconds=60)
    answer = api.client.patch("/feeds/news", json={"url": URL + "?new"})
    assert answer.json()["next_fetch_at"] == "2026-11-01T12:01:00.000Z"
    assert answer.json()["next_fetch_reason"] == "URL changed"
    feed = api.stores.feeds.get("news")
    assert feed is not None
    assert (feed.validators, feed.error) == ({}, None)


def test_unchanged_urls_keep_validators(api: Api) -> None:
    add(api)
    api.stores.feeds.update("news", {"validators": {URL: StoredValidators(etag='"1"')}})
    api.client.patch("/feeds/news", json={"url": URL, "weight": "heavy"})
    feed = api.stores.feeds.get("news")
    assert feed is not None
    assert feed.validators
    assert feed.weight == "heavy"


def test_cron_and_interval_take_each_others_place(api: Api) -> None:
    add(api)
    api.clock.advance(seconds=60)
    changed = api.client.patch("/feeds/news", json={"cron": "0 6 * * *"}).json()
    assert (changed["interval_s"], changed["cron"]) == (None, "0 6 * * *")
    assert changed["next_fetch_reason"] == "schedule changed"
    changed = api.client.patch("/feeds/news", json={"interval_s": 60}).json()
    assert (changed["interval_s"], changed["cron"]) == (60, None)
    changed = api.client.patch("/feeds/news", json={"interval_s": None}).json()
    assert (changed["interval_s"], changed["next_fetch_at"]) == (None, None)


def test_disabled_feed_is_not_due_and_enabling_makes_it_so(api: Api) -> None:
    add(api)
    disabled = api.client.patch("/feeds/news", json={"enabled": False}).json()
    assert (disabled["next_fetch_at"], disabled["next_fetch_reason"]) == (None, "disabled")
    enabled = api.client.patch("/feeds/news", json={"enabled": True}).json()
    assert (enabled["next_fetch_at"], enabled["next_fetch_reason"]) == (NOW, "enabled")


def test_source_of_a_feed_cannot_be_changed(api: Api) -> None:
    add(api)
    assert api.client.patch("/feeds/news", json={"source": "other"}).status_code == 422


def test_deleting_fails_the_running_import_and_removes_its_job(api: Api) -> None:
    add(api)
    [begun] = api.post("/imports/start", {}).json()["imports"]
    assert api.client.delete("/feeds/news").status_code == 204
    assert api.client.get("/feeds/news").status_code == 404
    assert api.client.get(f"/imports/{begun['id']}").json()["state"] == "failed"
    assert api.services.fetch_queue.get_job("feed#news") is None


def test_unknown_feed_is_not_found(api: Api) -> None:
    assert api.client.get("/feeds/none").status_code == 404
    assert api.client.patch("/feeds/none", json={}).status_code == 404
    assert api.client.delete("/feeds/none").status_code == 404


@pytest.mark.parametrize(
    ("tags", "stored"),
    [
        (["Tech", "tech", "Über Uns", "a.b-c_d+e"], ["a.b-c_d+e", "tech", "über-uns"]),
        ([], []),
        (None, []),
    ],
)
def test_tags_are_lower_case_words_each_once_and_sorted(
    api: Api, tags: list[str] | None, stored: list[str]
) -> None:
    assert add(api, tags=tags)["tags"] == stored
    assert api.client.patch("/feeds/news", json={"tags": ["Other"]}).json()["tags"] == ["other"]
    assert api.client.patch("/feeds/news", json={"tags": tags}).json()["tags"] == stored


@pytest.mark.parametrize("tag", ["", " ", "-a", "a,b", "a/b", "a" * 41, "<b>", "a\x00"])
def test_text_that_can_be_no_tag_is_refused(api: Api, tag: str) -> None:
    assert api.post("/feeds", {"url": URL, "tags": [tag]}).status_code == 422
    add(api)
    assert api.client.patch("/feeds/news", json={"tags": [tag]}).status_code == 422


def test_feed_has_twenty_tags_at_most(api: Api) -> None:
    add(api)
    tags = [f"tag{number:02}" for number in range(21)]
    assert api.client.patch("/feeds/news", json={"tags": tags}).status_code == 422
    assert api.client.patch("/feeds/news", json={"tags": tags[:20]}).json()["tags"] == tags[:20]


def test_title_that_somebody_gave_wins_over_the_documents(api: Api) -> None:
    add(api)
    api.stores.feeds.note_title("news", "As published")
    assert api.client.get("/feeds/news").json()["title"] == "As published"
    given = api.client.patch("/feeds/news", json={"title": " My\nnews \u202e "}).json()
    assert given["title"] == "My news"
    api.stores.feeds.note_title("news", "Published anew")
    assert api.client.get("/feeds/news").json()["title"] == "My news"
    assert api.client.patch("/feeds/news", json={"title": None}).json()["title"] == "Published anew"
    assert api.client.patch("/feeds/news", json={"title": "x" * 201}).status_code == 422


def test_opml_brings_titles_and_categories(api: Api) -> None:
    body = (
        '<outline text="The news" category="/Press/World News/,tech,a&lt;b"'
        ' xmlUrl="https://a.example/"/><outline title="Untexted" xmlUrl="https://b.example/"/>'
    )
    assert post_opml(api, f"<opml><body>{body}</body></opml>").json()["invalid"] == []
    shown = {feed["url"]: feed for feed in api.client.get("/feeds").json()["items"]}
    first = shown["https://a.example/"]
    assert (first["title"], first["tags"]) == ("The news", ["tech", "world-news"])
    assert shown["https://b.example/"]["title"] == "Untexted"
    exported = api.client.get("/feeds.opml").text
    assert 'text="The news"' in exported
    assert 'category="tech,world-news"' in exported


def post_opml(api: Api, document: str | bytes) -> Any:
    return api.client.post("/feeds/opml", content=document)


BY_TIME = 'xmlUrl="https://a.example/{start}" feedmill:source="a"'
FROM = 'feedmill:window_from="2026-11-01T00:00:00Z"'


def test_opml_adds_skips_and_names_what_is_invalid(api: Api) -> None:
    add(api)
    answer = post_opml(
        api,
        f"""<?xml version="1.0"?><opml version="2.0"><body>
        <outline text="folder"><outline text="A" xmlUrl="https://a.example/feed"/>
        <outline text="B" xmlUrl="{URL}"/></outline>
        <outline text="C" xmlurl="https://a.example/feed"/>
        <outline text="D" xmlUrl="http://localhost/x"/></body></opml>""",
    )
    assert answer.status_code == 200
    body = answer.json()
    assert (body["added"], body["skipped"]) == (1, 2)
    assert [entry["url"] for entry in body["invalid"]] == ["http://localhost/x"]
    assert api.client.get("/feeds/a.example-feed").json()["next_fetch_reason"] == "new feed"


def test_exported_opml_comes_back_whole(api: Api) -> None:
    add(api, cron="*/5 * * * *")
    api.post("/feeds", {"source": "board", "urls": [f"{URL}?a", f"{URL}?b"], "enabled": False})
    api.post("/feeds", {"source": "quiet", "url": f"{URL}?c", "interval_s": None})
    big = {"source": "big", "url": f"{URL}?d", "interval_s": 60, "weight": "heavy"}
    api.post("/feeds", big | {"title": "R&D <news>", "tags": ["tech", "news"]})
    window = {"from": "2026-11-01T00:00:00.250Z", "step_s": 3600, "lag_s": 60, "format": "epoch_s"}
    api.post("/feeds", {"source": "by-time", "url": f"{URL}?from={{start}}", "window": window})
    before = api.client.get("/feeds").json()["items"]
    exported = api.client.get("/feeds.opml").content
    for source in ("news", "board", "quiet", "big", "by-time"):
        api.client.delete(f"/feeds/{source}")
    assert post_opml(api, exported).json() == {"added": 5, "skipped": 0, "invalid": []}
    after = api.client.get("/feeds").json()["items"]
    assert sorted(map(without_epoch, after), key=str) == sorted(map(without_epoch, before), key=str)
    assert post_opml(api, exported).json()["skipped"] == 5


def without_epoch(feed: dict[str, Any]) -> dict[str, Any]:
    """Return a feed but for its window's epoch: one that was deleted begins again in a new one."""
    position = feed.get("position") or {}
    return feed | {"position": {name: position[name] for name in position if name != "epoch"}}


def test_opml_gathers_a_feeds_urls_wherever_an_editor_put_them(api: Api) -> None:
    own = 'feedmill:source="board" feedmill:cron="0 6 * * *"'
    body = f"""<outline text="x"><outline xmlUrl="{URL}?a" {own}/></outline>
        <outline xmlUrl="https://a.example/"/><outline xmlUrl="{URL}?b" {own}/>
        <outline xmlUrl="{URL}?a" {own}/>"""
    document = f'<opml xmlns:feedmill="urn:x"><body>{body}</body></opml>'
    assert post_opml(api, document).json() == {"added": 2, "skipped": 0, "invalid": []}
    assert api.client.get("/feeds/board").json()["urls"] == [f"{URL}?a", f"{URL}?b"]


def test_opml_names_an_entry_whose_source_another_url_has(api: Api) -> None:
    add(api)
    own = 'feedmill:source="news"'
    shown = post_opml(api, opml(f'<outline xmlUrl="https://other.example/" {own}/>')).json()
    assert (shown["added"], shown["skipped"]) == (0, 0)
    [invalid] = shown["invalid"]
    assert invalid["url"] == "https://other.example/"
    assert invalid["error"] == "source 'news' is taken by a feed with another URL"


def test_opml_names_each_entry_of_a_feed_that_was_not_added(api: Api) -> None:
    own = 'feedmill:source="board"'
    lines = [f'<outline xmlUrl="{url}" {own}/>' for url in ("ftp://a.example/", URL)]
    shown = post_opml(api, opml(*lines)).json()
    assert (shown["added"], shown["skipped"]) == (0, 0)
    assert [(entry["url"], entry["line"]) for entry in shown["invalid"]] == [
        ("ftp://a.example/", 3),
        (URL, 4),
    ]
    for entry in shown["invalid"]:
        assert entry["error"].startswith("one of 2 entries of source 'board': URL must begin")


@pytest.mark.parametrize(
    ("attributes", "said"),
    [
        ('type="rss" text="Lost"', "entry 'Lost' has no xmlUrl"),
        ('xmlUrl="ftp://a.example/"', "must begin with http:// or https://"),
        ('xmlUrl="https://***@a.example/"', "instead of a secret"),
        ('xmlUrl="https://a.example/?key=***"', "instead of a secret"),
        (f'xmlUrl="{URL}" feedmill:source="Not A Slug"', "must be 1 to 64"),
        (f'xmlUrl="{URL}" feedmill:source=""', "must be 1 to 64"),
        (f'xmlUrl="{URL}" feedmill:source="a" feedmill:interval_s="0"', "whole seconds"),
        (f'xmlUrl="{URL}" feedmill:source="a" feedmill:interval_s="{"9" * 5000}"', "whole seconds"),
        (f'xmlUrl="{URL}" feedmill:source="a" feedmill:cron="daily"', "crontab fields"),
        (f'xmlUrl="{URL}" feedmill:source="a" feedmill:weight="big"', "light or heavy"),
        (f'xmlUrl="{URL}" {BOTH}', "not both"),
        ('xmlUrl="https://a.example/{start}"', "the entry has no window"),
        (f'{BY_TIME} feedmill:window_step_s="60"', "the window has no from"),
        (
            f'{BY_TIME} feedmill:window_from="x" feedmill:window_step_s="60"',
            "window_from 'x'",
        ),
        (f'{BY_TIME} {FROM} feedmill:window_step_s="1.5"', "step_s"),
        (f'{BY_TIME} {FROM} feedmill:window_step_s="0"', "step_s must be 1 to"),
        (
            f'{BY_TIME} feedmill:window_from="9999-12-31" feedmill:window_step_s="60"',
            "from must be in the years 1000 to 2200",
        ),
    ],
)
def test_opml_entry_that_cannot_be_added_is_named_with_its_reason(
    api: Api, attributes: str, said: str
) -> None:
    good = '<outline text="good" xmlUrl="https://good.example/"/>'
    body = f"<outline {attributes}/>{good}"
    answer = post_opml(api, f'<opml xmlns:feedmill="urn:x"><body>{body}</body></opml>')
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert (shown["added"], shown["skipped"]) == (1, 0)
    [invalid] = shown["invalid"]
    assert said in invalid["error"]


def opml(*lines: str) -> str:
    return "\n".join(["<opml version='2.0'>", "<body>", *lines, "</body>", "</opml>"])


@pytest.mark.parametrize(
    ("line", "adds"),
    [
        ('<outline text="R&D" xmlUrl="https://b.example/?a=1&b=2&copy=3"/>', True),
        ('<outline text="a < b" xmlUrl="https://b.example/"/>', False),
        ('<outline text="Say "hi"" xmlUrl="https://b.example/"/>', False),
        ('<outline text="b xmlUrl="https://b.example/"/>', False),
        ("<outline text=b xmlUrl=https://b.example/?a=1&b=2&copy=3 />", True),
        ('<outline text="b" text="c" xmlUrl="https://b.example/"/>', True),
        ('<outline text="b" xmlUrl="https://b.example/">', True),
        ('</outline><outline text="b" xmlUrl="https://b.example/"/>', True),
        ('<outline text="&nbsp;&bogus;b" xmlUrl="https://b.example/"/>', True),
        ('<outline text="b" xmlUrl="https://b.example/"', False),
        ("<br>", None),
        ('<!-- <outline xmlUrl="https://hidden.example/"/> -- -->', None),
    ],
)
def test_a_bad_line_of_opml_costs_itself(api: Api, line: str, adds: bool | None) -> None:
    first = '<outline text="F &amp; co"><outline xmlUrl="https://a.example/"/>'
    last = '<outline xmlUrl="https://c.example/?x=1&amp;y=2"/></outline>'
    answer = post_opml(api, opml(first, line, last))
    assert answer.status_code == 200, answer.text
    shown = answer.json()
    assert shown["added"] == 2 + bool(adds)
    assert [entry["line"] for entry in shown["invalid"]] == [4] * (adds is False)
    assert all("line 4" in entry["error"] for entry in shown["invalid"])
    urls = {feed["url"] for feed in api.client.get("/feeds").json()["items"]}
    assert {"https://a.example/", "https://c.example/?x=1&y=2"} <= urls
    assert "https://hidden.example/" not in urls
    assert ("https://b.example/?a=1&b=2&copy=3" in urls) == ("copy" in line)


def test_an_address_that_may_not_be_fetched_is_named_with_its_line(api: Api) -> None:
    shown = post_opml(api, opml('<outline xmlUrl="ftp://a.example/"/>')).json()
    assert [entry["line"] for entry in shown["invalid"]] == [3]


@pytest.mark.parametrize(
    ("written", "url"),
    [
        ("feed://a.example/f", "http://a.example/f"),
        ("feed:https://a.example/f", "https://a.example/f"),
        ("FEED:http://a.example/f", "http://a.example/f"),
        ("feed://https://a.example/f", "https://a.example/f"),
        ("itpc://a.example/f", "http://a.example/f"),
    ],
)
def test_opml_addresses_for_feed_readers_are_http(api: Api, written: str, url: str) -> None:
    assert post_opml(api, opml(f'<outline xmlUrl="{written}"/>')).json()["added"] == 1
    [feed] = api.client.get("/feeds").json()["items"]
    assert feed["url"] == url


def test_many_bad_lines_of_opml_cost_little_time(api: Api) -> None:
    lines = ['<outline text="b xmlUrl="https://b.example/"/>'] * 20_000
    started_s = time.monotonic()
    shown = post_opml(api, opml('<outline xmlUrl="https://a.example/"/>', *lines)).json()
    assert (shown["added"], len(shown["invalid"])) == (1, 20_000)
    assert time.monotonic() - started_s < 10.0


def test_opml_feed_with_too_many_urls_is_invalid(api: Api) -> None:
    entries = "".join(
        f'<outline xmlUrl="{URL}?{number}" feedmill:source="a"/>' for number in range(101)
    )
    answer = post_opml(api, f'<opml xmlns:feedmill="urn:x"><body>{entries}</body></opml>')
    assert "at most 100 URLs" in answer.json()["invalid"][0]["error"]


def test_masked_export_is_skipped_at_home_and_invalid_elsewhere(api: Api) -> None:
    add(api, url="https://me:s3cr3t@example.org/feed")
    exported = api.client.get("/feeds.opml").content
    assert post_opml(api, exported).json() == {"added": 0, "skipped": 1, "invalid": []}
    api.client.delete("/feeds/news")
    [invalid] = post_opml(api, exported).json()["invalid"]
    assert invalid["url"] == "https://***@example.org/feed"
    assert "instead of a secret" in invalid["error"]


@pytest.mark.parametrize(
    "document",
    [
        "",
        "not xml",
        "<html></html>",
        '<!DOCTYPE opml [<!ENTITY a "b">]><opml><body>&a;</body></opml>',
        '<!DOCTYPE opml [<!ENTITY a SYSTEM "file:///etc/passwd">]><opml>&a;</opml>',
        "<opml>" + "<outline>" * 30 + "</outline>" * 30 + "</opml>",
        b"\xff\xfe\x00",
        '<?xml version="1.0" encoding="nonsense"?><opml/>',
        "<opml><body><outline text='a & b'/></body></opml>",
        '<!DOCTYPE opml [<!ENTITY a "b">]><opml><outline xmlUrl="https://a.example/"></opml>',
    ],
)
def test_hostile_opml_is_refused(api: Api, document: str | bytes) -> None:
    answer = post_opml(api, document)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
