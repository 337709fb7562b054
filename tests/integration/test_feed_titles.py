"""What a feed's document is called is stored with the feed, whenever an import has read one."""

import pytest

from shared.store import Feed
from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness


def titled(title: str) -> str:
    return f'<rss version="2.0"><channel><title>{title}</title></channel></rss>'


@pytest.fixture
def feed(harness: Harness) -> Harness:
    harness.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE)
    return harness


def stored(harness: Harness) -> Feed:
    found = harness.stores.feeds.get(SOURCE)
    assert found is not None
    return found


def poll(harness: Harness, document: str) -> Feed:
    harness.publisher.show_document(SOURCE, document)
    harness.poll()
    harness.come_to_rest()
    return stored(harness)


def test_title_is_that_of_the_last_document_that_has_one(feed: Harness) -> None:
    assert poll(feed, titled("Old")).document_title == "Old"
    assert poll(feed, titled("New &amp;amp; &lt;b&gt;bold&lt;/b&gt;\n  news")).document_title == (
        "New & bold news"
    )
    assert poll(feed, titled(" ")).document_title == "New & bold news"
    assert poll(feed, titled("x" * 500)).document_title == "x" * 200


def test_title_that_somebody_gave_stays(feed: Harness) -> None:
    feed.server.services.feeds.change(SOURCE, {"title": "Mine"})
    named = poll(feed, titled("Theirs"))
    assert (named.title, named.document_title, named.shown_title) == ("Mine", "Theirs", "Mine")
