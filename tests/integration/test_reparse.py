"""A feed read again from its kept bodies: by the same path, and never over what came later."""

import zlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from server.importing import selecting
from shared.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    Postponed,
    StoreUnavailable,
)
from shared.store import BodyStore, Import, ImportState
from shared.store.bodies import BODIES
from tests.fake_publisher import POISON, render
from tests.harness import SOURCE, Harness
from tests.kept_bodies import read_kept


def close(harness: Harness) -> None:
    harness.work()
    harness.server.look()


def import_items(harness: Harness, items: dict[str, str]) -> Import:
    """Import the feed to its end after it showed these."""
    found = harness.poll(items)
    close(harness)
    harness.clock.advance(seconds=60)
    return found


def reparse(harness: Harness, **since: Any) -> Import:
    """Import the feed from its kept bodies, to its end."""
    [started] = harness.server.services.starter.start_reparse(SOURCE, **since)
    while harness.server.fetch():
        pass
    close(harness)
    found = harness.stores.imports.get(started.import_id)
    assert found is not None
    return found


def change_mapping(monkeypatch: pytest.MonkeyPatch, mark: str, before: str = "") -> None:
    """Let every item's title end with a mark from now on, and begin with another."""
    make = selecting.job_data

    def marked(source: str, item: Any) -> dict[str, Any]:
        return make(source, item._replace(title=f"{before}{item.title}{mark}"))

    monkeypatch.setattr(selecting, "job_data", marked)


def titles(harness: Harness) -> dict[str, str]:
    found = harness.database.collection("items").find({}, {"guid": True, "title": True})
    return {each["guid"]: each["title"] for each in found}


def refuse_all(harness: Harness) -> None:
    harness.publisher.break_down()


