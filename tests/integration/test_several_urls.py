"""One feed with two URLs that disagree about an item: the last change that was fetched wins."""

import pytest

from tests.mill import SOURCE, Mill
from tests.oracle import assert_accounted_for
from tests.press import feed_url

OTHER = "other"


@pytest.fixture
def two_urls(mill: Mill) -> Mill:
    mill.server.services.feeds.add([feed_url(SOURCE), feed_url(OTHER)], source=SOURCE)
    return mill


def test_the_first_url_that_lists_an_item_wins(two_urls: Mill) -> None:
    two_urls.press.show(OTHER, {"1": "B", "2": "only here"})
    imported = two_urls.poll({"1": "A"})
    two_urls.come_to_rest()
    assert (imported.counts["fetched"], imported.counts["duplicate"]) == (3, 1)
    assert_accounted_for(two_urls, {"1": "A", "2": "only here"})


def test_of_two_urls_that_disagree_the_last_change_is_stored(two_urls: Mill) -> None:
    two_urls.press.show(OTHER, {"1": "B"})
    two_urls.poll({"1": "A"})
    two_urls.come_to_rest()
    two_urls.press.show(OTHER, {"1": "C"})
    two_urls.poll()
    two_urls.come_to_rest()
    assert_accounted_for(two_urls, {"1": "C"})
    two_urls.poll({"1": "D"})
    two_urls.come_to_rest()
    assert_accounted_for(two_urls, {"1": "D"})


def test_older_content_of_one_url_that_still_waits_loses_to_the_other(two_urls: Mill) -> None:
    two_urls.press.show(OTHER, {})
    two_urls.poll({"1": "A"})
    two_urls.press.show(OTHER, {"1": "B"})
    two_urls.poll()
    two_urls.come_to_rest()
    assert_accounted_for(two_urls, {"1": "B"})


def test_two_urls_without_news_are_not_modified(two_urls: Mill) -> None:
    two_urls.press.show(OTHER, {"2": "B"})
    two_urls.poll({"1": "A"})
    two_urls.come_to_rest()
    again = two_urls.poll()
    assert [fetch["not_modified"] for fetch in again.fetches] == [True, True]
    assert_accounted_for(two_urls, {"1": "A", "2": "B"})
