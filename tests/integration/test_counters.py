"""Counters are stored and refreshed, and are no part of what an item says."""

from datetime import timedelta
from typing import Any

import pytest

from tests.fake_publisher import feed_url
from tests.harness import SOURCE, Harness
from tests.roles import Held

pytest_plugins = ["tests.harness_fixture"]

ITEM = f"{SOURCE}#a"


def show(
    harness: Harness, comments: int | None, title: str = "A", views: int = 1, feed: str = "Feed"
) -> None:
    counter = f"<slash:comments>{comments}</slash:comments>" if comments is not None else ""
    harness.publisher.show_document(
        SOURCE,
        f"""<rss version="2.0" xmlns:slash="http://purl.org/rss/1.0/modules/slash/"
          xmlns:media="http://search.yahoo.com/mrss/"><channel><title>{feed}</title><item>
          <title>{title}</title><guid>a</guid><link>https://news.example/a</link>
          <category>one</category>{counter}<media:group><media:community>
          <media:statistics views="{views}"/></media:community></media:group>
        </item></channel></rss>""",
    )


def poll(
    harness: Harness, comments: int | None, title: str = "A", views: int = 1
) -> dict[str, int]:
    show(harness, comments, title, views)
    harness.clock.advance(seconds=60)
    importing = harness.poll()
    harness.come_to_rest()
    found = harness.stores.imports.get(importing.import_id)
    assert found is not None
    return {name: count for name, count in found.counts.items() if count and name != "fetched"}


def document(harness: Harness) -> dict[str, Any]:
    found = harness.stores.items.get(ITEM)
    assert found is not None
    return found


def comments_of(harness: Harness) -> str | None:
    found = [one["value"] for one in document(harness)["extra"] if one["name"] == "slash:comments"]
    return found[0] if found else None


@pytest.fixture
def counted(harness: Harness) -> Harness:
    """A harness with a feed whose item has three comments."""
    harness.server.services.feeds.add([feed_url(SOURCE)], source=SOURCE)
    assert poll(harness, 3) == {"new": 1}
    return harness


def test_a_changed_counter_alone_is_stored_and_counts_as_unchanged(counted: Harness) -> None:
    before = document(counted)
    assert poll(counted, 4) == {"unchanged": 1}
    after = document(counted)
    assert comments_of(counted) == "4"
    assert before.pop("revision") < after.pop("revision")
    assert before.pop("counters_hash") != after.pop("counters_hash")
    assert before.pop("extra") != after.pop("extra")
    assert after == before


def test_a_nested_counter_is_refreshed_too(counted: Harness) -> None:
    assert poll(counted, 3, views=9) == {"unchanged": 1}
    [views] = [
        one["attributes"]["views"]
        for one in document(counted)["extra"]
        if one["name"].endswith("media:statistics")
    ]
    assert views == "9"


def test_the_same_counters_make_no_work(counted: Harness) -> None:
    poll(counted, 4)
    revision = document(counted)["revision"]
    show(counted, 4, feed="Renamed")
    polled = counted.poll()
    assert not polled.fetches[0]["not_modified"]
    assert polled.journaled == 0
    counted.come_to_rest()
    assert document(counted)["revision"] == revision


def test_counters_that_go_are_taken_away_and_make_no_work_for_ever(counted: Harness) -> None:
    assert poll(counted, None) == {"unchanged": 1}
    assert comments_of(counted) is None
    show(counted, None, feed="Renamed")
    assert counted.poll().journaled == 0


def test_an_item_without_counters_has_no_hash_of_them(harness: Harness) -> None:
    harness.subscribe({"a": "A"})
    harness.poll()
    harness.come_to_rest()
    assert "counters_hash" not in document(harness)


def test_an_update_brings_its_counters(counted: Harness) -> None:
    before = document(counted)
    assert poll(counted, 5, title="B") == {"updated": 1}
    assert comments_of(counted) == "5"
    assert document(counted)["modified_at"] > before["modified_at"]
    assert poll(counted, 6, title="B") == {"unchanged": 1}


def test_older_counters_do_not_overwrite_newer_ones(counted: Harness) -> None:
    show(counted, 4)
    counted.poll()
    slow = counted.new_worker()
    with Held(slow.work, slow.stores.items, "write_many"):
        counted.lose_locks()
        show(counted, 5)
        counted.poll()
        counted.work()
        assert comments_of(counted) == "5"
    counted.lose_locks()
    counted.come_to_rest()
    assert comments_of(counted) == "5"
    assert counted.is_at_rest()


def test_a_counter_does_not_bring_older_content_over_newer(counted: Harness) -> None:
    show(counted, 4)
    counted.poll()
    slow = counted.new_worker()
    with Held(slow.work, slow.stores.items, "write_many"):
        counted.lose_locks()
        show(counted, 5, title="B")
        counted.poll()
        counted.work()
    counted.lose_locks()
    counted.come_to_rest()
    assert (document(counted)["title"], comments_of(counted)) == ("B", "5")


def test_counters_of_a_document_that_was_deleted_meanwhile_bring_the_whole_item(
    counted: Harness,
) -> None:
    whole = document(counted)
    show(counted, 4)
    counted.poll()
    slow = counted.new_worker()
    with Held(slow.work, slow.stores.items, "write_many"):
        counted.database.collection("items").delete_one({"_id": ITEM})
    counted.come_to_rest()
    again = document(counted)
    assert again.keys() == whole.keys()
    assert (again["title"], comments_of(counted)) == ("A", "4")


def test_ten_polls_of_a_busy_counter_change_no_moment(counted: Harness) -> None:
    before = document(counted)
    for comments in range(10, 20):
        assert poll(counted, comments) == {"unchanged": 1}
    after = document(counted)
    assert comments_of(counted) == "19"
    for name in ("created_at", "modified_at", "created_by", "modified_by", "content_hash"):
        assert after[name] == before[name], name
    assert counted.clock.now() - before["modified_at"] >= timedelta(minutes=10)
