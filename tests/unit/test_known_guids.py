"""What a source has shown decides what its items are called: the same at every poll."""

import json
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any, cast

import mongomock
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.importing.identity import Identified, identify
from server.importing.merging import identify_known
from server.parsing import ParsedEntry, parse_feed
from shared.models import content_hash, job_data, make_item_id
from shared.store import Import, ImportState, ItemStore, SourceStore, Stores
from shared.store.database import Database

NOW = datetime(2026, 11, 3, tzinfo=UTC)
SOURCE = "lwn"
PAGE = "https://case.example.test/releases"


class Source:
    """One source's record in memory, and what importing does to it."""

    def __init__(self) -> None:
        memory = mongomock.MongoClient(tz_aware=True).get_database("test")
        database = cast(Database, SimpleNamespace(collection=lambda name: memory[name]))
        self.items = memory["items"]
        self.sources = SourceStore(database)
        quiet = SimpleNamespace(
            sources=self.sources,
            items=ItemStore(database),
            dead_letters=SimpleNamespace(read_many=lambda _: {}),
            imports=SimpleNamespace(find_open=lambda _: []),
        )
        self.stores = cast(Stores, quiet)
        self.importing = Import(
            import_id="1",
            source=SOURCE,
            urls=[],
            trigger="api",
            state=ImportState.FETCHING,
            requested_at=NOW,
        )

    def poll(self, *documents: list[Mapping[str, Any]]) -> Identified:
        """Identify the items of an import, and store them."""
        identified = identify_known(self.stores, self.importing, [read(one) for one in documents])
        for item in identified.items:
            data = job_data(SOURCE, item)
            kept = {"title": item.title, "content_hash": content_hash(data)}
            item_id = make_item_id(SOURCE, item.guid)
            self.items.replace_one({"_id": item_id}, {"_id": item_id, **kept}, upsert=True)
        return identified

    def titles(self) -> dict[str, str]:
        """Return the stored titles by guid."""
        return {one["_id"].partition("#")[2]: one["title"] for one in self.items.find()}


def read(items: Iterable[Mapping[str, Any]]) -> tuple[ParsedEntry, ...]:
    feed = {"version": "https://jsonfeed.org/version/1.1", "items": list(items)}
    return parse_feed(json.dumps(feed).encode(), content_type=None, url=None, now=NOW).entries


def make_item(number: int, **fields: Any) -> dict[str, Any]:
    """Return an item whose title and date no other one has."""
    date = f"2026-10-{number + 1:02}T10:00:00Z"
    return {"title": f"Post {number}", "date_published": date} | fields


shared_parts = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from([PAGE, PAGE.replace("https", "http"), "podcast"]),
        "url": st.sampled_from([PAGE, "https://case.example.test/"]),
        "attachments": st.sampled_from([[{"url": f"{PAGE}/1.mp3"}], [{"url": f"{PAGE}/2.mp3"}]]),
    },
)
feeds = st.lists(shared_parts, min_size=1, max_size=8).map(
    lambda parts: [make_item(number, **fields) for number, fields in enumerate(parts)]
)


@given(feeds, st.randoms(use_true_random=False))
def test_no_guid_depends_on_the_order_of_entries(items: list[Any], random: Any) -> None:
    shuffled = items.copy()
    random.shuffle(shuffled)
    found = [identify([read(some)], colliding=()) for some in (items, shuffled)]
    named = [{item.title: item.guid for item in one.items} for one in found]
    assert named[0] == named[1]
    assert found[0].colliding == found[1].colliding


@given(feeds)
def test_items_of_which_nothing_but_shared_parts_is_equal_are_all_kept(items: list[Any]) -> None:
    identified = identify([read(items)], colliding=())
    assert (len(identified.items), identified.duplicates) == (len(items), 0)


@settings(max_examples=60)
@given(feeds, st.randoms(use_true_random=False))
def test_a_growing_feed_never_renames_an_item(items: list[Any], random: Any) -> None:
    source = Source()
    named: dict[str, str] = {}
    for size in range(1, len(items) + 1):
        shown = items[:size]
        random.shuffle(shown)
        for item in source.poll(shown).items:
            assert named.setdefault(str(item.title), item.guid) == item.guid
    assert source.titles() == {guid: title for title, guid in named.items()}
    assert len(named) == len(items)


@settings(max_examples=60)
@given(feeds, st.lists(st.randoms(use_true_random=False), min_size=2, max_size=5))
def test_a_feed_once_seen_whole_keeps_its_ids_whatever_part_of_it_it_shows(
    items: list[Any], randoms: list[Any]
) -> None:
    source = Source()
    source.poll(items)
    stored = source.titles()
    for random in randoms:
        source.poll(random.sample(items, random.randint(1, len(items))))
        assert source.titles() == stored


def test_of_items_that_are_alike_none_takes_the_guid_that_they_share() -> None:
    source = Source()
    source.poll([make_item(1, url=PAGE, title="Post")])
    both = [make_item(n, url=PAGE, title="Post", date_published=f"2026-10-0{n}") for n in (2, 3)]
    assert PAGE not in {item.guid for item in source.poll(both).items}


def test_who_keeps_a_guid_is_decided_once() -> None:
    source = Source()
    source.sources.keep_guid(SOURCE, "shared", "one", "shared")
    source.sources.keep_guid(SOURCE, "shared", "two", "shared")
    known = source.sources.read_known_guids(SOURCE)
    assert (known.colliding, known.aliases) == ({"shared"}, {"one": "shared"})


def test_a_title_stored_as_text_is_recognised_in_its_html() -> None:
    source = Source()
    source.poll([make_item(1, url=PAGE, title="R&amp;D: the <b>new</b>  lab")])
    source.items.update_many({}, {"$set": {"title": "R&D: the new lab", "content_hash": "0:other"}})
    source.poll(
        [make_item(2, url=PAGE), make_item(1, url=PAGE, title="R&amp;D: the <b>new</b> lab")]
    )
    assert len(source.titles()) == 2


@pytest.mark.parametrize("count", [1, 3])
def test_documents_that_list_the_same_items_give_each_once(count: int) -> None:
    items = [make_item(n, url=PAGE) for n in range(4)]
    identified = Source().poll(*[items] * count)
    assert (len(identified.items), identified.duplicates) == (4, 4 * (count - 1))


def test_documents_that_name_one_link_differently_mean_one_item() -> None:
    berlin, munich = [make_item(1, url=PAGE)], [make_item(1, url=PAGE, title="Post 1 (Munich)")]
    identified = Source().poll(berlin, munich)
    assert (len(identified.items), identified.duplicates) == (1, 1)


def test_documents_that_give_one_link_to_different_posts_lose_none() -> None:
    identified = Source().poll([make_item(1, url=PAGE)], [make_item(2, url=PAGE)])
    assert (len(identified.items), identified.duplicates) == (2, 0)
