"""No two feeds with the same URLs: also on data of versions that let them be."""

from typing import Any

import pytest

from shared.errors import ConflictError
from shared.store import Feed, Stores
from tests.factories import NOON

URL, OTHER = "https://a.example/feed.xml", "https://b.example/feed.xml"


def seed_feed_of_an_earlier_version(
    stores: Stores, source: str, urls: list[str], *, hour: int = 1, **fields: Any
) -> None:
    """Store a feed as it was before its URLs had a key."""
    feeds = stores.database.collection("feeds")
    created_at = NOON.replace(hour=hour)
    feeds.insert_one(
        {"_id": source, "urls": urls, "created_at": created_at, "enabled": True, **fields}
    )


def keys_of(stores: Stores) -> dict[str, str]:
    found = stores.database.collection("feeds").find({"urls_key": {"$exists": True}})
    return {each["_id"]: each["urls_key"] for each in found}


def test_feeds_without_a_url_are_never_the_same(stores: Stores) -> None:
    stores.ensure_indexes()
    for source in ("a", "b"):
        stores.feeds.insert(Feed(source, [], NOON))
        stores.feeds.insert(Feed(f"{source}2", [f"https://{source}.example/"], NOON))
        assert stores.feeds.update(f"{source}2", {"urls": []})
    assert keys_of(stores) == {}


def test_urls_are_the_same_as_a_whole_and_in_order(stores: Stores) -> None:
    stores.ensure_indexes()
    for source, urls in {"a": [URL], "b": [URL, OTHER], "c": [OTHER, URL], "d": [OTHER]}.items():
        stores.feeds.insert(Feed(source, urls, NOON))
    with pytest.raises(ConflictError, match="another feed has the URLs given for 'e'"):
        stores.feeds.insert(Feed("e", [URL, OTHER], NOON))
    with pytest.raises(ConflictError, match="another feed has the URLs given for 'a'"):
        stores.feeds.update("a", {"urls": [OTHER]})
    found = stores.feeds.find_by_urls([OTHER, URL])
    assert found is not None
    assert found.source == "c"


def test_duplicates_of_an_earlier_version_work_on_and_the_oldest_has_the_urls(
    stores: Stores,
) -> None:
    for source, hour in {"youngest": 3, "oldest": 1, "middle": 2}.items():
        seed_feed_of_an_earlier_version(stores, source, [URL], hour=hour)
    seed_feed_of_an_earlier_version(stores, "other", [OTHER])
    seed_feed_of_an_earlier_version(stores, "none", [])
    stores.ensure_indexes()
    assert stores.feeds.repair_url_keys() == ["middle", "youngest"]
    assert stores.feeds.repair_url_keys() == ["middle", "youngest"]
    assert keys_of(stores).keys() == {"oldest", "other"}
    found = stores.feeds.find_by_urls([URL])
    assert found is not None
    assert found.source == "oldest"
    assert stores.feeds.update("middle", {"interval_s": 60})

    # The next in age takes its place.
    stores.feeds.delete("oldest")
    assert stores.feeds.find_by_urls([URL]) is not None
    assert stores.feeds.repair_url_keys() == ["youngest"]
    with pytest.raises(ConflictError):
        stores.feeds.insert(Feed("new", [URL], NOON))


def test_keys_that_do_not_fit_their_urls_are_put_right(stores: Stores) -> None:
    stores.ensure_indexes()
    stores.feeds.insert(Feed("a", [URL], NOON))
    stores.feeds.insert(Feed("b", [OTHER], NOON))
    # As an earlier version changes a feed: it knows of no key.
    feeds = stores.database.collection("feeds")
    feeds.update_one({"_id": "a"}, {"$set": {"urls": ["https://c.example/"]}})
    feeds.update_one({"_id": "b"}, {"$set": {"urls": [URL]}})
    assert stores.feeds.repair_url_keys() == []
    stores.feeds.insert(Feed("c", [OTHER], NOON))
    with pytest.raises(ConflictError):
        stores.feeds.insert(Feed("d", [URL], NOON))
