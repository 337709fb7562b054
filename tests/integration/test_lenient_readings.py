"""Lenient readings on the real parts: they may insert, and never overwrite a strict one."""

from datetime import datetime
from typing import Any

import pytest

from shared.queue import JobState
from shared.store import Import
from tests.fake_publisher import hash_of
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for
from tests.roles import Held

pytest_plugins = ["tests.harness_fixture"]

ITEM = f"{SOURCE}#a"
DAMAGED = frozenset({"a"})


def settle_down(harness: Harness) -> None:
    harness.lose_locks()
    harness.come_to_rest()


def document(harness: Harness) -> dict[str, Any]:
    found = harness.stores.items.get(ITEM)
    assert found is not None
    return found


def shown(harness: Harness) -> tuple[str, str | None]:
    """Return the stored title, and who read it."""
    found = document(harness)
    return found["title"], found.get("read_by")


def counts_of(harness: Harness, importing: Import) -> dict[str, int]:
    found = harness.stores.imports.get(importing.import_id)
    assert found is not None
    return {name: count for name, count in found.counts.items() if count and name != "fetched"}


def poll(harness: Harness, title: str, *, damaged: bool = False) -> dict[str, int]:
    """Import the item with a title to its end; return how it ended."""
    importing = harness.poll({"a": title}, damaged=DAMAGED if damaged else ())
    harness.come_to_rest()
    return counts_of(harness, importing)


def poll_document(harness: Harness, items: str) -> dict[str, int]:
    """Import a document with these items to its end; return how it ended."""
    harness.publisher.show_document(SOURCE, f"<rss><channel>{items}</channel></rss>")
    importing = harness.poll()
    harness.come_to_rest()
    return counts_of(harness, importing)


def letters(harness: Harness) -> list[str]:
    """Return the ids of all dead letters."""
    return [str(letter["_id"]) for letter in harness.database.collection("dead_letters").find()]


@pytest.fixture
def fed(harness: Harness) -> Harness:
    """A harness with a feed that listed nothing yet."""
    harness.subscribe({})
    return harness


# What the record says, one import after the other


def test_a_lenient_reading_of_an_unknown_item_is_stored_and_says_so(fed: Harness) -> None:
    assert poll(fed, "A", damaged=True) == {"new": 1}
    assert shown(fed) == ("A", "feedparser")
    assert poll(fed, "A", damaged=True) == {}  # not modified
    assert poll(fed, "B", damaged=True) == {"updated": 1}
    assert shown(fed) == ("B", "feedparser")


def test_a_lenient_reading_is_unchanged_where_a_strict_one_is_stored(fed: Harness) -> None:
    poll(fed, "A")
    before = document(fed)
    assert poll(fed, "B", damaged=True) == {"unchanged": 1}
    assert poll(fed, "A", damaged=True) == {"unchanged": 1}
    assert document(fed) == before


def test_a_forced_lenient_reading_does_not_overwrite_either(fed: Harness) -> None:
    poll(fed, "A")
    before = document(fed)
    fed.publisher.show(SOURCE, {"a": "B"}, damaged=DAMAGED)
    forced = fed.server.start(SOURCE, force=True)
    settle_down(fed)
    assert counts_of(fed, forced) == {"unchanged": 1}
    assert document(fed) == before


def test_a_strict_reading_replaces_a_lenient_one_once(fed: Harness) -> None:
    poll(fed, "A", damaged=True)
    assert poll(fed, "B") == {"updated": 1}
    assert shown(fed) == ("B", None)
    fed.publisher.show(SOURCE, {"a": "B", "b": "other"})
    again = fed.poll()
    settle_down(fed)
    assert counts_of(fed, again) == {"new": 1, "unchanged": 1}


def test_a_strict_reading_of_the_same_content_takes_the_mark_away_and_is_unchanged(
    fed: Harness,
) -> None:
    poll(fed, "A", damaged=True)
    before = document(fed)
    assert poll(fed, "A") == {"unchanged": 1}
    after = document(fed)
    assert after.pop("revision") > before.pop("revision")
    assert before.pop("read_by") == "feedparser"
    assert after == before


