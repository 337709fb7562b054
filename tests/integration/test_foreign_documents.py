"""What somebody writes into MongoDB and makes no sense costs its own feed or import only."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import bson
import pytest

from shared.store import ImportState
from tests.factories import Bench, make_data, make_letter_of
from tests.fake_publisher import feed_url
from tests.harness import Harness
from tests.integration.test_pulls import URL, add_window, pull_all, pulls_of, show, state_of

MISSING = object()
NONSENSE: dict[str, Any] = {
    "missing": MISSING,
    "null": None,
    "text": "x",
    "int64": bson.Int64(2**63 - 1),
    "list": [1, {"url": 5}],
    "document": {"a": {"b": [None]}},
    "year 9999": datetime(9999, 12, 31, tzinfo=UTC),
}
FEED_FIELDS = (
    "urls", "host", "created_at", "new_item_at", "enabled", "interval_s", "cron", "headers",
    "weight", "window", "next_fetch_at", "next_fetch_reason", "running_import", "last_import",
    "consecutive_failures", "error", "validators", "history", "history.urls",
    "history.retry_after_until", "history.gone_since", "history.failures_by_hand",
)  # fmt: skip
IMPORT_FIELDS = (
    "open", "source", "urls", "trigger", "state", "requested_at", "force", "has_document",
    "is_heavy_feed", "revision", "started_at", "finished_at", "fetches", "warnings", "counts",
    "counts.fetched", "counts.new", "journaled", "queue", "feed_step", "audited_at",
)  # fmt: skip
JOURNAL_FIELDS = ("import_id", "revision", "number", "ids", "revisions", "hashes", "body")
SOURCE_FIELDS = ("revision", "colliding_guids", "aliases")
ITEM_FIELDS = (
    "source", "guid", "title", "revision", "content_hash", "created_at", "created_by",
    "modified_at", "modified_by", "categories", "enclosures", "read_by", "counters_hash",
)  # fmt: skip
LETTER_FIELDS = (
    "queue", "source", "guid", "revision", "import_id", "content_hash", "kind", "reason",
    "error_type", "cause", "attempts", "failed_at", "data", "stacktrace", "history",
    "read_by",
)  # fmt: skip
# Lists of texts, but no host can be told from them; one has a login, which nobody is to be shown.
MALFORMED_URLS = (
    "http://me:pw@news.example:8O80/feed",
    "http://news.example:99999/",
    "http://[::1",
)
ROUNDS = 1
# With an interval of half an hour; one more may be asked for by what is being healed.
MAX_IMPORTS_A_ROUND = 2
# More than all feeds of a run need.
MAX_FETCHES = 200
# Of the kinds of nonsense in a field, this part is one run.
PARTS = 4


def spoil(harness: Harness, collection: str, query: dict[str, Any], field: str, value: Any) -> None:
    change = {"$unset": {field: ""}} if value is MISSING else {"$set": {field: value}}
    result = harness.database.collection(collection).update_many(query, change)
    assert result.matched_count > 0


def subscribe(harness: Harness, source: str, items: dict[str, str]) -> None:
    harness.publisher.show(source, items)
    harness.server.services.feeds.add([feed_url(source)], source=source, interval_s=1800)


class Spoilt(NamedTuple):
    """A feed of its own for each field that is spoilt, and each kind of nonsense in it."""

    field: str
    kind: str

    @property
    def source(self) -> str:
        return f"odd-{self.field}--{self.kind}".replace(" ", "-").replace("_", "-").lower()


def runs_of(fields: Sequence[str], *places: str) -> list[Any]:
    """Return the runs: a place, and all fields, each with some of the kinds of nonsense.

    The fields take turns with the kinds, and the places too. By `make test-long` each has it all.
    """
    runs = []
    for first, place in enumerate(places):
        for part in range(PARTS):
            spoilt = [
                Spoilt(field, kind)
                for number, field in enumerate(fields)
                for kind in list(NONSENSE)[(number + 2 * first + part) % PARTS :: PARTS]
            ]
            marks = [pytest.mark.long] if part else []
            runs.append(pytest.param(place, spoilt, id=f"{place}-{part + 1}", marks=marks))
    return runs


def subscribe_all(
    harness: Harness, spoilt: Iterable[Spoilt], items: dict[str, str]
) -> dict[str, Spoilt]:
    """Add a feed that stays as it is, and one for each kind of nonsense; return these."""
    subscribe(harness, "good", {"1": "one"})
    sources = {one.source: one for one in spoilt}
    for source in sources:
        subscribe(harness, source, items)
    return sources


def all_kinds(*fields: str) -> list[Spoilt]:
    return [Spoilt(field, kind) for field in fields for kind in NONSENSE]


def live(harness: Harness) -> None:
    """Let half an hour pass with everything at work; what is raised here would end a loop."""
    harness.clock.advance(seconds=1801)
    harness.server.scheduler.step()
    harness.reclaim()
    for _ in range(MAX_FETCHES):
        if not harness.server.fetch():
            break
    harness.work()
    harness.server.look()


def stay_alive(harness: Harness, sources: Iterable[str], *, untold: Iterable[str] = ()) -> None:
    """Prove that the good feed goes on while others are spoilt, and that nothing runs hot."""
    imports = harness.database.collection("imports")
    before = {source: imports.count_documents({"source": source}) for source in sources}
    for number in range(ROUNDS):
        harness.publisher.show("good", {"1": "one", f"n{number}": "new"})
        live(harness)
        assert harness.stores.items.get(f"good#n{number}") is not None
    harness.number("feedmill_mongodb_up")
    made = {source: imports.count_documents({"source": source}) for source in sources}
    most = ROUNDS * MAX_IMPORTS_A_ROUND
    assert {one: made[one] for one in made if made[one] - before[one] > most} == {}
    named = [found.get("source") for found in imports.find({"open": True})]
    held_up = {source for source in named if isinstance(source, str)} - set(untold)
    told = {field_of(source) for source in told_of(harness)}
    assert {source for source in held_up if field_of(source) not in told} == set()


def field_of(source: str) -> str:
    """Return what a source shares with those that are spoilt in the same field."""
    return source.partition("--")[0]


def told_of(harness: Harness) -> set[str]:
    """Return the sources of which an operator learns: from the doctor, or by a feed's error.

    The doctor names the document; an import speaks for its source, and a journal's chunk too.
    """
    read = harness.database.collection
    told = {feed["_id"] for feed in read("feeds").find({"error": {"$gt": ""}})}
    makers = {one["_id"]: one.get("source") for one in read("imports").find()}
    owners = makers | {one["_id"]: one["_id"] for one in read("feeds").find()}
    owners |= {one["_id"]: one["_id"] for one in read("sources").find()}
    for chunk in read("journal").find({"import_id": {"$in": list(makers)}}):
        owners[chunk["_id"]] = makers[chunk["import_id"]]
    misfits = " ".join(harness.stores.find_misfits(1000))
    return told | {str(owner) for name, owner in owners.items() if f"document '{name}'" in misfits}


@pytest.mark.parametrize(("state", "spoilt"), runs_of(FEED_FIELDS, "at rest", "queued"))
def test_nonsense_in_a_feed_costs_that_feed_only(
    harness: Harness, state: str, spoilt: list[Spoilt]
) -> None:
    sources = subscribe_all(harness, spoilt, {"1": "one"})
    if state == "queued":
        harness.server.scheduler.step()
    else:
        live(harness)
    for source, one in sources.items():
        spoil(harness, "feeds", {"_id": source}, one.field, NONSENSE[one.kind])
    stay_alive(harness, sources)


@pytest.mark.parametrize(("state", "spoilt"), runs_of(IMPORT_FIELDS, "queued", "importing"))
def test_nonsense_in_an_import_costs_its_own_feed_only(
    harness: Harness, state: str, spoilt: list[Spoilt]
) -> None:
    sources = subscribe_all(harness, spoilt, {"1": "one", "2": "two"})
    begin_all(harness, state)
    for source, one in sources.items():
        spoil(harness, "imports", {"source": source}, one.field, NONSENSE[one.kind])
    stay_alive(harness, sources)
    if state != "queued":
        assert_no_item_is_lost(harness, sources)


def begin_all(harness: Harness, state: str) -> None:
    harness.server.scheduler.step()
    while state != "queued" and harness.server.fetch():
        pass


def assert_no_item_is_lost(harness: Harness, sources: Iterable[str]) -> None:
    """Each item is stored, or the journal that brings it is there."""
    journaled = {
        item_id
        for chunk in harness.database.collection("journal").find({}, {"ids": True})
        for item_id in chunk["ids"]
    }
    wanted = {f"{source}#{guid}" for source in sources for guid in "12"}
    assert wanted <= harness.stores.items.read_versions(wanted).keys() | journaled


# What MongoDB sets in no document, or asks for in none.
REFUSED_STEPS: dict[str, dict[str, Any]] = {
    "empty part": {"a..b": 1},
    "empty name": {"": 1},
    "other id": {"_id": "other"},
    "conflict": {"history": {}, "history.urls": {}},
    "unknown operator": {"seen": {"$x": 1}},
    "no document": {"seen": "x"},
}


@pytest.mark.parametrize("state", [ImportState.FAILED, ImportState.IMPORTING])
def test_a_feed_step_that_mongodb_refuses_costs_its_own_feed_no_more_than_that_step(
    harness: Harness, state: ImportState
) -> None:
    later = harness.clock.now() + timedelta(hours=3)
    odd = {f"odd-{kind.replace(' ', '-')}": step for kind, step in REFUSED_STEPS.items()}
    for source, step in odd.items():
        subscribe(harness, source, {"1": "one"})
        refuse_step(harness, source, state, step | {"next_fetch_at": later})
    subscribe(harness, "good", {"1": "one"})
    live(harness)
    live(harness)
    imports = harness.database.collection("imports")
    assert {one["state"] for one in imports.find({"source": "good"})} == {ImportState.COMPLETED}
    assert imports.count_documents({"open": True}) == 0
    feeds = [harness.stores.feeds.get(source) for source in odd]
    assert [(one.running_import, one.next_fetch_at) for one in feeds if one] == [
        (None, later) for _ in odd
    ]


def refuse_step(harness: Harness, source: str, state: ImportState, step: dict[str, Any]) -> None:
    """Begin an import of a feed and leave it as if a crash had come before its feed step."""
    started = harness.server.start(source)
    is_open = state is ImportState.IMPORTING
    left = {"state": str(state), "open": is_open, "feed_step": step, "revision": 1}
    harness.database.collection("imports").update_one({"_id": started.import_id}, {"$set": left})


@pytest.mark.parametrize(("state", "spoilt"), runs_of(JOURNAL_FIELDS, "importing"))
def test_nonsense_in_the_journal_costs_its_own_import_only(
    harness: Harness, state: str, spoilt: list[Spoilt]
) -> None:
    sources = subscribe_all(harness, spoilt, {"1": "one"})
    begin_all(harness, state)
    for source, one in sources.items():
        spoil(harness, "journal", {"ids": f"{source}#1"}, one.field, NONSENSE[one.kind])
    # By two of them a chunk is found: it is as if it were gone, which only the log says so far.
    gone = {source for source, one in sources.items() if one.field in ("import_id", "revision")}
    stay_alive(harness, sources, untold=gone)


@pytest.mark.parametrize(("state", "spoilt"), runs_of(SOURCE_FIELDS, "at rest"))
def test_nonsense_in_a_source_costs_its_own_feed_only(
    harness: Harness, state: str, spoilt: list[Spoilt]
) -> None:
    sources = subscribe_all(harness, spoilt, {"1": "one"})
    live(harness)
    for source, one in sources.items():
        spoil(harness, "sources", {"_id": source}, one.field, NONSENSE[one.kind])
    stay_alive(harness, sources)


@pytest.mark.parametrize("kind", ["null", "text", "list", "int64"])
def test_foreign_jobs_of_a_source_whose_counter_is_nonsense_hold_nobody_up(
    bench: Bench, kind: str
) -> None:
    sources = bench.stores.database.collection("sources")
    sources.insert_one({"_id": "odd", "revision": NONSENSE[kind]})
    bench.add(make_data("1"), make_data("2", source="odd"), make_data("3"), revision=None)
    bench.work()
    assert bench.titles().keys() == {"1", "3"}
    [letter] = bench.dead().values()
    assert (letter.item_id, letter.error_type) == ("odd#2", "invalid")
    assert "sources: document 'odd' cannot be read: revision is" in letter.reason
    assert bench.left() == {}


def test_nonsense_in_an_item_is_written_over_by_what_is_published_next(harness: Harness) -> None:
    """One item for each field and kind; the nonsense of each is that item's alone."""
    guids = {one.source: one for one in all_kinds(*ITEM_FIELDS)}
    subscribe(harness, "good", {"1": "one"})
    subscribe(harness, "odd", dict.fromkeys(guids, "one"))
    live(harness)
    for guid, one in guids.items():
        spoil(harness, "items", {"_id": f"odd#{guid}"}, one.field, NONSENSE[one.kind])
    harness.publisher.show("odd", dict.fromkeys(guids, "changed"))
    stay_alive(harness, ["odd"])
    titles = titles_of(harness, "odd")
    # The highest revision wins, whoever gave it.
    highest = Spoilt("revision", "int64").source
    assert {guid for guid in guids if titles.get(guid) != "changed"} == {highest}


