"""Guids that are URLs and move from http to https, or back: no item gets a twin."""

import json
from collections.abc import Iterable, Mapping
from unittest import mock

import pytest

from shared.store import Import
from shared.store.items import ItemStore
from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness

HTTP, HTTPS = "http://case.example.test", "https://case.example.test"


def document(urls: Iterable[str], **fields: str) -> str:
    """Return a feed of items whose ids are URLs; what they link to stays."""
    items = [
        {"id": url, "url": f"{HTTPS}/page{url[-2:]}", "title": f"Post {url[-1]}"} | fields
        for url in urls
    ]
    return json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": items})


def poll(harness: Harness, urls: Iterable[str], **fields: str) -> dict[str, int]:
    """Import a feed of these ids to the end; returns the counts that are not 0."""
    return poll_document(harness, document(urls, **fields))


def poll_document(harness: Harness, body: str, *, force: bool = False) -> dict[str, int]:
    harness.publisher.show_document(SOURCE, body)
    started = harness.server.start(SOURCE, force=force)
    harness.come_to_rest()
    found = harness.stores.imports.get(started.import_id)
    assert isinstance(found, Import)
    return {name: count for name, count in found.counts.items() if count and name != "fetched"}


def stored(harness: Harness) -> set[str]:
    return {item["guid"] for item in harness.database.collection("items").find()}


def aliases(harness: Harness) -> Mapping[str, str]:
    return harness.stores.sources.read_known_guids(SOURCE).aliases


@pytest.fixture
def feed(harness: Harness) -> Harness:
    harness.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE)
    return harness


@pytest.mark.parametrize(("old", "new"), [(HTTP, HTTPS), (HTTPS, HTTP)])
def test_an_item_whose_guid_moves_keeps_its_stored_id(feed: Harness, old: str, new: str) -> None:
    poll(feed, [f"{old}/1", f"{old}/2"])
    assert poll(feed, [f"{new}/3", f"{new}/2", f"{new}/1"]) == {"new": 1, "unchanged": 2}
    assert stored(feed) == {f"{old}/1", f"{old}/2", f"{new}/3"}
    assert poll(feed, [f"{new}/1"], title="edited") == {"updated": 1}
    assert poll(feed, [f"{old}/1"], title="edited") == {"unchanged": 1}
    assert stored(feed) == {f"{old}/1", f"{old}/2", f"{new}/3"}


def test_a_link_that_identifies_an_item_may_move_too(feed: Harness) -> None:
    def rss(link: str) -> str:
        item = f"<item><title>One</title><link>{link}</link></item>"
        return f'<rss version="2.0"><channel><title>t</title>{item}</channel></rss>'

    poll_document(feed, rss(f"{HTTP}/1"))
    assert poll_document(feed, rss(f"{HTTPS}/1")) == {"updated": 1}
    assert poll_document(feed, rss(f"{HTTPS}/1") + "<!-- -->") == {"unchanged": 1}
    assert stored(feed) == {f"{HTTP}/1"}


def test_two_items_listed_together_stay_two(feed: Harness) -> None:
    assert poll(feed, [f"{HTTP}/1", f"{HTTPS}/1"]) == {"new": 2}
    assert poll(feed, [f"{HTTPS}/1", f"{HTTP}/2"]) == {"new": 1, "unchanged": 1}
    assert poll(feed, [f"{HTTPS}/2", f"{HTTP}/2"]) == {"new": 1, "unchanged": 1}
    assert aliases(feed) == {}


def test_once_followed_a_guid_is_followed_also_when_both_are_listed(feed: Harness) -> None:
    poll(feed, [f"{HTTP}/1"])
    poll(feed, [f"{HTTPS}/1"])
    assert aliases(feed) == {f"{HTTPS}/1": f"{HTTP}/1"}
    assert poll(feed, [f"{HTTPS}/1", f"{HTTP}/1"]) == {"unchanged": 1, "duplicate": 1}
    assert stored(feed) == {f"{HTTP}/1"}


def test_the_items_of_another_source_are_no_twins(feed: Harness) -> None:
    feed.server.services.feeds.add([feed_url("other")], source="other")
    feed.publisher.show_document("other", document([f"{HTTP}/1"]))
    feed.server.start("other")
    feed.come_to_rest()
    assert poll(feed, [f"{HTTPS}/1"]) == {"new": 1}