def test_ten_polls_of_damage_that_comes_and_goes_change_an_item_once_at_most(fed: Harness) -> None:
    changed_at: dict[str, set[datetime]] = {"lenient first": set(), "strict first": set()}
    for number in range(10):
        # What the lenient reader makes of a damaged item differs from what it is.
        is_damaged = number % 2 == 0
        fed.publisher.show(
            SOURCE,
            {
                "lenient first": "Cut off" if is_damaged else "Whole",
                "strict first": "Whole" if is_damaged else "Cut off",
            },
            damaged={"lenient first" if is_damaged else "strict first"},
        )
        fed.poll()
        fed.come_to_rest()
        for guid, moments in changed_at.items():
            found = fed.stores.items.get(f"{SOURCE}#{guid}")
            assert found is not None
            moments.add(found["modified_at"])

    assert {guid: len(moments) for guid, moments in changed_at.items()} == {
        "lenient first": 2,
        "strict first": 1,
    }
    assert fed.stores.items.count(SOURCE, limit=10) == 2


# Races: the strict reading survives, whatever the revisions


def test_a_strict_reading_in_an_open_journal_survives_a_later_lenient_one(fed: Harness) -> None:
    strict = fed.poll({"a": "A"})
    lenient = fed.poll({"a": "B"}, damaged=DAMAGED)
    settle_down(fed)
    assert shown(fed) == ("A", None)
    assert_accounted_for(fed, {"a": "A"})
    # The later job took the other's place in the queue, so it came first.
    assert counts_of(fed, lenient) == {"new": 1}
    assert counts_of(fed, strict) == {"updated": 1}


def test_a_strict_reading_in_flight_survives_a_later_lenient_one(fed: Harness) -> None:
    strict = fed.poll({"a": "A"})
    slow = fed.new_worker()
    with Held(slow.work, slow.stores.items, "write_many"):
        fed.lose_locks()
        lenient = fed.poll({"a": "B"}, damaged=DAMAGED)
        fed.work()
        assert shown(fed) == ("B", "feedparser")
    settle_down(fed)
    assert_accounted_for(fed, {"a": "A"})
    assert shown(fed) == ("A", None)
    assert counts_of(fed, lenient) == {"new": 1}
    assert counts_of(fed, strict) == {"updated": 1}


def test_a_lenient_write_loses_to_a_strict_one_that_came_in_between(fed: Harness) -> None:
    poll(fed, "A", damaged=True)
    lenient = fed.poll({"a": "B"}, damaged=DAMAGED)
    slow = fed.new_worker()
    with Held(slow.work, slow.stores.items, "write_many"):
        fed.lose_locks()
        strict = fed.poll({"a": "C"})
        fed.work()
        assert shown(fed) == ("C", None)
    settle_down(fed)
    assert_accounted_for(fed, {"a": "C"})
    assert counts_of(fed, lenient) == {"unchanged": 1}
    assert counts_of(fed, strict) == {"updated": 1}


@pytest.mark.parametrize("title", ["A", "B"])
def test_a_lenient_raise_loses_to_a_strict_one_that_came_in_between(
    fed: Harness, title: str
) -> None:
    poll(fed, "A", damaged=True)
    fed.publisher.show(SOURCE, {"a": "A"}, damaged=DAMAGED)
    fed.server.start(SOURCE, force=True)
    while fed.server.fetch():
        pass
    slow = fed.new_worker()
    with Held(slow.work, slow.stores.items, "write_many"):
        fed.lose_locks()
        fed.poll({"a": title})
        fed.work()
    settle_down(fed)
    assert shown(fed) == (title, None)
    assert_accounted_for(fed, {"a": title})


def test_an_older_strict_reading_replaces_a_lenient_one_and_loses_to_a_newer_strict_one(
    fed: Harness,
) -> None:
    oldest = fed.poll({"a": "A"})
    fed.lose_redis()
    newer = fed.poll({"a": "B"})
    fed.lose_redis()
    fed.poll({"a": "C"}, damaged=DAMAGED)
    fed.work()
    assert shown(fed) == ("C", "feedparser")

    fed.server.audit(oldest.import_id)
    fed.work()
    assert shown(fed) == ("A", None)
    settle_down(fed)

    assert shown(fed) == ("B", None)
    assert_accounted_for(fed, {"a": "B"})
    assert counts_of(fed, newer) == {"updated": 1}


def test_all_of_redis_lost_brings_the_strict_reading_home_all_the_same(fed: Harness) -> None:
    fed.poll({"a": "A"})
    fed.poll({"a": "B"}, damaged=DAMAGED)
    fed.lose_redis()
    settle_down(fed)
    assert_accounted_for(fed, {"a": "A"})
    assert shown(fed) == ("A", None)


# Dead letters


