"""A server on a record in which several feeds have one URL, as earlier versions let them."""

from datetime import UTC, datetime

from shared.store.feed_documents import Feed, to_document
from tests.processes import Deploy
from tests.publisher import Publisher

FEED = '<rss version="2.0"><channel><item><guid>1</guid><title>a</title></item></channel></rss>'


def test_server_starts_on_duplicates_names_them_and_fetches_both(
    deploy: Deploy, publisher: Publisher
) -> None:
    deployed = deploy()
    url = publisher.serve("/feed.xml", FEED)
    feeds = deployed.mongo.get_default_database()["feeds"]
    for source in ("first", "second"):
        document = to_document(Feed(source, [url], datetime.now(UTC)))
        del document["urls_key"]
        feeds.insert_one(document)

    server = deployed.start_server()
    assert "feeds_with_urls_of_others" in server.said()
    deployed.start_worker()
    answer = deployed.api.post("/imports/start", json={"sources": ["first", "second"]})
    ended = [deployed.wait_until_closed(each["id"]) for each in answer.json()["imports"]]
    assert [each["state"] for each in ended] == ["completed", "completed"]
    assert deployed.api.post("/imports/start", json={"url": url}).status_code == 202
    assert deployed.api.post("/feeds", json={"url": url}).status_code == 409
