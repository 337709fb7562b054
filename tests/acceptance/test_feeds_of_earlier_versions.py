"""A server on a record in which several feeds have one URL, as earlier versions let them."""

from tests.processes import Deploy
from tests.publisher import Publisher

FEED = '<rss version="2.0"><channel><item><guid>1</guid><title>a</title></item></channel></rss>'


def test_server_starts_on_duplicates_names_them_and_fetches_both(
    deploy: Deploy, publisher: Publisher
) -> None:
    deployed = deploy()
    server = deployed.start_server()
    deployed.start_worker()
    url = publisher.serve("/feed.xml", FEED)
    deployed.wait_until_closed(deployed.start_import(url=url, source="first"))
    feeds = deployed.mongo.get_default_database()["feeds"]
    first = feeds.find_one_and_update({"_id": "first"}, {"$unset": {"urls_key": True}})
    assert first is not None
    feeds.insert_one({**first, "_id": "second", "urls_key": "of an earlier version"})
    feeds.update_one({"_id": "second"}, {"$unset": {"urls_key": True}})
    server.terminate()

    server = deployed.start_server()
    assert "feeds_with_urls_of_others" in server.said()
    answer = deployed.api.post("/imports/start", json={"sources": ["first", "second"]})
    ended = [deployed.wait_until_closed(each["id"]) for each in answer.json()["imports"]]
    assert [each["state"] for each in ended] == ["completed", "completed"]
    assert deployed.api.post("/imports/start", json={"url": url}).status_code == 202
    assert deployed.api.post("/feeds", json={"url": url}).status_code == 409