def test_a_changed_mapping_changes_what_is_stored_without_the_publisher(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.subscribe({})
    import_items(harness, {"a": "one", "b": "two"})
    refuse_all(harness)
    change_mapping(monkeypatch, "!")

    done = reparse(harness)

    assert done.state is ImportState.COMPLETED, done.error
    assert (done.counts["fetched"], done.counts["updated"]) == (2, 2)
    assert titles(harness) == {"a": "one!", "b": "two!"}
    feed = harness.stores.feeds.get(SOURCE)
    assert feed is not None
    assert (feed.running_import, feed.error) == (None, None)


def test_it_can_be_done_again_and_again(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.subscribe({})
    import_items(harness, {"a": "one"})
    change_mapping(monkeypatch, "!")
    reparse(harness)
    change_mapping(monkeypatch, "?")

    assert reparse(harness).counts["updated"] == 1
    assert reparse(harness).counts["unchanged"] == 1
    assert titles(harness) == {"a": "one?!"}


def test_of_several_bodies_the_latest_that_lists_an_item_counts(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.subscribe({})
    import_items(harness, {"a": "old", "gone": "gone"})
    import_items(harness, {"a": "new", "b": "two"})
    change_mapping(monkeypatch, "!")

    done = reparse(harness)

    assert (done.counts["fetched"], done.counts["duplicate"]) == (4, 1)
    assert titles(harness) == {"a": "new!", "gone": "gone!", "b": "two!"}


def test_nothing_is_written_over_what_came_later(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.subscribe({})
    import_items(harness, {"a": "old", "b": "two"})
    import_items(harness, {"a": "new"})
    latest = read_kept(harness.stores.bodies, SOURCE)[0]
    # As if it had been too large to be kept.
    harness.database.collection("bodies").delete_one({"_id": latest.key})
    change_mapping(monkeypatch, "!")

    for _ in range(2):
        done = reparse(harness)
        assert (done.counts["superseded"], done.counts["fetched"]) == (1, 2)
        assert titles(harness) == {"a": "new", "b": "two!"}


def test_dead_items_are_judged_afresh(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.subscribe({})
    import_items(harness, {"a": POISON})
    harness.come_to_rest()
    assert titles(harness) == {}
    assert reparse(harness).counts["dead"] == 1
    change_mapping(monkeypatch, "", before="no ")

    assert reparse(harness).counts["new"] == 1
    assert titles(harness) == {"a": f"no {POISON}"}
    assert harness.stores.dead_letters.find_dead() == []


def test_no_dead_letter_of_what_came_later_is_cleared(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.subscribe({})
    import_items(harness, {"a": "old"})
    import_items(harness, {"a": POISON})
    harness.come_to_rest()
    latest = read_kept(harness.stores.bodies, SOURCE)[0]
    harness.database.collection("bodies").delete_one({"_id": latest.key})
    change_mapping(monkeypatch, "!")

    assert reparse(harness).counts["superseded"] == 1
    assert titles(harness) == {"a": "old"}
    assert harness.stores.dead_letters.find_dead() == [f"{SOURCE}#a"]


def test_an_import_needs_no_place_for_its_body(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailable("full")

    monkeypatch.setattr(BodyStore, "keep", refuse)
    harness.subscribe({})
    import_items(harness, {"a": "one"})

    assert titles(harness) == {"a": "one"}


def test_a_document_that_was_handed_in_is_read_again(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.server.services.starter.start_document(render({"a": "one"}), SOURCE)
    while harness.server.fetch():
        pass
    close(harness)
    change_mapping(monkeypatch, "!")

    reparse(harness)

    assert titles(harness) == {"a": "one!"}


def test_only_bodies_since_then_are_read(harness: Harness, monkeypatch: pytest.MonkeyPatch) -> None:
    harness.subscribe({})
    import_items(harness, {"a": "one"})
    since = harness.clock.now()
    import_items(harness, {"b": "two"})
    change_mapping(monkeypatch, "!")

    reparse(harness, since=since)

    assert titles(harness) == {"a": "one", "b": "two!"}


def test_a_body_that_cannot_be_read_is_a_warning(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.subscribe({})
    import_items(harness, {"a": "one"})
    import_items(harness, {"b": "two"})
    latest = read_kept(harness.stores.bodies, SOURCE)[0]
    harness.database.collection(BODIES).update_one(
        {"_id": latest.key}, {"$set": {"body": zlib.compress(b"no feed")}}
    )
    change_mapping(monkeypatch, "!")

    done = reparse(harness)

    assert done.state is ImportState.COMPLETED
    assert len(done.warnings) == 1
    assert titles(harness) == {"a": "one!", "b": "two"}


def test_without_kept_bodies_it_is_refused(harness: Harness) -> None:
    starter = harness.server.services.starter
    with pytest.raises(NotFoundError):
        starter.start_reparse(SOURCE)
    harness.subscribe({})
    import_items(harness, {"a": "one"})
    with pytest.raises(InvalidRequestError, match="is kept"):
        starter.start_reparse(SOURCE, harness.clock.now() + timedelta(days=1))
    harness.server.services.feeds.remove(SOURCE)
    assert read_kept(harness.stores.bodies, SOURCE) == []


def test_it_waits_for_another_import_and_refuses_to_run_beside_one(harness: Harness) -> None:
    harness.subscribe({})
    import_items(harness, {"a": "one"})
    other = harness.poll({"a": "two"})
    [started] = harness.server.services.starter.start_reparse(SOURCE)
    with pytest.raises(ConflictError):
        harness.server.services.starter.start_reparse(SOURCE)

    with pytest.raises(Postponed, match=other.import_id):
        harness.server.process.importer.import_feed(started.import_id)
    close(harness)
    harness.clock.advance(seconds=2)
    while harness.server.fetch():
        pass
    ended = harness.stores.imports.get(started.import_id)
    assert ended is not None
    assert ended.counts["unchanged"] == 1


def test_kept_bodies_hold_no_login_and_are_few(harness: Harness) -> None:
    url = "https://user:secret@src.example/feed"
    harness.publisher.show_at(url, {"a": "one"})
    harness.server.services.feeds.add([url], source=SOURCE)
    for number in range(harness.settings.keep_bodies + 2):
        harness.publisher.show_at(url, {"a": f"title {number}"})
        import_items(harness, {})

    kept = read_kept(harness.stores.bodies, SOURCE)

    assert len(kept) == harness.settings.keep_bodies
    assert not any("secret" in str(replace(each, body=b"")) for each in kept)


def test_a_second_reparse_reverts_nothing_whose_latest_body_is_gone(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = "https://src.example/one", "https://src.example/two"
    harness.server.services.feeds.add([one, two], source=SOURCE)

    def import_both(url_one: dict[str, str], url_two: dict[str, str]) -> None:
        harness.publisher.show_at(one, url_one)
        harness.publisher.show_at(two, url_two)
        harness.poll()
        close(harness)
        harness.clock.advance(seconds=60)

    listed = {"x": "old", "y": "why"}
    import_both(listed, {"z": "zed"})
    import_both(listed, {"x": "new"})
    change_mapping(monkeypatch, "!")
    reparse(harness)
    assert titles(harness)["x"] == "new!"
    for number in range(harness.settings.keep_bodies):
        import_both(listed, {"z": f"zed {number}"})

    again = reparse(harness)

    assert titles(harness)["x"] == "new!"
    assert again.counts["superseded"] > 0
