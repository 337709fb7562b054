"""A feed's document that somebody has spoilt, as it is seen and got rid of through the API."""

import pytest

from shared.store import ImportState
from tests.api import Api

URL = "https://a.example/feed.xml"
SECRET = "s3cr3t"
SPOILT = {
    "urls": [f"https://me:{SECRET}@a.example:8O80/feed"],
    "headers": f"Authorization: {SECRET}",
    "interval_s": SECRET,
}


def spoil(api: Api, field: str) -> None:
    assert api.post("/feeds", {"url": URL, "source": "news"}).status_code == 201
    feeds = api.stores.database.collection("feeds")
    assert feeds.update_one({"_id": "news"}, {"$set": {field: SPOILT[field]}}).modified_count == 1


@pytest.mark.parametrize("field", SPOILT)
def test_what_cannot_be_read_is_named_with_the_remedy_and_without_its_content(
    api: Api, field: str
) -> None:
    spoil(api, field)
    for answer in (api.client.get("/feeds/news"), api.client.patch("/feeds/news", json={})):
        assert answer.status_code == 500
        assert answer.json()["detail"] == (
            "feeds: document 'news' cannot be read: run 'feedmill doctor', which says why; "
            "correct it in MongoDB, or delete it"
        )
    page = api.client.get("/admin/feeds/news")
    assert (page.status_code, SECRET in page.text) == (500, False)
    assert "feedmill doctor" in page.text


def test_a_feed_that_cannot_be_read_can_be_deleted(api: Api) -> None:
    [begun] = api.post("/imports/start", {"url": URL, "source": "news"}).json()["imports"]
    feeds = api.stores.database.collection("feeds")
    feeds.update_one({"_id": "news"}, {"$set": {"urls": SPOILT["urls"]}})
    assert api.client.delete("/feeds/news").status_code == 204
    assert api.client.get("/feeds/news").status_code == 404
    failed = api.stores.imports.get(begun["id"])
    assert failed is not None
    assert (failed.state, failed.error_kind) == (ImportState.FAILED, "feed_deleted")
