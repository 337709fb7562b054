"""A back-fill by page: which page comes next, and where the chain ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from server.feeds.page_chains import MAX_PAGES
from server.feeds.rounds import BackFillLimits, Conditions, Round, advance
from shared.store import Feed, Import, ImportState
from shared.store.intervals import BackFill, IndexerState

NOON = datetime(2026, 11, 28, 12, tzinfo=UTC)
LIMITS = BackFillLimits(3, timedelta(milliseconds=1))
FIRST, SECOND, OTHER = (f"https://news.example/{name}" for name in ("1", "2", "other"))
FEED = Feed(source="news", urls=[FIRST], created_at=NOON)


class Chain:
    """A back-fill, round after round a second apart; its imports end as they are told."""

    def __init__(self, *urls: str) -> None:
        self.feed = replace(FEED, urls=list(urls))
        step = {"pages": True, "from": NOON, "urls": list(urls)}
        backfill = BackFill(1, None, step, NOON, next_url=urls[0], content_revision=1)
        self.state = IndexerState(
            "news#backfill", "news", epoch=1, settled_epoch=1, cursor=1, backfill=backfill
        )
        self.imports: dict[str, Import] = {}
        self.now = NOON

    def advance(self) -> Round:
        self.now += timedelta(seconds=1)
        done = advance(self.state, Conditions(self.feed, self.imports, self.now, LIMITS))
        self.state = done.state
        self.imports |= {each.import_id: each for each in done.to_insert}
        return done

    def end(self, one: Import, state: ImportState, next_page: str | None = None) -> None:
        self.imports[one.import_id] = replace(one, state=state, next_page=next_page)

    def take(self) -> Import:
        [new] = self.advance().to_insert
        return new

    @property
    def outcome(self) -> str | None:
        assert self.state.backfill is not None
        return self.state.backfill.outcome


def test_the_first_page_is_the_feeds_and_the_next_is_the_one_that_it_names() -> None:
    chain = Chain(FIRST)

    first = chain.take()
    assert (first.urls, first.content_revision) == ([FIRST], 1)
    assert first.interval == {"start": 1, "ended": 2, "from": NOON}

    chain.end(first, ImportState.IMPORTING, SECOND)
    assert chain.take().urls == [SECOND]


def test_the_next_page_waits_for_the_commit_of_the_one_before() -> None:
    chain = Chain(FIRST)
    chain.end(chain.take(), ImportState.FETCHING)

    assert chain.advance().to_insert == []


def test_a_back_fill_ends_behind_a_page_that_names_no_other() -> None:
    chain = Chain(FIRST)
    chain.end(chain.take(), ImportState.COMPLETED)

    chain.advance()

    assert chain.outcome == "done"


def test_it_is_not_done_before_its_last_page_is_stored() -> None:
    chain = Chain(FIRST)
    last = chain.take()
    chain.end(last, ImportState.IMPORTING)
    chain.advance()
    assert chain.outcome is None

    chain.end(last, ImportState.COMPLETED)
    chain.advance()
    assert chain.outcome == "done"


@pytest.mark.parametrize("named", [FIRST, SECOND])
def test_pages_that_name_one_another_in_a_circle_come_to_an_end(named: str) -> None:
    chain = Chain(FIRST)
    chain.end(chain.take(), ImportState.COMPLETED, SECOND)
    chain.end(chain.take(), ImportState.COMPLETED, named)

    chain.advance()

    assert chain.outcome == "done"


def test_behind_the_last_page_of_one_url_comes_the_next_url() -> None:
    chain = Chain(FIRST, OTHER)
    chain.end(chain.take(), ImportState.COMPLETED)

    assert chain.take().urls == [OTHER]


def test_a_lost_import_is_inserted_again_with_its_url() -> None:
    chain = Chain(FIRST)
    chain.end(chain.take(), ImportState.COMPLETED, SECOND)
    lost = chain.take()
    del chain.imports[lost.import_id]

    assert chain.take() == replace(lost, requested_at=chain.now)


def test_a_page_that_fails_is_tried_again_before_any_other() -> None:
    chain = Chain(FIRST)
    failed = chain.take()
    chain.end(failed, ImportState.FAILED)
    assert chain.advance().to_insert == []

    chain.now += timedelta(minutes=1)

    assert chain.take().urls == failed.urls


def test_the_next_page_is_remembered_through_a_pause() -> None:
    chain = Chain(FIRST)
    chain.end(chain.take(), ImportState.COMPLETED, SECOND)
    pause(chain, is_paused=True)
    assert chain.advance().to_insert == []

    pause(chain, is_paused=False)

    assert chain.take().urls == [SECOND]


def pause(chain: Chain, *, is_paused: bool) -> None:
    assert chain.state.backfill is not None
    backfill = replace(chain.state.backfill, is_paused=is_paused)
    chain.state = replace(chain.state, backfill=backfill)


def test_a_chain_is_not_followed_for_ever() -> None:
    chain = Chain(FIRST)
    new = chain.take()
    assert chain.state.backfill is not None
    seen = [*chain.state.backfill.seen, *("x",) * MAX_PAGES]
    chain.state = replace(chain.state, backfill=replace(chain.state.backfill, seen=seen))
    chain.end(new, ImportState.COMPLETED, SECOND)

    chain.advance()

    assert chain.outcome == "done"
