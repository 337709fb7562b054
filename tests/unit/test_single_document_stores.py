"""The stores whose acts concern one document, on a MongoDB in memory."""

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.errors import ConflictError
from shared.store import Feed, FeedStore, Import, ImportState, ImportStore, SourceStore
from shared.store.database import Database
from tests.memory_database import make_memory_database

NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)


@pytest.fixture
def database() -> Database:
    return make_memory_database()


def make_feed(**fields: Any) -> Feed:
    defaults: dict[str, Any] = {"source": "lwn", "urls": ["https://lwn.example/"]}
    return Feed(created_at=NOW, **(defaults | fields))


def make_import(import_id: str, state: ImportState = ImportState.QUEUED) -> Import:
    return Import(
        import_id=import_id,
        source="lwn",
        urls=["https://lwn.example/"],
        trigger="api",
        state=state,
        requested_at=NOW,
    )


def test_revisions_of_a_source_rise_and_are_never_given_twice(database: Database) -> None:
    sources = SourceStore(database)
    assert [sources.draw_revision("lwn") for _ in range(3)] == [1, 2, 3]
    assert list(sources.draw_revisions("lwn", 3)) == [4, 5, 6]
    assert sources.draw_revision("other") == 1


def test_colliding_guids_stay_once_remembered(database: Database) -> None:
    sources = SourceStore(database)
    sources.add_colliding_guids("lwn", ["b", "a"])
    sources.add_colliding_guids("lwn", ["a", "c"])
    assert sources.read_known_guids("lwn").colliding == {"a", "b", "c"}


def test_a_taken_source_is_a_conflict(database: Database) -> None:
    feeds = FeedStore(database)
    feeds.insert(make_feed())
    with pytest.raises(ConflictError, match="'lwn' is taken"):
        feeds.insert(make_feed(urls=["https://other.example/"]))


def test_of_two_claims_of_a_feed_one_is_granted(database: Database) -> None:
    feeds = FeedStore(database)
    feeds.insert(make_feed())
    seen = feeds.get("lwn")
    assert seen is not None
    assert feeds.reserve(seen, "import-1", scheduled=False)
    assert not feeds.reserve(seen, "import-2", scheduled=False)


def test_a_scheduled_claim_is_refused_when_the_schedule_has_moved(database: Database) -> None:
    feeds = FeedStore(database)
    feeds.insert(make_feed(next_fetch_at=NOW))
    seen = feeds.get("lwn")
    assert seen is not None
    feeds.update("lwn", {"next_fetch_at": NOW.replace(hour=13)})
    assert not feeds.reserve(seen, "import-1", scheduled=True)


def test_a_commit_is_refused_to_a_run_that_was_overtaken(database: Database) -> None:
    imports = ImportStore(database)
    imports.insert(make_import("import-1"))
    assert imports.mark_fetching("import-1", 1, NOW)
    assert imports.mark_fetching("import-1", 2, NOW)
    assert not imports.mark_fetching("import-1", 1, NOW)
    outcome = {"state": ImportState.IMPORTING, "journaled": 1}
    assert not imports.commit("import-1", 1, outcome)
    assert imports.commit("import-1", 2, outcome)
    # Its answer was lost, the caller asks again.
    assert imports.commit("import-1", 2, outcome)


def test_a_failed_import_cannot_be_committed(database: Database) -> None:
    imports = ImportStore(database)
    imports.insert(make_import("import-1"))
    imports.mark_fetching("import-1", 1, NOW)
    assert imports.fail("import-1", None, {"error": "feed deleted"})
    assert not imports.commit("import-1", 1, {"state": ImportState.IMPORTING})
