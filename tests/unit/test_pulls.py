"""Rounds of a dispatcher: what follows from each state of an interval's import."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from server.feeds.pulls import (
    pull_import,
    pull_import_id,
    pull_job,
    pull_job_id,
    read_pull_job_id,
)
from server.feeds.rounds import (
    FIRST_RETRY,
    LOOK_EVERY,
    MAX_RETRY,
    BackFillLimits,
    Conditions,
    Round,
    advance,
)
from shared.store import Feed, Import, ImportState
from shared.store.intervals import BackFill, IndexerState, OpenInterval
from shared.store.reading import Misfit

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
WINDOW = {"from": NOON, "step_s": 3600}
URL = "https://news.example/{start}"
NOW = NOON + 10 * HOUR
LIMITS = BackFillLimits(3, timedelta(seconds=0.5))
FEED = Feed(source="news", urls=[URL], created_at=NOON, window=WINDOW)


def indexer(*opened: OpenInterval, **fields: Any) -> IndexerState:
    values: dict[str, Any] = {"epoch": 1, "settled_epoch": 1, "cursor": NOON, "open": opened}
    return IndexerState("news", "news", **(values | fields))


def opened(number: int = 0, **fields: Any) -> OpenInterval:
    start = NOON + number * HOUR
    return OpenInterval(start, start + HOUR, 1, taken_at=NOON, **fields)


def import_of(one: OpenInterval, state: ImportState, **fields: Any) -> Import:
    return replace(pull_import(indexer(), one, FEED, NOW), state=state, **fields)


def conditions(*imports: Import, feed: Feed | None = FEED, **fields: Any) -> Conditions:
    return Conditions(feed, {each.import_id: each for each in imports}, NOW, LIMITS, **fields)


def advanced(one: OpenInterval, importing: Import | None, **fields: Any) -> Round:
    """Return the round of an indexer that has one interval open, and nothing else to take."""
    found = conditions(*([importing] if importing else []), **fields)
    return advance(indexer(one, cursor=NOW), found)


def test_an_interval_is_taken_before_its_import_is_there() -> None:
    done = advance(indexer(), conditions())

    [one] = done.state.open
    [new] = done.to_insert
    assert (one.start, one.ended, done.state.cursor) == (NOON, NOON + HOUR, NOON + HOUR)
    assert new.import_id == pull_import_id("news", one)
    assert new.interval == {"start": NOON, "ended": NOON + HOUR}
    assert new.urls == ["https://news.example/2026-11-28T12:00:00Z"]
    assert done.state.due_at == NOW + LOOK_EVERY


def test_a_lost_import_is_inserted_again_under_its_id() -> None:
    one = opened()

    [again] = advanced(one, None).to_insert

    assert again.import_id == pull_import_id("news", one)


@pytest.mark.parametrize("state", [ImportState.QUEUED, ImportState.FETCHING])
def test_what_waits_for_long_may_have_lost_its_job(state: ImportState) -> None:
    one = opened()
    fresh = import_of(one, state)
    old = replace(fresh, requested_at=NOW - timedelta(seconds=10))

    assert advanced(one, fresh).waiting == []
    assert advanced(one, old).waiting == [old]


@pytest.mark.parametrize(
    "changed",
    [
        {"source": "other"},
        {"indexer": None},
        {"epoch": None},
        {"interval": None},
        {"interval": {"start": "x"}},
    ],
)
def test_what_lost_its_job_is_given_that_of_its_interval_whatever_its_document_says(
    changed: dict[str, Any],
) -> None:
    old = import_of(opened(), ImportState.QUEUED, requested_at=NOW - timedelta(seconds=10))

    assert advanced(opened(), replace(old, **changed)).waiting == [old]


def test_as_many_are_in_flight_as_may_be_and_what_is_committed_is_not() -> None:
    feed = replace(FEED, window={**WINDOW, "in_flight": 2})
    running, committed = opened(0), opened(1)
    imports = [
        import_of(running, ImportState.FETCHING),
        import_of(committed, ImportState.IMPORTING),
    ]
    state = indexer(running, committed, cursor=NOON + 2 * HOUR)

    done = advance(state, conditions(*imports, feed=feed))

    assert [one.start for one in done.state.open] == [NOON + n * HOUR for n in range(3)]


def test_what_is_committed_and_not_closed_holds_up_more_than_32() -> None:
    open_ = [replace(opened(), start=NOON + n * HOUR, ended=NOON + n * HOUR) for n in range(33)]
    imports = [import_of(one, ImportState.IMPORTING) for one in open_]

    done = advance(indexer(*open_), conditions(*imports))

    assert done.to_insert == []


def test_a_completed_interval_is_open_no_more() -> None:
    one = opened()
    ended = import_of(one, ImportState.COMPLETED, finished_at=NOW)

    done = advanced(one, ended)

    assert done.state.open == ()
    assert done.closed == [ended]
    assert done.feed_changes["last_import"] == ended.import_id


def test_a_failed_interval_waits_longer_each_time_for_another_try() -> None:
    for tries, pause in ((0, FIRST_RETRY), (1, 2 * FIRST_RETRY), (30, MAX_RETRY)):
        one = opened(tries=tries)
        failed = import_of(one, ImportState.FAILED, error="timeout: no answer")

        done = advanced(one, failed)

        assert done.state.open == (replace(one, tries=tries + 1, retry_at=NOW + pause),)
        assert done.to_insert == []
        assert done.feed_changes["error"] == "timeout: no answer"
        assert done.feed_changes["consecutive_failures"] == 1


def test_another_try_is_another_import_and_goes_before_what_is_new() -> None:
    waiting = opened(0, tries=1, retry_at=NOW)

    done = advance(indexer(waiting, cursor=NOON + HOUR), conditions())

    [new] = done.to_insert
    assert new.import_id == pull_import_id("news", replace(waiting, retry_at=None))
    assert new.import_id != pull_import_id("news", opened(0))
    assert done.state.cursor == NOON + HOUR


def test_an_interval_that_waits_for_its_retry_holds_up_no_other() -> None:
    waiting = opened(0, tries=1, retry_at=NOW + HOUR)

    done = advance(indexer(waiting, cursor=NOON + HOUR), conditions())

    assert done.state.cursor == NOON + 2 * HOUR


@pytest.mark.parametrize(
    "held",
    [
        {"feed": replace(FEED, enabled=False)},
        {"blocked_until": NOW + HOUR},
        {"is_reparsing": True},
    ],
)
def test_nothing_is_taken_while_something_forbids_it(held: dict[str, Any]) -> None:
    done = advance(indexer(), conditions(**held))

    assert done.state.open == ()


def test_nothing_is_taken_before_a_rollback_is_settled() -> None:
    done = advance(indexer(epoch=2), conditions())

    assert (done.state.open, done.state.due_at) == ((), NOW + LOOK_EVERY)


def test_who_asks_now_gets_also_what_is_disabled_or_waits() -> None:
    feed = replace(FEED, enabled=False)
    waiting = opened(0, tries=1, retry_at=NOW + HOUR)

    done = advance(indexer(waiting, cursor=NOW), conditions(feed=feed, is_asked=True))

    assert len(done.to_insert) == 1


def test_who_asks_for_a_disabled_window_does_not_let_it_announce_what_is_next() -> None:
    failed = replace(
        pull_import(indexer(), opened(), FEED, NOW), state=ImportState.FAILED, error="timeout: late"
    )
    feed = replace(FEED, enabled=False)

    done = advance(indexer(opened()), conditions(failed, feed=feed, is_asked=True))

    assert done.feed_changes["error"] == "timeout: late"
    assert "next_fetch_reason" not in done.feed_changes


@pytest.mark.parametrize("feed", [None, replace(FEED, window=None)])
def test_a_window_ends_with_its_feed(feed: Feed | None) -> None:
    done = advance(indexer(opened()), conditions(feed=feed))

    assert (done.state.is_active, done.state.open, done.state.due_at) == (False, (), None)


def test_a_window_that_has_read_all_is_due_when_its_next_interval_is_over() -> None:
    done = advance(indexer(cursor=NOW), conditions())

    assert done.state.due_at == NOW + HOUR
    reason = "its window: next from 2026-11-28T22:00:00.000Z, when 2026-11-28T23:00:00.000Z"
    assert done.feed_changes == {"next_fetch_reason": f"{reason} has passed"}


def test_a_window_of_another_kind_than_its_cursor_is_refused() -> None:
    feed = replace(FEED, window={**WINDOW, "format": "page"})

    with pytest.raises(Misfit, match="not of the same kind"):
        advance(indexer(), conditions(feed=feed))


class TestByPage:
    feed = replace(FEED, window={**WINDOW, "format": "page"})

    def one(self, page: int) -> OpenInterval:
        return OpenInterval(page, page + 1, 1, taken_at=NOON)

    def advance(self, page: int, state: ImportState, fetched: int) -> Round:
        one = self.one(page)
        new = pull_import(indexer(), one, self.feed, NOW)
        found = replace(new, state=state, counts={"fetched": fetched})
        return advance(indexer(one, cursor=page + 1), conditions(found, feed=self.feed))

    def test_the_next_page_is_taken_when_the_one_before_is_closed(self) -> None:
        assert self.advance(3, ImportState.IMPORTING, 5).to_insert == []
        assert self.advance(3, ImportState.COMPLETED, 5).state.cursor == 5

    def test_behind_an_empty_page_the_last_one_is_read_again_after_a_step(self) -> None:
        done = self.advance(3, ImportState.COMPLETED, 0)

        assert (done.state.cursor, done.state.open) == (2, ())
        assert done.state.due_at == NOW + HOUR

    def test_an_empty_first_page_is_read_again(self) -> None:
        assert self.advance(1, ImportState.COMPLETED, 0).state.cursor == 1


class TestBackFill:
    def state(self, *open_: OpenInterval, **fields: Any) -> IndexerState:
        until = NOON + 3 * HOUR
        values: dict[str, Any] = {"starts_at": NOON, "until": until, "step": WINDOW}
        backfill = BackFill(**values, started_at=NOON)
        return indexer(*open_, **({"backfill": backfill} | fields))

    def test_it_keeps_its_rate_and_makes_up_for_a_late_round(self) -> None:
        done = advance(self.state(), conditions())
        assert (len(done.to_insert), done.state.next_take_at) == (1, NOW + timedelta(seconds=0.5))

        late = advance(self.state(next_take_at=NOW - timedelta(seconds=0.9)), conditions())
        assert len(late.to_insert) == 2

    def test_its_imports_are_heavy(self) -> None:
        [new] = advance(self.state(), conditions()).to_insert

        assert new.is_heavy_feed

    def test_it_counts_what_came_to_its_end(self) -> None:
        one = opened()
        counts = {"fetched": 5, "duplicate": 1, "new": 3, "dead": 1}
        ended = import_of(one, ImportState.COMPLETED, counts=counts, finished_at=NOW)

        done = advance(self.state(one, cursor=NOON + HOUR), conditions(ended))

        seen = done.state.backfill
        assert seen is not None
        assert (seen.done, seen.items, seen.new, seen.dead, seen.recent) == (1, 4, 3, 1, [NOW])

    def test_it_ends_when_all_is_taken_and_closed(self) -> None:
        done = advance(self.state(cursor=NOON + 3 * HOUR), conditions())

        assert done.state.backfill is not None
        assert (done.state.backfill.outcome, done.state.due_at) == ("done", None)

    def test_it_goes_on_while_its_feed_is_disabled_but_not_while_it_is_paused(self) -> None:
        disabled = conditions(feed=replace(FEED, enabled=False))
        assert advance(self.state(), disabled).to_insert

        state = self.state()
        assert state.backfill is not None
        paused = replace(state, backfill=replace(state.backfill, is_paused=True))
        assert advance(paused, conditions()).to_insert == []

    def test_it_ends_with_its_feed(self) -> None:
        done = advance(self.state(opened()), conditions(feed=None))

        assert done.state.backfill is not None
        assert (done.state.backfill.is_ended, done.state.open) == (True, ())


def test_a_job_names_its_interval() -> None:
    job = pull_job(import_of(opened(), ImportState.QUEUED))

    assert job.id == "feed#news#1#1795867200000"
    assert job.data == {
        "source": "news",
        "import_id": pull_import_id("news", opened()),
        "indexer": "news",
        "start": "2026-11-28T12:00:00.000Z",
        "ended": "2026-11-28T13:00:00.000Z",
        "epoch": 1,
    }


@pytest.mark.parametrize("name", ["news", "news#backfill"])
def test_a_jobs_id_tells_its_indexer_and_epoch(name: str) -> None:
    assert read_pull_job_id(pull_job_id(name, 3, NOON)) == (name, 3)
    assert read_pull_job_id(pull_job_id(name, 3, 7)) == (name, 3)


@pytest.mark.parametrize("job_id", ["feed#news", "feed#news#backfill", "item#1"])
def test_the_id_of_another_job_tells_none(job_id: str) -> None:
    assert read_pull_job_id(job_id) is None
