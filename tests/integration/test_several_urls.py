"""One feed with two URLs that disagree about an item: the last change that was fetched wins."""

import pytest

from shared.store import StoredValidators
from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for

OTHER = "other"


@pytest.fixture
def two_urls(harness: Harness) -> Harness:
    harness.server.services.feeds.add([feed_url(SOURCE), feed_url(OTHER)], source=SOURCE)
    return harness


def test_the_first_url_that_lists_an_item_wins(two_urls: Harness) -> None:
    two_urls.publisher.show(OTHER, {"1": "B", "2": "only here"})
    imported = two_urls.poll({"1": "A"})
    two_urls.come_to_rest()
    assert (imported.counts["fetched"], imported.counts["duplicate"]) == (3, 1)
    assert_accounted_for(two_urls, {"1": "A", "2": "only here"})


def test_of_two_urls_that_disagree_the_last_change_is_stored(two_urls: Harness) -> None:
    two_urls.publisher.show(OTHER, {"1": "B"})
    two_urls.poll({"1": "A"})
    two_urls.come_to_rest()
    two_urls.publisher.show(OTHER, {"1": "C"})
    two_urls.poll()
    two_urls.come_to_rest()
    assert_accounted_for(two_urls, {"1": "C"})
    two_urls.poll({"1": "D"})
    two_urls.come_to_rest()
    assert_accounted_for(two_urls, {"1": "D"})


def test_older_content_of_one_url_that_still_waits_loses_to_the_other(two_urls: Harness) -> None:
    two_urls.publisher.show(OTHER, {})
    two_urls.poll({"1": "A"})
    two_urls.publisher.show(OTHER, {"1": "B"})
    two_urls.poll()
    two_urls.come_to_rest()
    assert_accounted_for(two_urls, {"1": "B"})


def test_two_urls_without_news_are_not_modified(two_urls: Harness) -> None:
    two_urls.publisher.show(OTHER, {"2": "B"})
    two_urls.poll({"1": "A"})
    two_urls.come_to_rest()
    again = two_urls.poll()
    assert [fetch["not_modified"] for fetch in again.fetches] == [True, True]
    assert_accounted_for(two_urls, {"1": "A", "2": "B"})


def empty(title: str) -> str:
    return f'<rss version="2.0"><channel><title>{title}</title></channel></rss>'


def validators(harness: Harness, source: str) -> StoredValidators:
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    return feed.validators[feed_url(source)]


def test_a_url_that_never_listed_an_item_is_not_suspicious_for_what_another_lists(
    two_urls: Harness,
) -> None:
    two_urls.publisher.show_document(OTHER, empty("nothing"))
    two_urls.poll({"1": "A"})
    two_urls.come_to_rest()
    before = validators(two_urls, OTHER)
    two_urls.publisher.show_document(OTHER, empty("still nothing"))
    assert two_urls.poll().warnings == []
    two_urls.come_to_rest()
    assert validators(two_urls, OTHER) != before
    assert two_urls.poll().fetches[1]["not_modified"]


def test_a_url_that_lists_nothing_any_more_is_named_and_asked_for_again(two_urls: Harness) -> None:
    two_urls.publisher.show(OTHER, {"2": "B"})
    two_urls.poll({"1": "A"})
    two_urls.come_to_rest()
    before = validators(two_urls, OTHER)
    two_urls.publisher.show_document(OTHER, empty("a mishap"))
    for _ in range(2):
        warned = two_urls.poll()
        assert warned.warnings == [f"{feed_url(OTHER)}: listed items before and now lists none"]
        assert [fetch["not_modified"] for fetch in warned.fetches] == [True, False]
        two_urls.come_to_rest()
        assert validators(two_urls, OTHER) == before