def test_an_item_that_still_waits_is_found(feed: Harness) -> None:
    feed.publisher.show_document(SOURCE, document([f"{HTTP}/1"]))
    feed.poll()
    feed.publisher.show_document(SOURCE, document([f"{HTTPS}/1"]))
    feed.poll()
    feed.come_to_rest()
    assert stored(feed) == {f"{HTTP}/1"}


def test_a_forced_import_follows_too(feed: Harness) -> None:
    poll(feed, [f"{HTTP}/1"])
    assert poll_document(feed, document([f"{HTTPS}/1"]), force=True) == {"unchanged": 1}
    assert stored(feed) == {f"{HTTP}/1"}


def test_a_dead_item_whose_guid_moves_has_one_dead_letter_and_none_when_it_is_stored(
    feed: Harness,
) -> None:
    poll(feed, [f"{HTTP}/1"], title="poison")
    assert poll(feed, [f"{HTTPS}/1"], title="poison") == {"dead": 1}
    letters = feed.database.collection("dead_letters")
    assert [letter["_id"] for letter in letters.find()] == [f"{SOURCE}#{HTTP}/1"]
    assert poll(feed, [f"{HTTPS}/1"]) == {"new": 1}
    assert (stored(feed), list(letters.find())) == ({f"{HTTP}/1"}, [])


def test_an_item_too_large_to_be_stored_dies_under_its_stored_id(feed: Harness) -> None:
    poll(feed, [f"{HTTP}/1"])
    assert poll(feed, [f"{HTTPS}/1"], content_text="x" * 2_000_000) == {"dead": 1}
    letters = feed.database.collection("dead_letters")
    assert [letter["_id"] for letter in letters.find()] == [f"{SOURCE}#{HTTP}/1"]
    assert poll(feed, [f"{HTTPS}/1"], title="small") == {"updated": 1}
    assert list(letters.find()) == []


def test_an_item_that_kept_its_shared_link_keeps_it_when_the_link_moves(feed: Harness) -> None:
    def shown(scheme: str, *titles: str) -> str:
        items = [{"url": f"{scheme}/releases", "title": title} for title in titles]
        return json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": items})

    poll_document(feed, shown(HTTP, "one"))
    poll_document(feed, shown(HTTP, "two", "one"))
    before = stored(feed)
    assert poll_document(feed, shown(HTTPS, "two")) == {"updated": 1}
    assert poll_document(feed, shown(HTTPS, "three", "two", "one")) == {
        "new": 1,
        "updated": 1,
        "unchanged": 1,
    }
    assert poll_document(feed, shown(HTTPS, "one")) == {"unchanged": 1}
    assert before < stored(feed)
    assert len(stored(feed)) == 3


def test_a_link_that_moves_and_turns_out_shared_at_once_keeps_its_item(feed: Harness) -> None:
    def shown(scheme: str, *titles: str) -> str:
        items = [{"url": f"{scheme}/releases", "title": title} for title in titles]
        return json.dumps({"version": "https://jsonfeed.org/version/1.1", "items": items})

    poll_document(feed, shown(HTTP, "one"))
    assert poll_document(feed, shown(HTTPS, "two", "one")) == {"new": 1, "updated": 1}
    assert f"{HTTP}/releases" in stored(feed)
    assert len(stored(feed)) == 2


def test_known_items_cost_no_further_look_up(feed: Harness) -> None:
    poll(feed, [f"{HTTP}/1"])
    poll(feed, [f"{HTTPS}/1", f"{HTTPS}/2"])
    read = mock.Mock(wraps=feed.server.stores.items.read_versions)
    with mock.patch.object(ItemStore, "read_versions", read):
        # Dates alone: another document that says the same.
        assert poll(feed, [f"{HTTPS}/2", f"{HTTPS}/1"], date_modified="2026-10-01T00:00:00Z") == {
            "unchanged": 2
        }
    assert read.call_count == 1


def test_a_source_remembers_a_bounded_number_and_finds_the_rest_again(feed: Harness) -> None:
    urls = [f"{HTTP}/{number:02}" for number in range(5)]
    moved = [url.replace("http:", "https:") for url in urls]
    poll(feed, urls)
    with mock.patch("server.importing.merging.MAX_ALIASES", 3):
        assert poll(feed, moved) == {"unchanged": 5}
        assert len(aliases(feed)) == 3
        assert poll(feed, moved[::-1]) == {"unchanged": 5}
        assert len(aliases(feed)) == 3
    assert stored(feed) == set(urls)
