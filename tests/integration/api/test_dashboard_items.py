"""The pages of items: looking for them, and one with all that is known of it."""

from html import unescape
from urllib.parse import quote

import pytest

from shared.store import LetterKind
from tests.api import Api, seed_item
from tests.factories import make_letter_of
from tests.pages import Page, get_page

SCRIPT = "<script>parent.alert('x')</script>"


def path_of(item_id: str) -> str:
    return f"/admin/items/{quote(item_id, safe='')}"


def items(page: Page) -> list[str]:
    links = [link for link in page.links() if link.startswith("/admin/items/")]
    return [link.removeprefix("/admin/items/lwn%23") for link in links]


def test_without_items_the_page_says_how_to_get_some(api: Api) -> None:
    for filters in ({}, {"q": "rust"}):
        page = get_page(api, "/admin/items", **filters)
        assert "No items yet. Items appear here when an import has stored them." in page.text
        assert "/admin/feeds-add" in page.links()
        assert page.all("form", role="search") == []


def test_filters_that_match_nothing_can_be_cleared(api: Api) -> None:
    seed_item(api, title="Rust")
    page = get_page(api, "/admin/items", q="zig")
    assert "No item matches." in page.text
    assert page.links().count("/admin/items") == 3
    assert page.value("q") == "zig"


def test_items_are_searched_by_text_source_and_time_and_paged(api: Api) -> None:
    for guid in ("1", "2", "3"):
        api.clock.advance(seconds=60)
        seed_item(api, guid, title=f"Title {guid} of Rust", link=f"https://lwn.net/{guid}")
    page = get_page(api, "/admin/items")
    assert items(page) == ["3", "2", "1"]
    assert "Title 3 of Rust lwn 2026-11-01 12:03:00 UTC" in page.text
    assert items(get_page(api, "/admin/items", q="title 2")) == ["2"]
    assert items(get_page(api, "/admin/items", source="none")) == []
    assert items(get_page(api, "/admin/items", since="2026-11-01T12:02:00")) == ["3", "2"]
    first = get_page(api, "/admin/items", q="rust", limit="2")
    assert first.value("q") == "rust"
    [older] = first.all("a", rel="next")
    assert items(get_page(api, older["href"])) == ["1"]
    assert get_page(api, "/admin/items", 422, since="x", q="typed").value("q") == "typed"


def test_item_without_a_title_is_listed_by_its_guid(api: Api) -> None:
    seed_item(api, "tag:1")
    assert "tag:1" in get_page(api, "/admin/items").text


def test_every_field_of_an_item_is_shown(api: Api) -> None:
    item_id = seed_item(
        api, title="Sails & <flour>", link="https://lwn.net/1", author="Ann & Bob",
        categories=["a < b", "c"], published_at=api.clock.now(), updated_at=api.clock.now(),
        enclosures=[{"url": "https://lwn.net/a.mp3", "type": "audio/mpeg", "length": 1_200_000},
                    {"url": "https://lwn.net/b"}],
        extra=[{"name": "job:company", "value": "Harness Ltd"}, {"name": "n", "value": {"a": [1]}},
               {"name": "itunes:image", "attributes": {"href": "https://lwn.net/i.png"}}],
        odd="unknown field",
    )  # fmt: skip
    page = get_page(api, path_of(item_id))
    for said in (
        "Sails & <flour>", "Ann & Bob", "a < b, c", "https://lwn.net/a.mp3 audio/mpeg 1.2 MB",
        "https://lwn.net/b – –", "job:company Harness Ltd –",
        "itunes:image – href https://lwn.net/i.png", "unknown field", "1:x", "lwn#1",
    ):  # fmt: skip
        assert said in page.text
    assert page.all("a", href="https://lwn.net/1", rel="noopener noreferrer", target="_blank")


def test_content_is_shown_in_a_frame_that_can_do_nothing(api: Api) -> None:
    item_id = seed_item(api, content=f"<p>Hello</p>{SCRIPT}", summary="short")
    page = get_page(api, path_of(item_id))
    frames = page.all("iframe")
    assert len(frames) == 2
    assert all(frame["sandbox"] == "" for frame in frames)
    assert f"<body><p>Hello</p>{SCRIPT}" in unescape(frames[0]["srcdoc"])
    assert '<meta name="color-scheme" content="light dark">' in unescape(frames[0]["srcdoc"])
    # Neither in the frame's attribute nor in its source is it markup of this page.
    assert SCRIPT not in page.html
    assert f"<p>Hello</p>{SCRIPT}" in page.text


@pytest.mark.parametrize("link", ["javascript:alert(1)", "data:text/html,x", "//evil.example"])
def test_links_that_would_run_something_are_text(api: Api, link: str) -> None:
    item_id = seed_item(
        api, title=SCRIPT + "t", link=link, enclosures=[{"url": link}], author=SCRIPT
    )
    page = get_page(api, path_of(item_id))
    assert link in page.text
    assert link not in page.links()
    for html in (page.html, get_page(api, "/admin/items").html):
        assert SCRIPT not in html


