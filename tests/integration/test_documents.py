"""What a document that is damaged, is no feed, or lists nothing more leaves behind."""

from collections.abc import Sequence

import pytest

from shared.store import Import, ImportState, StoredValidators
from tests.fake_publisher import feed_url, render
from tests.harness import SOURCE, Harness

OTHER = "other"


def rss(*items: str) -> str:
    return f'<rss version="2.0"><channel>{"".join(items)}</channel></rss>'


def item(guid: str, link: str | None = None) -> str:
    address = link if link is not None else f"https://site.example/{guid}"
    return f"<item><guid isPermaLink='false'>{guid}</guid><link>{address}</link></item>"


def cut(*items: str) -> str:
    """Return a feed that breaks off behind these items, inside one more."""
    return rss(*items, "<item><guid>half").partition("half")[0] + "half"


def poll(harness: Harness, document: str, source: str = SOURCE) -> Import:
    """Import a document's bytes from a feed's URL, and store what is new."""
    harness.publisher.show_document(source, document)
    imported = harness.poll()
    harness.come_to_rest()
    closed = harness.stores.imports.get(imported.import_id)
    assert closed is not None
    return closed


def is_not_modified(imported: Import) -> bool:
    return all(fetch["not_modified"] for fetch in imported.fetches)


def validators(harness: Harness) -> dict[str, StoredValidators]:
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    return feed.validators


def guids(harness: Harness) -> list[str]:
    return sorted(each["guid"] for each in harness.database.collection("items").find({}))


@pytest.fixture
def fed(harness: Harness) -> Harness:
    """A harness whose feed was imported once, whole, with two items."""
    harness.subscribe({})
    poll(harness, rss(item("1"), item("2")))
    assert validators(harness)[feed_url(SOURCE)].body_hash
    return harness


NO_FEEDS = {
    "html": "<!DOCTYPE html><title>Not found</title>",
    "waf_challenge": "<html><title>Just a moment...</title></html>",
    "json_error": '{"error": "no such feed"}',
    "empty": " ",
    "not_a_feed": "<opml version='2.0'/>",
    "damaged": "<rss><channel><title>3",
}


@pytest.mark.parametrize("kind", NO_FEEDS)
def test_what_is_no_feed_fails_with_its_kind_and_moves_nothing(fed: Harness, kind: str) -> None:
    before = validators(fed)
    failed = poll(fed, NO_FEEDS[kind])
    assert failed.state == ImportState.FAILED
    assert (failed.error or "").startswith(f"{kind}: ")
    assert validators(fed) == before
    assert guids(fed) == ["1", "2"]


@pytest.mark.parametrize("broken", [cut(item("3")), cut(item("2"), item("3"))])
def test_a_salvaged_document_adds_its_whole_items_and_moves_no_validators(
    fed: Harness, broken: str
) -> None:
    before = validators(fed)
    salvaged = poll(fed, broken)
    assert salvaged.state == ImportState.COMPLETED
    assert any("damaged" in warning for warning in salvaged.warnings)
    assert (salvaged.counts["new"], salvaged.counts["dead"]) == (1, 0)
    assert validators(fed) == before
    assert guids(fed) == ["1", "2", "3"]


def test_a_salvaged_json_feed_does_the_same(fed: Harness) -> None:
    before = validators(fed)
    whole = render({"3": "whole", "4": "half"}).decode()
    salvaged = poll(fed, whole.partition('"half"')[0])
    assert any("damaged" in warning for warning in salvaged.warnings)
    assert (guids(fed), validators(fed)) == (["1", "2", "3"], before)


def test_the_same_damaged_document_is_read_again_until_it_is_whole(fed: Harness) -> None:
    broken = cut(item("3"))
    assert not any(is_not_modified(poll(fed, broken)) for _ in range(3))
    poll(fed, rss(item("3"), item("half")))
    assert guids(fed) == ["1", "2", "3", "half"]
    assert is_not_modified(poll(fed, rss(item("3"), item("half"))))


