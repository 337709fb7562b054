"""Lists, newest first: read in spans of time, and complete whatever the times are."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database
from pymongo.monitoring import (
    CommandFailedEvent,
    CommandListener,
    CommandStartedEvent,
    CommandSucceededEvent,
)

from shared.store import Stores
from shared.store.pages import PagedList

_NOW = datetime.now(UTC).replace(microsecond=0)
# At the edges of spans, beside them, in a burst, in the future, and older than any span.
_AGES_S = (-90, 0, 0, 0.999, 1, 1.001, 8, 8, 63.999, 64, 64, 64, 64.001, 512, 5e4, 5e4, 3e8, 3e8)


@pytest.fixture
def documents(stores: Stores, mongo_database: Database[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items of two sources, as their list has them."""
    stores.items.ensure_indexes()
    made = [
        {
            "_id": f"{source}#{n:02}",
            "source": source,
            "modified_at": _NOW - timedelta(seconds=age_s),
        }
        for source in ("a", "b")
        for n, age_s in enumerate(_AGES_S)
    ]
    mongo_database["items"].insert_many([dict(each) for each in made])
    return sorted(made, key=lambda each: (each["modified_at"], each["_id"]), reverse=True)


def read_list(stores: Stores, limit: int, **filters: Any) -> Iterator[str]:
    """Yield the ids of all pages."""
    wanted = {"source": None, "text": None, "since": None} | filters
    cursor: str | None = None
    while True:
        page = stores.items.find_page(**wanted, limit=limit, cursor=cursor)
        assert len(page.items) <= limit
        yield from (item["_id"] for item in page.items)
        cursor = page.next_cursor
        if cursor is None:
            return


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5, 7, 8])
def test_documents_without_a_time_stand_at_the_end_wherever_pages_break(
    stores: Stores, mongo_database: Database[dict[str, Any]], limit: int
) -> None:
    timed = [{"_id": f"a#{n}", "source": "a", "modified_at": _NOW} for n in range(3)]
    foreign = [{"_id": f"a#f{n}", "source": "a"} for n in range(2)]
    foreign += [{"_id": f"a#g{n}", "source": "a", "modified_at": None} for n in range(2)]
    mongo_database["items"].insert_many([*foreign, *timed])
    read = list(read_list(stores, limit, source="a"))
    assert read[:3] == ["a#2", "a#1", "a#0"]
    assert sorted(read[3:]) == ["a#f0", "a#f1", "a#g0", "a#g1"]


@pytest.mark.parametrize("limit", [1, 2, 3, 4, 5])
@pytest.mark.parametrize("source", [None, "a"])
def test_ids_that_begin_as_others_do_are_each_listed_once_though_their_times_are_equal(
    stores: Stores, mongo_database: Database[dict[str, Any]], source: str | None, limit: int
) -> None:
    stores.items.ensure_indexes()
    tied = [f"a#{n}" for n in (1, 10, 100, 11, 2, 20)]
    times = dict.fromkeys(tied, _NOW)
    times |= {"a#3": _NOW - timedelta(seconds=9), "a#30": _NOW - timedelta(seconds=9)}
    mongo_database["items"].insert_many(
        [{"_id": each, "source": "a", "modified_at": time} for each, time in times.items()]
    )
    read = list(read_list(stores, limit, source=source))
    assert read == [*sorted(tied, reverse=True), "a#30", "a#3"]


@pytest.mark.parametrize("limit", [1, 3, 7, 50])
@pytest.mark.parametrize("source", [None, "a"])
@pytest.mark.parametrize("since_s", [None, 64, 5e4])
def test_every_document_stands_in_its_place_once(
    stores: Stores, documents: list[dict[str, Any]], limit: int, source: str | None, since_s: float
) -> None:
    since = _NOW - timedelta(seconds=since_s) if since_s is not None else None
    expected = [
        each["_id"]
        for each in documents
        if source in (None, each["source"]) and (since is None or each["modified_at"] >= since)
    ]
    # The second look begins where the first one found the end of its first page.
    for _ in range(2):
        assert list(read_list(stores, limit, source=source, since=since)) == expected


def test_documents_without_a_time_end_the_list(
    stores: Stores, documents: list[dict[str, Any]], mongo_database: Database[dict[str, Any]]
) -> None:
    mongo_database["items"].insert_one({"_id": "a#foreign", "source": "a"})
    page = stores.items.find_page(source=None, text=None, since=None, limit=100, cursor=None)
    assert [item["_id"] for item in page.items] == [
        *(each["_id"] for each in documents),
        "a#foreign",
    ]


def test_a_list_goes_on_while_documents_are_added(
    stores: Stores, documents: list[dict[str, Any]], mongo_database: Database[dict[str, Any]]
) -> None:
    pages = read_list(stores, 5)
    first = [next(pages) for _ in range(5)]
    mongo_database["items"].insert_one({"_id": "b#new", "source": "b", "modified_at": _NOW})
    assert [*first, *pages] == [each["_id"] for each in documents]


class OldestAsked(CommandListener):
    """Notes how far back finds look."""

    def __init__(self) -> None:
        self.moments: list[datetime] = []

    def started(self, event: CommandStartedEvent) -> None:
        span = event.command.get("filter", {}).get("at", {})
        self.moments += [span["$gt"]] if "$gt" in span else []

    def succeeded(self, event: CommandSucceededEvent) -> None: ...

    def failed(self, event: CommandFailedEvent) -> None: ...


def test_a_second_look_at_a_burst_of_long_ago_reads_no_more_of_it_than_a_page(
    mongodb_url: str, mongo_database: Database[dict[str, Any]]
) -> None:
    asked, newest = OldestAsked(), _NOW - timedelta(days=30)
    with MongoClient[dict[str, Any]](mongodb_url, tz_aware=True, event_listeners=[asked]) as client:
        collection = client[mongo_database.name]["burst"]
        collection.insert_many(
            [{"_id": f"{age_s:04}", "at": newest - timedelta(seconds=age_s)} for age_s in range(99)]
        )
        burst = PagedList(collection, "at")
        first = burst.find({}, limit=10, cursor=None)
        asked.moments.clear()
        assert burst.find({}, limit=10, cursor=None) == first
    assert min(asked.moments) == newest - timedelta(seconds=10, milliseconds=1)