def test_item_leads_to_its_imports_and_to_its_dead_letter(api: Api) -> None:
    api.post("/feeds", {"source": "lwn", "url": "https://lwn.net/rss"})
    [begun] = api.post("/imports/start").json()["imports"]
    item_id = seed_item(api, title="x")
    assert "by an import that is no longer kept" in get_page(api, path_of(item_id)).text
    api.stores.database.collection("items").update_one(
        {"_id": item_id}, {"$set": {"created_by": begun["id"], "modified_by": None}}
    )
    page = get_page(api, path_of(item_id))
    assert f"/admin/imports/{begun['id']}" in page.links()
    assert "by no import: another program added it" in page.text
    assert "/admin/feeds/lwn" in page.links()
    assert "dead letter" not in page.text.replace("Dead letters", "")
    letter = make_letter_of("1", item_id=item_id, source="lwn", revision=2, reason=SCRIPT)
    api.stores.dead_letters.record_many([letter])
    page = get_page(api, path_of(item_id))
    assert f"Other content of this item is a dead letter: {SCRIPT}" in page.text
    assert "/admin/dlq/lwn%231" in page.links()
    removed = make_letter_of(
        "1", item_id=item_id, source="lwn", revision=3, kind=LetterKind.REMOVED
    )
    api.stores.dead_letters.record_many([removed])
    assert "An operator removed content of this item." in get_page(api, path_of(item_id)).text


def test_item_leads_to_the_next_older_one_of_its_source(api: Api) -> None:
    for guid in ("1", "2"):
        api.clock.advance(seconds=60)
        seed_item(api, guid, title=f"Title {guid}")
    page = get_page(api, path_of("lwn#2"))
    assert "Older: Title 1" in page.text
    assert page.all("a", rel="next", href=path_of("lwn#1"))
    assert "Older:" not in get_page(api, path_of("lwn#1")).text


def test_feed_is_shown_by_its_title(api: Api) -> None:
    api.post("/feeds", {"source": "lwn", "url": "https://lwn.net/rss", "title": "LWN Weekly"})
    item_id = seed_item(api)
    for path in ("/admin/items", path_of(item_id)):
        page = get_page(api, path)
        assert "LWN Weekly" in page.text
        assert page.all("a", href="/admin/feeds/lwn", title="lwn")
    assert items(get_page(api, "/admin/feeds/lwn")) == ["1"]


def test_text_that_is_content_and_summary_alike_is_shown_once(api: Api) -> None:
    item_id = seed_item(api, content="<p>Same</p>", summary="<p>Same</p>")
    assert len(get_page(api, path_of(item_id)).all("iframe")) == 1
    assert "The feed gives no text" in get_page(api, path_of(seed_item(api, "2"))).text


def test_long_documents_are_cut_until_all_is_asked_for(api: Api) -> None:
    item_id = seed_item(api, link="https://lwn.net/" + "x" * 20_000 + "the-end")
    page = get_page(api, path_of(item_id))
    [more] = [link for link in page.links() if link.endswith("?whole=1")]
    assert 'the-end"' not in page.text
    assert 'the-end"' in get_page(api, more).text


def test_item_is_found_by_whatever_id_it_has(api: Api) -> None:
    # No percent sign: the test client decodes twice.
    item_id = seed_item(api, 'https://lwn.net/a?b=1&c=/#d é"<', title="Found")
    [link] = [link for link in get_page(api, "/admin/items").links() if "/admin/items/" in link]
    assert link == path_of(item_id)
    assert "Found" in get_page(api, link).text


def test_item_that_another_program_wrote_is_shown_as_far_as_it_goes(api: Api) -> None:
    item_id = seed_item(
        api, enclosures=[{"type": "audio/mpeg"}], extra=[{"value": 1}, {"name": "n"}]
    )
    answer = api.client.get(f"/admin/items/{quote(item_id, safe='')}")
    assert answer.status_code == 200
    assert "audio/mpeg" in answer.text


def test_unknown_item_is_not_found(api: Api) -> None:
    assert "There is no item 'lwn#none'" in get_page(api, "/admin/items/lwn%23none", 404).text


@pytest.mark.parametrize("spoilt", ["soon", 17, {"at": "noon"}])
def test_times_that_another_program_spoilt_are_shown_as_they_are(api: Api, spoilt: object) -> None:
    item_id = seed_item(api, title="Rust")
    collection = api.stores.database.collection("items")
    collection.update_one({"_id": item_id}, {"$set": {"modified_at": spoilt, "updated_at": spoilt}})
    page = get_page(api, path_of(item_id)).text
    assert "Rust" in page
    assert str(spoilt) in page
    assert items(get_page(api, "/admin/items")) == ["1"]
