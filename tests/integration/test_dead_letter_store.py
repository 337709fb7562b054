"""Dead letters on record: which end is on top, how they are grouped and found."""

from collections.abc import Sequence
from datetime import timedelta

import pytest

from shared.models import Rank
from shared.store import DeadLetter, Stores
from shared.store.causes import MAX_CAUSE_SOURCES
from tests.factories import NOON, make_letter_of

ITEM = "lwn#1"


def record(stores: Stores, *deaths: DeadLetter) -> None:
    for death in deaths:
        stores.dead_letters.record_many([death])


def top_of(stores: Stores) -> tuple[int, str, str]:
    letter = stores.dead_letters.get(ITEM)
    assert letter is not None
    return letter.revision, letter.kind.value, letter.reason


def history_of(stores: Stores) -> list[tuple[int, str | None, str]]:
    letter = stores.dead_letters.get(ITEM)
    assert letter is not None
    return [(end["revision"], end["import_id"], end["kind"]) for end in letter.history]


def test_the_higher_revision_is_on_top_whichever_comes_first(stores: Stores) -> None:
    record(
        stores, make_letter_of(revision=2, reason="new"), make_letter_of(revision=1, reason="old")
    )
    assert top_of(stores) == (2, "dead", "new")
    record(stores, make_letter_of(revision=3, reason="newest"))
    assert top_of(stores) == (3, "dead", "newest")
    assert [end[0] for end in history_of(stores)] == [2, 1, 3]


def test_an_equal_revision_of_another_import_replaces_a_death(stores: Stores) -> None:
    record(stores, make_letter_of(import_id="a", reason="first"))
    record(stores, make_letter_of(import_id="b", reason="again"))
    assert top_of(stores) == (1, "dead", "again")
    assert history_of(stores) == [(1, "a", "dead"), (1, "b", "dead")]


def test_the_death_of_a_strict_reading_is_above_those_of_lenient_ones(stores: Stores) -> None:
    lenient = {"read_by": "feedparser"}
    record(stores, make_letter_of(revision=2, reason="guess", **lenient))
    record(stores, make_letter_of(revision=1, reason="strict"))
    assert top_of(stores) == (1, "dead", "strict")
    record(stores, make_letter_of(revision=3, reason="guess", **lenient))
    assert top_of(stores) == (1, "dead", "strict")
    assert [end[0] for end in history_of(stores)] == [2, 1, 3]
    letter = stores.dead_letters.get(ITEM)
    assert letter is not None
    assert letter.read_by is None
    record(stores, make_letter_of(revision=4, reason="strict again"))
    assert top_of(stores) == (4, "dead", "strict again")


@pytest.mark.parametrize(
    ("death", "stored", "is_cleared"),
    [
        (Rank(True, 2), Rank(True, 2), True),
        (Rank(True, 3), Rank(True, 2), False),
        (Rank(True, 1), Rank(False, 2), False),
        (Rank(False, 3), Rank(True, 2), True),
        (Rank(False, 2), Rank(False, 2), True),
        (Rank(False, 3), Rank(False, 2), False),
    ],
)
def test_a_letter_is_cleared_by_what_is_stored_at_its_rank_or_a_higher_one(
    stores: Stores, death: Rank, stored: Rank, is_cleared: bool
) -> None:
    read_by = None if death.is_strict else "feedparser"
    record(stores, make_letter_of(revision=death.revision, read_by=read_by))
    assert stores.dead_letters.clear_many({ITEM: stored}) == int(is_cleared)
    assert (stores.dead_letters.get(ITEM) is None) == is_cleared


def test_the_same_death_recorded_twice_changes_nothing(stores: Stores) -> None:
    record(stores, make_letter_of(import_id="a", reason="first"))
    record(stores, make_letter_of(import_id="a", reason="told differently"))
    assert top_of(stores) == (1, "dead", "first")
    assert history_of(stores) == [(1, "a", "dead")]


def test_an_equal_revision_does_not_replace_a_removal(stores: Stores) -> None:
    record(stores, make_letter_of(import_id="a"))
    assert stores.dead_letters.mark_removed(ITEM, NOON)
    record(stores, make_letter_of(import_id="b", reason="again"))
    assert top_of(stores) == (1, "removed", "boom")
    assert history_of(stores) == [(1, "a", "dead"), (1, "a", "removed"), (1, "b", "dead")]


def test_many_ends_go_their_own_ways_in_one_call(stores: Stores) -> None:
    record(stores, make_letter_of("1", revision=5), make_letter_of("2", revision=1))
    stores.dead_letters.record_many(
        [make_letter_of(guid, revision=3, reason="third") for guid in ("1", "2", "3")]
    )
    found = stores.dead_letters.read_many(["lwn#1", "lwn#2", "lwn#3"])
    assert {key: letter.revision for key, letter in found.items()} == {
        "lwn#1": 5, "lwn#2": 3, "lwn#3": 3
    }  # fmt: skip