def test_nonsense_in_a_dead_letter_costs_its_own_item_only(harness: Harness) -> None:
    """One dead letter for each field and kind; the nonsense of each is that letter's alone."""
    guids = {one.source: one for one in all_kinds(*LETTER_FIELDS)}
    subscribe(harness, "good", {"1": "one"})
    subscribe(harness, "odd", {**dict.fromkeys(guids, "poison"), "2": "fine"})
    for _ in range(2):
        live(harness)
    for guid, one in guids.items():
        spoil(harness, "dead_letters", {"_id": f"odd#{guid}"}, one.field, NONSENSE[one.kind])
    repaired = dict.fromkeys(guids, "fine now")
    harness.publisher.show("odd", {**repaired, "2": "fine"})
    stay_alive(harness, ["odd"])
    harness.stores.dead_letters.find_causes()
    harness.stores.dead_letters.find_page(limit=1000, cursor=None)
    assert titles_of(harness, "odd") == {**repaired, "2": "fine"}


def titles_of(harness: Harness, source: str) -> dict[str, Any]:
    """Return the titles of a source's stored items by guid, whatever their other fields hold."""
    found = harness.database.collection("items").find({})
    titles = {one["_id"]: one.get("title") for one in found}
    return {
        item_id.removeprefix(f"{source}#"): title
        for item_id, title in titles.items()
        if item_id.startswith(f"{source}#")
    }