def test_a_lenient_reading_that_died_is_cleared_by_an_older_strict_one(fed: Harness) -> None:
    strict = fed.poll({"a": "A"})
    slow = fed.new_worker()
    with Held(slow.work, slow.stores.items, "write_many"):
        fed.lose_locks()
        lenient = fed.poll({"a": "poison B"}, damaged=DAMAGED)
        for _ in range(2):
            fed.work()
            fed.clock.advance(seconds=60)
            fed.reclaim()
        letter = fed.stores.dead_letters.get(ITEM)
        assert letter is not None
        assert letter.read_by == "feedparser"
    settle_down(fed)
    assert_accounted_for(fed, {"a": "A"})
    assert counts_of(fed, strict) == {"new": 1}
    assert sum(counts_of(fed, lenient).values()) == 1


def test_a_lenient_reading_does_not_clear_the_death_of_a_strict_one(fed: Harness) -> None:
    assert poll(fed, "poison A") == {"dead": 1}
    assert poll(fed, "B", damaged=True) == {"new": 1}
    letter = fed.stores.dead_letters.get(ITEM)
    assert letter is not None
    assert letter.content_hash == hash_of("a", "poison A")
    assert_accounted_for(fed, {}, dead=["a"])

    # No work for ever: what is stored is unchanged, what died is dead.
    fed.publisher.show(SOURCE, {"a": "B", "b": "other"}, damaged=DAMAGED)
    polled = fed.poll()
    assert polled.journaled == 1
    settle_down(fed)
    assert counts_of(fed, polled) == {"new": 1, "unchanged": 1}
    assert poll(fed, "poison A") == {"dead": 1}
    assert poll(fed, "C") == {"updated": 1}
    assert fed.stores.dead_letters.get(ITEM) is None


def test_the_death_of_a_strict_reading_stays_on_top_of_a_later_lenient_one(fed: Harness) -> None:
    poll(fed, "poison A")
    assert poll(fed, "poison B", damaged=True) == {"dead": 1}
    letter = fed.stores.dead_letters.get(ITEM)
    assert letter is not None
    assert letter.content_hash == hash_of("a", "poison A")
    assert letter.read_by is None


def test_the_replay_of_a_lenient_reading_does_not_overwrite_a_strict_one(fed: Harness) -> None:
    poll(fed, "poison A", damaged=True)
    fed.accept_poison()
    [replay] = fed.server.services.replayer.replay(everything=True).imports
    slow = fed.new_worker()
    with Held(slow.work, slow.stores.items, "write_many"):
        fed.lose_locks()
        fed.poll({"a": "B"})
        fed.work()
    settle_down(fed)
    assert shown(fed) == ("B", None)
    assert sum(counts_of(fed, replay).values()) == 1
    assert_accounted_for(fed, {"a": "B"})


def test_a_replayed_lenient_reading_still_says_that_it_is_one(fed: Harness) -> None:
    poll(fed, "poison A", damaged=True)
    fed.accept_poison()
    [replay] = fed.server.services.replayer.replay(everything=True).imports
    settle_down(fed)
    assert shown(fed) == ("poison A", "feedparser")
    assert counts_of(fed, replay) == {"new": 1}
    assert fed.stores.dead_letters.get(ITEM) is None


def test_an_unreadable_item_has_one_dead_letter_until_it_is_mended(fed: Harness) -> None:
    good = "<item><guid>{}</guid><title>t</title></item>"
    # Longer than what is given to feedparser.
    damaged = f"<item><guid>a</guid><description>{'a < b ' * 30_000}</description></item>"
    body = damaged
    for guid in ("b", "c"):
        body = f"{good.format(guid)}\n{body}"
        assert poll_document(fed, body) == {"new": 1, "dead": 1} | (
            {"unchanged": 1} if guid == "c" else {}
        )
        assert letters(fed) == [ITEM]
    mended = poll_document(fed, body.replace(" < ", " &lt; "))
    assert mended == {"new": 1, "unchanged": 2}
    assert letters(fed) == []


def test_a_lenient_job_that_was_removed_keeps_no_newer_strict_reading_away(fed: Harness) -> None:
    fed.poll({"a": "A"}, damaged=DAMAGED)
    fed.server.services.remover.remove_job(fed.item_queues[0], ITEM)
    settle_down(fed)
    letter = fed.stores.dead_letters.get(ITEM)
    assert letter is not None
    assert letter.read_by == "feedparser"
    assert poll(fed, "B") == {"new": 1}
    assert_accounted_for(fed, {"a": "B"})


def test_no_job_of_a_lenient_reading_is_left_where_a_strict_one_is_stored(fed: Harness) -> None:
    poll(fed, "A")
    polled = fed.poll({"a": "B"}, damaged=DAMAGED)
    assert polled.journaled == 0
    assert fed.item_queues[0].counts()[JobState.WAITING] == 0