def test_causes_are_counted_the_most_frequent_first(stores: Stores) -> None:
    later = NOON + timedelta(hours=1)
    record(
        stores,
        make_letter_of("1", reason="title is 'int'", failed_at=later),
        make_letter_of("2", reason="title is 'list'"),
        make_letter_of("3", item_id="ars#3", source="ars", reason="title is 'list'"),
        make_letter_of("4", error_type="too_large", reason="the item has 5 bytes"),
    )
    first, second = stores.dead_letters.find_causes()
    assert (first.cause, first.error_type, first.count) == ("invalid: title is …", "invalid", 3)
    assert (first.sources, first.source_count) == (["lwn", "ars"], 2)
    assert (first.example_id, first.example_reason) == ("lwn#1", "title is 'int'")
    assert first.latest_failed_at == later
    assert (second.cause, second.count) == ("too_large: the item has … bytes", 1)
    assert [cause.count for cause in stores.dead_letters.find_causes(source="ars")] == [1]


def test_removed_ones_are_no_cause(stores: Stores) -> None:
    record(stores, make_letter_of())
    stores.dead_letters.mark_removed(ITEM, NOON)
    assert stores.dead_letters.find_causes() == []


def test_a_cause_names_the_sources_with_most_and_counts_all(stores: Stores) -> None:
    sources = [f"s{number:02}" for number in range(15)]
    deaths = [make_letter_of("1", item_id=f"{one}#1", source=one) for one in sources]
    deaths.append(make_letter_of("2", item_id="s14#2", source="s14"))
    stores.dead_letters.record_many(deaths)
    [cause] = stores.dead_letters.find_causes()
    assert cause.sources == ["s14", *sources[: MAX_CAUSE_SOURCES - 1]]
    assert (cause.source_count, cause.count) == (15, 16)


def test_letters_of_an_import_stay_its_own_when_they_die_again(stores: Stores) -> None:
    record(stores, make_letter_of("1", import_id="a"), make_letter_of("2", import_id="b"))
    record(stores, make_letter_of("1", revision=2, import_id="c"))

    def found(import_id: str) -> list[str]:
        page = stores.dead_letters.find_page(import_id=import_id, limit=10, cursor=None)
        return [letter.guid for letter in page.items]

    assert (found("a"), found("b"), found("c"), found("d")) == (["1"], ["2"], ["1"], [])


def test_only_dead_ones_are_selected_among_many_ids(stores: Stores) -> None:
    stores.dead_letters.record_many([make_letter_of(str(number)) for number in range(3)])
    stores.dead_letters.mark_removed("lwn#1", NOON)
    wanted = [f"lwn#{number}" for number in range(250)]
    assert stores.dead_letters.select_dead([*wanted, "lwn#0"]) == ["lwn#0", "lwn#2"]


def test_whole_letters_come_in_order_however_many(stores: Stores) -> None:
    guids = [f"{number:03}" for number in range(250)]
    # A few a call: FerretDB 1.24 reads the whole collection for each, longer than a socket waits.
    for start in range(0, len(guids), 25):
        few = guids[start : start + 25]
        stores.dead_letters.record_many([make_letter_of(guid) for guid in few])
    found = stores.dead_letters.iterate_whole([f"lwn#{guid}" for guid in reversed(guids)])
    assert [letter.guid for letter in found] == guids


def test_a_lower_end_recorded_at_the_same_moment_does_not_stay_on_top(
    stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    letters = stores.dead_letters
    put_on_top, calls = letters._put_on_top, []

    def be_overtaken_once(deaths: Sequence[DeadLetter]) -> list[DeadLetter]:
        calls.append(deaths)
        if len(calls) > 1:
            return put_on_top(deaths)
        assert put_on_top([make_letter_of("1", revision=2)]) == []
        return list(deaths)

    monkeypatch.setattr(letters, "_put_on_top", be_overtaken_once)
    letters.record_many([make_letter_of("1", revision=3)])
    found = letters.get("lwn#1")
    assert found is not None
    assert [found.revision, *(end["revision"] for end in found.history)] == [3, 2, 3]


def test_small_ones_of_a_cause_are_counted_up_to_a_limit(stores: Stores) -> None:
    sizes = {"1": 10, "2": 20, "3": 30, "4": 20}
    letters = [
        make_letter_of(guid, error_type="too_large", reason="large", data="x" * size)
        for guid, size in sizes.items()
    ]
    other = make_letter_of("5", error_type="invalid", reason="odd", data="x")
    foreign = make_letter_of(
        "6", item_id="ars#6", source="ars", error_type="too_large", reason="large", data="x"
    )
    stores.dead_letters.record_many([*letters, other, foreign])
    count_small = stores.dead_letters.count_small
    assert count_small("too_large: large", 20, limit=9) == 4
    assert count_small("too_large: large", 20, limit=2) == 2
    assert count_small("too_large: large", 20, source="lwn", limit=9) == 3
    assert count_small("too_large: large", 0, limit=9) == 0