def test_nonsense_in_what_hosts_asked_for_costs_nobody_a_fetch(harness: Harness) -> None:
    # Year 9999 is sense: so long such a host asked to be left alone.
    spoilt = [one for one in all_kinds("host") if one.kind != "year 9999"]
    sources = subscribe_all(harness, spoilt, {"1": "one"})
    hosts = {feed.source: feed.host for feed in harness.stores.feeds.find_enabled()}
    for source, one in sources.items():
        value = NONSENSE[one.kind]
        rest = {} if value is MISSING else {"retry_after_until": value}
        harness.database.collection("hosts").insert_one({"_id": hosts[source], **rest})
    stay_alive(harness, sources)
    wanted = {f"{source}#1" for source in sources}
    assert harness.stores.items.read_versions(wanted).keys() == wanted


def subscribe_malformed(harness: Harness) -> dict[str, str]:
    """Add a feed that stays as it is, and one for each malformed URL; return these."""
    subscribe(harness, "good", {"1": "one"})
    sources = {f"odd--{number}": url for number, url in enumerate(MALFORMED_URLS)}
    for source in sources:
        subscribe(harness, source, {"1": "one"})
    return sources


@pytest.mark.parametrize("state", ["at rest", "queued"])
def test_malformed_url_of_a_feed_costs_that_feed_only(harness: Harness, state: str) -> None:
    sources = subscribe_malformed(harness)
    if state == "queued":
        harness.server.scheduler.step()
    else:
        live(harness)
    for source, url in sources.items():
        spoil(harness, "feeds", {"_id": source}, "urls", [feed_url(source), url])
    stay_alive(harness, sources)
    assert sources.keys() <= told_of(harness)


