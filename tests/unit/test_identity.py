import random

import pytest

from server.importing.identity import identify
from server.parsing import ParsedEntry
from shared.models import FeedItem


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
