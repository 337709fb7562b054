import itertools
import random
from datetime import UTC, datetime

import pytest

from server.importing.identity import identify
from server.parsing import ParsedEntry
from shared.models import FeedItem

EARLIER, LATER = datetime(2026, 10, 1, tzinfo=UTC), datetime(2026, 10, 2, tzinfo=UTC)


def make_entry(guid: str, link: str | None = None, title: str = "t") -> ParsedEntry:
    return ParsedEntry(FeedItem(guid=guid, link=link, title=title), guid, link, "guid")


def guids(entries: list[list[ParsedEntry]], colliding: tuple[str, ...] = ()) -> list[str]:
    return [item.guid for item in identify(entries, colliding=colliding).items]


def test_items_keep_the_order_of_urls_and_documents() -> None:
    entries = [[make_entry("b"), make_entry("a")], [make_entry("c")]]
    assert guids(entries) == ["b", "a", "c"]


def test_the_first_url_that_lists_a_guid_wins_and_the_others_are_duplicates() -> None:
    first, second = make_entry("a", "https://x/1", "first"), make_entry("a", "https://x/1", "other")
    identified = identify([[first], [second]], colliding=())
    assert [item.title for item in identified.items] == ["first"]
    assert identified.duplicates == 1
    assert identified.colliding == frozenset()


def test_one_guid_with_different_links_gives_every_item_a_suffix() -> None:
    identified = identify([[make_entry("N", "https://x/1"), make_entry("N", "https://x/2")]],
                          colliding=())  # fmt: skip
    assert identified.colliding == {"N"}
    assert identified.duplicates == 0
    assert len({item.guid for item in identified.items}) == 2
    assert all(item.guid.startswith("N~") for item in identified.items)


@pytest.mark.parametrize(
    ("link", "other"),
    [
        ("http://x.example/1", "https://x.example/1"),
        ("https://x.example/1?utm_source=rss&utm_medium=a", "https://x.example/1"),
        ("https://x.example/1?id=1&UTM_Campaign=b#c", "https://x.example/1?id=1#c"),
        ("https://X.example/1", "https://x.example/1"),
        ("https://x.example", "http://x.example/"),
    ],
)
@pytest.mark.parametrize("in_one_document", [True, False])
def test_one_guid_with_one_page_written_in_two_ways_is_one_item(
    link: str, other: str, in_one_document: bool
) -> None:
    first, second = make_entry("N", link), make_entry("N", other)
    documents = [[first, second]] if in_one_document else [[first], [second]]
    identified = identify(documents, colliding=())
    assert [item.guid for item in identified.items] == ["N"]
    assert (identified.duplicates, identified.colliding) == (1, frozenset())


@pytest.mark.parametrize(
    ("link", "other"),
    [
        ("https://x.example/1?id=1&utm_source=rss", "https://x.example/1?id=2&utm_source=rss"),
        ("https://x.example/#1", "https://x.example/#2"),
        ("https://x.example/A", "https://x.example/a"),
        ("https://x.example/[1", "https://x.example/[2"),
        ("tag:one", "tag:two"),
    ],
)
def test_one_guid_with_links_to_different_pages_is_different_items(link: str, other: str) -> None:
    assert len(guids([[make_entry("N", link), make_entry("N", other)]])) == 2


def test_without_links_titles_tell_items_of_one_guid_apart() -> None:
    entries = [[make_entry("N", title="one"), make_entry("N", title="two")]]
    assert len(guids(entries)) == 2


def test_a_suffix_once_given_stays_when_one_item_is_left() -> None:
    both = [[make_entry("N", "https://x/1"), make_entry("N", "https://x/2")]]
    alone = [[make_entry("N", "https://x/2")]]
    assert guids(alone, colliding=("N",)) == guids(both)[1:]


def test_twins_that_still_agree_under_their_suffix_are_duplicates() -> None:
    entries = [[make_entry("N", "https://x/1"), make_entry("N", "https://x/2"),
                make_entry("N", "https://x/1")]]  # fmt: skip
    identified = identify(entries, colliding=())
    assert (len(identified.items), identified.duplicates) == (2, 1)


def test_guids_that_differ_after_the_hash_sign_are_different() -> None:
    assert len(guids([[make_entry("https://x/#1"), make_entry("https://x/#2")]])) == 2


@pytest.mark.parametrize("seed", range(5))
def test_no_guid_depends_on_the_order_of_entries(seed: int) -> None:
    entries = [make_entry(f"g{n % 4}", f"https://x/{n % 6}") for n in range(12)]
    shuffled = entries.copy()
    random.Random(seed).shuffle(shuffled)
    assert sorted(guids([entries])) == sorted(guids([shuffled]))