def test_malformed_url_of_an_import_that_lost_its_job_costs_that_import_only(
    harness: Harness,
) -> None:
    sources = subscribe_malformed(harness)
    harness.server.scheduler.step()
    for source, url in sources.items():
        spoil(harness, "imports", {"source": source}, "urls", [url])
    harness.lose_redis()
    harness.clock.advance(seconds=30)
    harness.server.look()
    stay_alive(harness, sources)
    assert sources.keys() <= told_of(harness)


def add_windows(harness: Harness, sources: Iterable[str]) -> None:
    """Add feeds with a window, and one that stays as it is."""
    for source in sources:
        add_window(harness, url=f"{URL}&of={source}", source=source)
    add_window(harness)
    show(harness)


def assert_all_is_pulled(harness: Harness) -> None:
    """Let hours pass for the window that stayed as it is; what is raised here would end a loop."""
    pull_all(harness)
    assert [each.state for each in pulls_of(harness)] == [ImportState.COMPLETED] * 4
    assert state_of(harness).open == ()


@pytest.mark.parametrize("url", [*MALFORMED_URLS, "http://at-{start}.example/"])
def test_malformed_url_of_a_feed_costs_its_own_window_only(harness: Harness, url: str) -> None:
    """The last is malformed as soon as there is a time in it."""
    add_windows(harness, ["odd"])
    spoil(harness, "feeds", {"_id": "odd"}, "urls", [url])
    assert_all_is_pulled(harness)
    assert harness.database.collection("imports").count_documents({"source": "odd"}) == 0
    assert "odd" in told_of(harness)

    spoil(harness, "feeds", {"_id": "odd"}, "urls", [URL])
    harness.clock.advance(minutes=1)
    harness.server.dispatch()
    assert len(state_of(harness, "odd").open) == 1