def test_a_damaged_first_document_leaves_no_validators(harness: Harness) -> None:
    harness.subscribe({})
    poll(harness, cut(item("1")))
    assert (guids(harness), validators(harness)) == (["1"], {})


def test_a_handed_in_document_that_is_damaged_can_be_handed_in_again(harness: Harness) -> None:
    for _ in range(2):
        [started] = harness.server.services.starter.start_document(cut(item("1")).encode(), SOURCE)
        harness.come_to_rest()
        imported = harness.stores.imports.get(started.import_id)
        assert imported is not None
        assert imported.state == ImportState.COMPLETED
        assert not is_not_modified(imported)
    assert (guids(harness), validators(harness)) == (["1"], {})


def test_a_feed_that_shrank_to_nothing_is_warned_of_and_moves_no_validators(fed: Harness) -> None:
    before = validators(fed)
    for _ in range(2):
        empty = poll(fed, rss())
        assert empty.state == ImportState.COMPLETED
        assert not is_not_modified(empty)
        assert any("lists none" in warning for warning in empty.warnings)
        assert validators(fed) == before
    assert guids(fed) == ["1", "2"]


def test_a_handed_in_document_that_shrank_to_nothing_is_warned_of(harness: Harness) -> None:
    for document in (rss(item("1")), rss()):
        [started] = harness.server.services.starter.start_document(document.encode(), SOURCE)
        harness.come_to_rest()
    imported = harness.stores.imports.get(started.import_id)
    assert imported is not None
    assert imported.warnings == ["the document: listed items before and now lists none"]


def test_a_feed_that_never_listed_anything_is_not_warned_of(harness: Harness) -> None:
    harness.subscribe({})
    assert poll(harness, rss()).warnings == []
    assert is_not_modified(poll(harness, rss()))


def test_of_two_urls_only_the_damaged_one_keeps_its_validators(harness: Harness) -> None:
    harness.server.services.feeds.add([feed_url(SOURCE), feed_url(OTHER)], source=SOURCE)
    poll(harness, rss(item("1")))
    before = validators(harness)
    harness.publisher.show_document(OTHER, rss(item("2")))
    poll(harness, cut(item("3")))
    after = validators(harness)
    assert after[feed_url(SOURCE)] == before[feed_url(SOURCE)]
    assert after[feed_url(OTHER)] != before[feed_url(OTHER)]
    assert guids(harness) == ["1", "2", "3"]


FIRST, SECOND = item("N", "https://site.example/1"), item("N", "https://site.example/2")


@pytest.mark.parametrize(
    "later", [(FIRST,), (SECOND,), (SECOND, FIRST), (item("new"), SECOND), (FIRST, SECOND, FIRST)]
)
def test_a_suffix_once_given_stays_whatever_the_feed_lists_later(
    harness: Harness, later: Sequence[str]
) -> None:
    harness.subscribe({})
    poll(harness, rss(FIRST, SECOND))
    named = guids(harness)
    assert [guid.partition("~")[0] for guid in named] == ["N", "N"]
    assert poll(harness, rss(*later)).counts["new"] == later.count(item("new"))
    assert [guid for guid in guids(harness) if guid != "new"] == named


def test_a_suffix_stays_for_another_server_and_after_an_empty_feed(harness: Harness) -> None:
    harness.subscribe({})
    poll(harness, rss(FIRST, SECOND))
    named = guids(harness)
    poll(harness, rss())
    harness.replace_roles()
    assert poll(harness, rss(SECOND)).counts["unchanged"] == 1
    assert guids(harness) == named


def test_two_urls_that_use_one_guid_for_different_items_keep_both(harness: Harness) -> None:
    harness.server.services.feeds.add([feed_url(SOURCE), feed_url(OTHER)], source=SOURCE)
    harness.publisher.show_document(OTHER, rss(SECOND, item("same")))
    imported = poll(harness, rss(FIRST, item("same")))
    assert (imported.counts["new"], imported.counts["duplicate"]) == (3, 1)
    named = guids(harness)
    harness.publisher.show_document(OTHER, rss(item("same")))
    poll(harness, rss(FIRST, item("same")))
    assert guids(harness) == named
