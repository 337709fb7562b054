"""Back-fills: what may be begun, paused and ended, and how far one is, on a MongoDB in memory."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, cast

import mongomock
import pytest

from server.feeds.backfills import BackFills, name_of
from server.feeds.progress import find_runs, show_progress
from server.feeds.pulls import pull_import_id
from server.feeds.windows import PullsWanted
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.store import Feed, Import, ImportState, Stores, Trigger
from shared.store.database import Database
from shared.store.intervals import BackFill, IndexerState, OpenInterval
from tests.fakes import FakeClock

HOUR = timedelta(hours=1)
BEGUN = datetime(2026, 10, 1, tzinfo=UTC)
URL = "https://board.example/?from={start}&to={ended}"
WINDOW = {"from": BEGUN, "step_s": 3600}


class MemoryDatabase:
    """Gives out collections as :class:`~shared.store.database.Database` does."""

    def __init__(self) -> None:
        self._database = mongomock.MongoClient(tz_aware=True).get_database("test")

    def collection(self, name: str) -> Any:
        return self._database[name]


class Board:
    """A feed, and the back-fills of it."""

    def __init__(self, window: Mapping[str, Any] | None = None, **fields: Any) -> None:
        self.clock = FakeClock()
        self.stores = Stores.of(cast("Database", MemoryDatabase()))
        self.wanted = PullsWanted()
        self.backfills = BackFills(self.stores, self.clock, self.wanted)
        self.add("board", window, **fields)

    def add(self, source: str, window: Mapping[str, Any] | None = None, **fields: Any) -> None:
        values: dict[str, Any] = {"urls": [f"{URL}&of={source}"], **fields}
        now = self.clock.now()
        self.stores.feeds.insert(
            Feed(source=source, created_at=now, window=dict(window) if window else None, **values)
        )

    @property
    def state(self) -> IndexerState:
        found = self.stores.intervals.get(name_of("board"))
        assert found is not None
        return found

    def put(self, **fields: Any) -> None:
        """Store the back-fill changed, as a dispatcher would."""
        state = self.state
        assert state.backfill is not None
        changed = replace(state, backfill=replace(state.backfill, **fields))
        assert self.stores.intervals.swap(state, changed)


@pytest.fixture
def board() -> Board:
    return Board(WINDOW)


def at(hours: float) -> datetime:
    """Return the time so many hours before the window begins."""
    return BEGUN - hours * HOUR


def test_back_fill_goes_to_where_the_window_begins(board: Board) -> None:
    begun = board.backfills.start("board", at(10))
    assert (begun.starts_at, begun.until, begun.total, begun.state) == (
        at(10),
        BEGUN,
        10,
        "running",
    )
    assert (board.state.cursor, board.state.due_at) == (at(10), board.clock.now())
    assert board.wanted.is_set()


def test_back_fill_may_end_earlier_and_its_last_interval_is_short(board: Board) -> None:
    begun = board.backfills.start("board", at(10), at(7.5))
    assert (begun.until, begun.total) == (at(7.5), 3)


def test_back_fill_keeps_the_window_it_began_with(board: Board) -> None:
    board.backfills.start("board", at(10))
    board.stores.feeds.update("board", {"window": {**WINDOW, "step_s": 60}})
    assert board.backfills.get("board").total == 10


@pytest.mark.parametrize(
    ("from_", "to", "words"),
    [
        (at(-1), None, "must be before .*, where the feed's window begins"),
        (at(5), at(5), "must be before .*, to"),
        (at(5), at(-1e6), "to .* must not be after"),
        (at(-1e6), None, "must be in the past"),
        (datetime(1969, 12, 31, tzinfo=UTC), None, "must not be before 1970"),
    ],
)
def test_times_that_cannot_be_are_refused(
    board: Board, from_: datetime, to: datetime | None, words: str
) -> None:
    with pytest.raises(InvalidRequestError, match=words):
        board.backfills.start("board", from_, to)
    assert board.stores.intervals.get(name_of("board")) is None


def test_too_many_intervals_are_refused() -> None:
    board = Board({**WINDOW, "step_s": 1})
    with pytest.raises(InvalidRequestError, match="at most 10000000 intervals"):
        board.backfills.start("board", datetime(2000, 1, 1, tzinfo=UTC))


def test_lag_of_the_window_holds_for_a_back_fill() -> None:
    board = Board({**WINDOW, "lag_s": 3600})
    now = board.clock.now()
    with pytest.raises(InvalidRequestError, match="less the lag"):
        board.backfills.start("board", at(1), now - HOUR / 2)
    assert board.backfills.start("board", at(1), now - HOUR).until == now - HOUR


def test_feeds_that_have_no_times_to_fill_are_refused(board: Board) -> None:
    board.add("pages", {**WINDOW, "format": "page"})
    board.add("handed-in", urls=[])
    board.add("spoilt", {"from": BEGUN, "step_s": -1})
    for source, words in (
        ("pages", "by page number"),
        ("handed-in", "no URL"),
        ("spoilt", "step_s must be"),
    ):
        with pytest.raises(InvalidRequestError, match=words):
            board.backfills.start(source, at(1))
    with pytest.raises(NotFoundError, match="no feed 'gone'"):
        board.backfills.start("gone", at(1))


def test_feed_without_a_window_is_read_back_by_its_pages() -> None:
    board = Board()
    begun = board.backfills.start("board", at(10))
    assert (begun.starts_at, begun.until, begun.total) == (at(10), None, None)
    planned = board.state.backfill
    assert planned is not None
    assert (board.state.cursor, planned.next_url) == (1, f"{URL}&of=board")
    assert planned.content_revision == 1
    assert planned.step == {"pages": True, "from": at(10), "urls": [f"{URL}&of=board"]}


def test_pages_have_no_end_to_choose() -> None:
    with pytest.raises(InvalidRequestError, match="leave out to"):
        Board().backfills.start("board", at(10), at(5))


def test_one_back_fill_of_a_feed_is_under_way_at_a_time(board: Board) -> None:
    board.backfills.start("board", at(10))
    with pytest.raises(ConflictError, match="cancel it first"):
        board.backfills.start("board", at(20))
    board.backfills.pause("board")
    with pytest.raises(ConflictError):
        board.backfills.start("board", at(20))
    assert board.state.epoch == 1


def test_next_back_fill_is_of_a_further_epoch_and_shows_the_last(board: Board) -> None:
    board.backfills.start("board", at(10))
    board.put(is_ended=True, outcome="done", ended_at=at(0), done=10, items=70)

    begun = board.backfills.start("board", at(20), at(10))

    assert (begun.epoch, begun.starts_at, begun.done) == (2, at(20), 0)
    assert (board.state.settled_epoch, board.state.cursor) == (1, at(20))
    assert begun.history == [
        {
            "from": at(10),
            "to": BEGUN,
            "state": "completed",
            "started_at": board.clock.now(),
            "ended_at": at(0),
            "intervals": 10,
            "items": 70,
        }
    ]


def test_history_holds_the_last_ten(board: Board) -> None:
    for number in range(12):
        board.backfills.start("board", at(20 + number))
        board.backfills.cancel("board")
    shown = board.backfills.get("board")
    assert [each["from"] for each in shown.history] == [at(20 + n) for n in range(10, 0, -1)]


def test_pause_and_resume_may_be_repeated(board: Board) -> None:
    board.backfills.start("board", at(10))
    board.put(recent=[at(0)])
    assert [board.backfills.pause("board").state for _ in range(2)] == ["paused"] * 2
    board.clock.advance(seconds=60)
    assert [board.backfills.resume("board").state for _ in range(2)] == ["running"] * 2
    assert board.state.due_at == board.clock.now()
    # The pause is not counted as time that an interval took.
    assert board.state.backfill is not None
    assert board.state.backfill.recent == []


def test_cancelling_makes_stale_what_is_under_way(board: Board) -> None:
    board.backfills.start("board", at(10))
    ended = board.backfills.cancel("board")
    assert (ended.state, ended.ended_at, ended.epoch) == ("cancelled", board.clock.now(), 2)
    assert (board.state.open, board.state.settled_epoch) == ((), 1)
    assert board.state.due_at == board.clock.now()


def test_what_has_ended_is_changed_no_more(board: Board) -> None:
    board.backfills.start("board", at(10))
    board.backfills.cancel("board")
    for act in (board.backfills.pause, board.backfills.resume, board.backfills.cancel):
        with pytest.raises(ConflictError, match="has ended"):
            act("board")


def test_feed_that_never_had_one_has_none_to_show(board: Board) -> None:
    for act in (board.backfills.get, board.backfills.pause, board.backfills.cancel):
        with pytest.raises(NotFoundError, match="has no back-fill"):
            act("board")
        with pytest.raises(NotFoundError, match="there is no feed"):
            act("gone")


def test_ending_is_for_what_is_under_way_alone(board: Board) -> None:
    board.backfills.end("board")
    board.backfills.start("board", at(10))
    board.backfills.end("board")
    board.backfills.end("board")
    assert board.state.epoch == 2
    assert board.backfills.get("board").state == "cancelled"


def test_those_under_way_are_listed_by_source(board: Board) -> None:
    for source in ("paused", "ended", "another"):
        board.add(source, WINDOW)
        board.backfills.start(source, at(10))
    board.backfills.pause("paused")
    board.backfills.cancel("ended")
    listed = [(each.source, each.state) for each in board.backfills.list_running()]
    assert listed == [("another", "running"), ("paused", "paused")]


# How far one is.


def make_state(*opened: OpenInterval, **fields: Any) -> IndexerState:
    backfill = BackFill(
        starts_at=at(100), until=BEGUN, step={"step_s": 3600}, started_at=BEGUN, **fields
    )
    return IndexerState(
        "board#backfill", "board", epoch=1, cursor=at(50), open=opened, backfill=backfill
    )


def interval(hours: float, **fields: Any) -> OpenInterval:
    return OpenInterval(at(hours), at(hours - 1), 1, taken_at=BEGUN, **fields)


def import_of(import_id: str, state: ImportState, error: str | None = None) -> Import:
    return Import(import_id, "board", [URL], Trigger.PULL, state, BEGUN, error=error)


@pytest.mark.parametrize(
    ("fields", "now_s", "left_s"),
    [
        # Twenty closings, a second apart: 60 intervals are left.
        ({"done": 40, "recent": [BEGUN + timedelta(seconds=n) for n in range(20)]}, 19, 60.0),
        # Nothing came for as long again: it takes twice as long.
        ({"done": 40, "recent": [BEGUN + timedelta(seconds=n) for n in range(20)]}, 38, 120.0),
        ({"done": 98, "recent": [BEGUN, BEGUN, BEGUN]}, 10, 10.0),
        ({"done": 2, "recent": [BEGUN, BEGUN]}, 10, None),
        ({"done": 3, "recent": [BEGUN] * 3, "is_paused": True}, 10, None),
        ({"done": 3, "recent": [BEGUN] * 3, "is_ended": True, "outcome": "done"}, 10, None),
    ],
)
def test_time_left_is_told_by_the_last_closings(
    fields: dict[str, Any], now_s: int, left_s: float | None
) -> None:
    shown = show_progress(make_state(**fields), {}, BEGUN + timedelta(seconds=now_s))
    assert shown.seconds_left == left_s


def test_in_flight_is_what_is_not_committed() -> None:
    committed, fetching, missing = interval(3), interval(2), interval(1)
    state = make_state(committed, fetching, missing)
    imports = {
        pull_import_id(state.name, one): import_of(pull_import_id(state.name, one), its_state)
        for one, its_state in (
            (committed, ImportState.IMPORTING),
            (fetching, ImportState.FETCHING),
        )
    }
    assert show_progress(state, imports, BEGUN).in_flight == 2


def test_failing_intervals_are_shown_with_the_latest_error() -> None:
    waiting = interval(2, tries=2, retry_at=BEGUN + HOUR)
    again = interval(1, tries=1)
    state = make_state(waiting, again)
    runs = list(find_runs(state))
    imports = {
        runs[1]: import_of(runs[1], ImportState.FAILED, "timeout: no answer"),
        runs[2]: import_of(runs[2], ImportState.FETCHING),
    }
    shown = show_progress(state, imports, BEGUN)
    assert (shown.failing, shown.in_flight, shown.error) == (2, 1, "timeout: no answer")


def test_back_fill_that_ended_for_another_reason_says_it() -> None:
    shown = show_progress(make_state(is_ended=True, outcome="the feed was deleted"), {}, BEGUN)
    assert (shown.state, shown.error) == ("cancelled", "the feed was deleted")