def test_counts_add_up() -> None:
    entries = [[make_entry(f"g{n % 3}", f"https://x/{n % 4}") for n in range(20)]]
    identified = identify(entries, colliding=())
    assert len(identified.items) + identified.duplicates == 20


def test_a_suffix_depends_on_no_other_item_of_the_guid() -> None:
    """Whatever else shares the guid, in whatever order, now or later: each keeps its own name."""
    links = [f"https://x/{n}" for n in range(4)]
    named = {}
    for kept in itertools.permutations(links, 2):
        found = identify([[make_entry("N", link) for link in kept]], colliding=("N",))
        for item in found.items:
            assert named.setdefault(item.link, item.guid) == item.guid
    assert len(set(named.values())) == len(links)


def test_what_collided_once_is_handed_on_with_what_collides_now() -> None:
    entries = [[make_entry("new", "https://x/1"), make_entry("new", "https://x/2")]]
    assert identify(entries, colliding=("old",)).colliding == {"old", "new"}
    assert identify([[]], colliding=("old",)).colliding == {"old"}


def test_a_guid_that_two_urls_give_to_different_items_collides_in_both() -> None:
    board, archive = [make_entry("7", "https://x/a")], [make_entry("7", "https://x/b")]
    assert sorted(guids([board, archive])) == sorted(guids([archive, board]))
    assert all(guid.startswith("7~") for guid in guids([board, archive]))


def test_eight_urls_that_list_the_same_items_give_each_once() -> None:
    listed = [make_entry(str(n), f"https://x/{n}") for n in range(10)]
    identified = identify([listed] * 8, colliding=())
    assert (len(identified.items), identified.duplicates) == (10, 70)
    assert identified.colliding == frozenset()


def test_the_same_guid_and_link_is_a_duplicate_however_its_texts_differ() -> None:
    entries = [make_entry("a", "https://x/1", title) for title in ("one", "two", "three")]
    identified = identify([entries], colliding=())
    assert ([item.title for item in identified.items], identified.duplicates) == (["one"], 2)


@pytest.mark.parametrize("is_reversed", [False, True])
@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (FeedItem(guid="a", updated_at=LATER), FeedItem(guid="a", updated_at=EARLIER)),
        (FeedItem(guid="a", updated_at=EARLIER), FeedItem(guid="a")),
        (FeedItem(guid="a", published_at=LATER), FeedItem(guid="a", published_at=EARLIER)),
        (FeedItem(guid="a"), FeedItem(guid="a", updated_at=LATER, read_by="feedparser")),
    ],
)
def test_of_two_versions_the_newest_strict_reading_counts_whichever_stands_first(
    better: FeedItem, worse: FeedItem, is_reversed: bool
) -> None:
    entries = [ParsedEntry(item, "a", None, "guid") for item in (better, worse)]
    [item] = identify([entries[::-1] if is_reversed else entries], colliding=()).items
    assert item == better


def test_a_newer_version_at_a_later_url_changes_nothing() -> None:
    old, new = (
        ParsedEntry(FeedItem(guid="a", updated_at=date), "a", None, "guid")
        for date in (EARLIER, LATER)
    )
    [item] = identify([[old], [new]], colliding=()).items
    assert item.updated_at == EARLIER


def test_a_long_guid_with_a_suffix_still_fits() -> None:
    long = "g" * 510
    found = guids([[make_entry(long, "https://x/1"), make_entry(long, "https://x/2")]])
    assert len(set(found)) == 2
    assert all(guid.startswith("sha256:") for guid in found)


def as_lenient(entry: ParsedEntry) -> ParsedEntry:
    return entry._replace(item=entry.item._replace(read_by="feedparser"))


def test_a_strict_reading_at_a_later_url_wins_over_a_lenient_one() -> None:
    first = as_lenient(make_entry("a", "https://x/1", "torn"))
    second = make_entry("a", "https://x/1", "whole")
    for listed in ([[first], [second]], [[second], [first]]):
        identified = identify(listed, colliding=())
        assert [item.title for item in identified.items] == ["whole"]
        assert identified.duplicates == 1


def test_a_link_that_was_misread_out_of_damage_makes_no_guid_shared() -> None:
    sound, torn = make_entry("N", "https://x/1"), as_lenient(make_entry("N", "https://x/2"))
    identified = identify([[sound, torn]], colliding=())
    assert (identified.colliding, [item.guid for item in identified.items]) == (frozenset(), ["N"])