@pytest.mark.parametrize("field", ["indexer", "epoch", "interval", "interval.start"])
def test_nonsense_in_an_intervals_import_costs_its_own_window_only(
    harness: Harness, field: str
) -> None:
    sources = {one.source: one for one in all_kinds(field)}
    add_windows(harness, sources)
    harness.server.dispatch()
    for source, one in sources.items():
        spoil(harness, "imports", {"source": source}, field, NONSENSE[one.kind])
    harness.lose_redis()
    harness.clock.advance(seconds=30)
    assert_all_is_pulled(harness)
    held_up = harness.database.collection("imports").find({"open": True})
    assert {found["source"] for found in held_up} <= told_of(harness)


def test_document_that_cannot_be_read_is_told_by_the_doctor_in_words(bench: Bench) -> None:
    database, now = bench.stores.database, datetime(2026, 1, 1, tzinfo=UTC)
    feed = {"_id": "lwn", "urls": [], "created_at": now, "enabled": True, "interval_s": "hourly"}
    database.collection("feeds").insert_one(feed)
    # Whose login cannot be told from the rest: a slash in it makes it malformed.
    urls = ["http://me:hunter2/x@news.example/feed"]
    odd = {**feed, "_id": "odd", "urls": urls, "interval_s": None}
    database.collection("feeds").insert_one(odd)
    database.collection("sources").insert_one({"_id": "lwn", "revision": "3"})
    bench.stores.dead_letters.record_many([make_letter_of()])
    database.collection("dead_letters").update_one({}, {"$set": {"kind": "gone"}})
    assert bench.stores.find_misfits(10) == [
        f"{where} cannot be read: {what}; correct it in MongoDB, or delete it"
        for where, what in (
            ("feeds: document 'lwn'", "interval_s is 'hourly' (str), which is not a whole number"),
            (
                "feeds: document 'odd'",
                "urls[0] is no well-formed URL",
            ),
            ("sources: document 'lwn'", "revision is '3' (str), which is not a whole number"),
            (
                "dead_letters: document 'lwn#1'",
                "kind is 'gone' (str), which is not one of dead, removed",
            ),
        )
    ]


def test_whole_number_stored_as_a_floating_one_is_read_as_what_it_is(harness: Harness) -> None:
    subscribe(harness, "news", {"1": "one"})
    subscribe(harness, "good", {"1": "one"})
    live(harness)
    spoil(harness, "feeds", {"_id": "news"}, "interval_s", 1800.0)
    spoil(harness, "sources", {"_id": "news"}, "revision", 40.0)
    harness.publisher.show("news", {"1": "changed"})
    stay_alive(harness, ["news"])
    stored = harness.stores.items.get("news#1")
    assert stored is not None
    assert (stored["title"], stored["revision"]) == ("changed", 41)
