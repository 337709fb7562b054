"""Histories of a windowed feed: dispatchers, workers, rollbacks, kills, losses, a back-fill.

A machine drives a harness by rules in any order, with any of them held or killed on its way. At
each write of an indexer its intervals are checked; from each settled rollback on, nothing that was
read before may be written. When a history ends everything comes to rest, and what is left is
judged by what the publisher served to whom.
"""

from contextlib import suppress
from datetime import timedelta

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from server.feeds.backfills import BackFills
from server.feeds.windows import PullsWanted
from shared.errors import ConflictError, InvalidRequestError, NotFoundError
from shared.queue import RedisConnection
from shared.store import Feed, IndexerState
from tests.fake_publisher import POISON, hash_of
from tests.harness import SOURCE
from tests.interval_publisher import HOUR, IntervalPublisher
from tests.judge import assert_imports_balance, assert_nothing_left
from tests.mongodb_features import Feature, missing_features
from tests.role_machine import MAX_HELD, RoleMachine
from tests.roles import Held, Server
from tests.swap_log import SwapLog

_CAN_REFUSE = Feature.VALIDATORS not in missing_features()
VERSIONS = ("second", "third", *((f"{POISON} P",) if _CAN_REFUSE else ()))
_HOURS = 3
_DISPATCH_POINTS = (
    ("intervals", "swap"),
    ("imports", "read_many"),
    ("imports", "insert_many"),
    ("fetch_queue", "add_many"),
)
_FETCH_POINTS = (
    ("intervals", "read_epochs"),
    ("imports", "mark_fetching"),
    ("items", "read_versions"),
    ("imports", "commit"),
    ("light_queue", "add_many"),
    ("fetch_queue", "complete_many"),
)
_WORK_POINTS = (
    ("intervals", "read_epochs"),
    ("items", "write_many"),
    ("dead_letters", "record_many"),
    ("queue", "complete_many"),
    ("queue", "dead_letter_many"),
)
_AUDIT_POINTS = (
    ("imports", "claim_audit"),
    ("intervals", "read_epochs"),
    ("items", "read_versions"),
    ("imports", "complete"),
    ("light_queue", "add_many"),
)
_ROLLBACK_POINTS = (
    ("intervals", "swap"),
    ("imports", "find_open"),
    ("imports", "fail"),
    ("imports", "complete"),
    ("dead_letters", "delete_some"),
)


class IntervalMachine(RoleMachine):
    """One history of one feed with a window of a few hours."""

    def __init__(self, redis: RedisConnection, database_url: str) -> None:
        super().__init__(redis, database_url)
        clock = self.harness.clock
        self.begun = clock.now() - _HOURS * HOUR
        self.publisher = IntervalPublisher(self.begun)
        self.harness.publisher = self.publisher
        self._begin_anew()
        self.swaps = SwapLog(self.harness.stores)
        self.backfills = BackFills(self.harness.stores, clock, PullsWanted())

    @initialize(in_flight=st.integers(1, 3))
    def subscribe(self, in_flight: int) -> None:
        feed = Feed(
            source=SOURCE,
            urls=[self.publisher.url],
            created_at=self.harness.clock.now(),
            window={"from": self.begun, "step_s": 3600, "in_flight": in_flight},
        )
        self.harness.stores.feeds.insert(feed)
        self.harness.server.services.windows.begin(feed)

    @rule(hour=st.integers(-3, _HOURS), version=st.sampled_from(VERSIONS))
    def publish(self, hour: int, version: str) -> None:
        self.publisher.change(hour, version)

    @rule(seconds=st.sampled_from([0, 1, 11]))
    def dispatch(self, seconds: int) -> None:
        self.harness.clock.advance(seconds=seconds)
        self.harness.server.dispatch()

    @rule()
    def dispatch_and_fetch(self) -> None:
        self.harness.clock.advance(seconds=1)
        self.harness.server.dispatch()
        self.harness.server.fetch()

    @rule(seconds=st.sampled_from([0, 10]))
    def work(self, seconds: int) -> None:
        self.harness.clock.advance(seconds=seconds)
        self.harness.worker.work()

    @rule(seconds=st.sampled_from([1, 61, 3601]))
    def audit(self, seconds: int) -> None:
        self.harness.clock.advance(seconds=seconds)
        self.harness.server.look()

    @rule(quarters=st.integers(0, 4 * _HOURS))
    def roll_back(self, quarters: int) -> None:
        self._roll_back(self.harness.server, quarters)

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(
        point=st.sampled_from(_ROLLBACK_POINTS),
        after=st.booleans(),
        quarters=st.integers(0, 4 * _HOURS),
    )
    def hold_a_rollback(self, point: tuple[str, str], after: bool, quarters: int) -> None:
        server = self._new_server()
        target = getattr(server.stores, point[0])
        held = Held(lambda: self._roll_back(server, quarters), target, point[1], after=after)
        self._hold(held, server)

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(point=st.sampled_from(_DISPATCH_POINTS), after=st.booleans())
    def hold_a_dispatch(self, point: tuple[str, str], after: bool) -> None:
        server = self._new_server()
        self.harness.clock.advance(seconds=1)
        self._hold(Held(server.dispatch, *_target(server, point), after=after), server)

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(point=st.sampled_from(_FETCH_POINTS), nth=st.integers(1, 2), after=st.booleans())
    def hold_a_fetch(self, point: tuple[str, str], nth: int, after: bool) -> None:
        server = self._new_server()
        self._hold(Held(server.fetch, *_target(server, point), nth=nth, after=after), server)

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(point=st.sampled_from(_WORK_POINTS), after=st.booleans())
    def hold_work(self, point: tuple[str, str], after: bool) -> None:
        worker = self.harness.new_worker()
        owner, method = point
        target = worker.queues[0] if owner == "queue" else getattr(worker.stores, owner)
        if point == ("intervals", "read_epochs"):
            target = worker.storer._epochs._intervals
        self.harness.clock.advance(seconds=10)
        self._hold(Held(worker.work, target, method, after=after), worker)

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(point=st.sampled_from(_AUDIT_POINTS), after=st.booleans())
    def hold_an_audit(self, point: tuple[str, str], after: bool) -> None:
        server = self._new_server()
        self.harness.clock.advance(seconds=61)
        self._hold(Held(server.look, *_target(server, point), after=after), server)

    # Who is held without his locks may write behind a rollback: that is a known limit.
    @precondition(lambda self: not self.held)
    @rule()
    def lose_locks(self) -> None:
        self.harness.lose_locks()

    @precondition(lambda self: not self.held)
    @rule()
    def lose_redis(self) -> None:
        self.harness.lose_redis()

    @rule()
    def restart(self) -> None:
        self._begin_anew()

    @rule(hours=st.integers(1, 3))
    def start_a_backfill(self, hours: int) -> None:
        with suppress(ConflictError):
            self.backfills.start(SOURCE, self.begun - hours * HOUR)

    @rule(what=st.sampled_from(["pause", "resume", "resume", "cancel"]))
    def change_the_backfill(self, what: str) -> None:
        with suppress(ConflictError, NotFoundError):
            getattr(self.backfills, what)(SOURCE)

    @invariant()
    def intervals_are_gapless_and_rollbacks_hold(self) -> None:
        assert not self.swaps.faults, self.swaps.faults
        self.swaps.check_documents()

    def teardown(self) -> None:
        try:
            self._let_all_go_on()
            self._come_to_rest()
            self._judge()
            self.publisher.fix()
            self._roll_back(self.harness.server, 0)
            self._come_to_rest()
            self._judge()
            self._assert_all_is_shown()
        finally:
            self.swaps.end()
            self._close()

    def _begin_anew(self) -> None:
        self.harness.replace_roles()
        self.publisher.follow(self.harness.server)

    def _new_server(self) -> Server:
        server = self.harness.new_server()
        self.publisher.follow(server)
        return server

    def _roll_back(self, server: Server, quarters: int) -> None:
        """Roll back, and settle what can be: whatever somebody holds up is left to dispatchers."""
        rollbacks = server.services.rollbacks
        with suppress(InvalidRequestError):
            begun = rollbacks.begin(SOURCE, self.begun + quarters * timedelta(minutes=15))
            rollbacks.settle(begun)

    def _come_to_rest(self) -> None:
        with suppress(ConflictError, NotFoundError):
            self.backfills.resume(SOURCE)
        super()._come_to_rest()
        self.intervals_are_gapless_and_rollbacks_hold()

    def _state(self, name: str = SOURCE) -> IndexerState | None:
        return self.harness.stores.intervals.get(name)

    def _judge(self) -> None:
        window = self._state()
        assert window is not None
        assert (window.open, window.settled_epoch) == ((), window.epoch)
        listed = self.publisher.titles(self.begun, window.cursor, overlap=False)
        backfill = self._state(f"{SOURCE}#backfill")
        if backfill is not None and backfill.backfill is not None:
            assert backfill.backfill.is_ended
            if backfill.backfill.outcome == "done":
                starts_at = backfill.backfill.starts_at
                listed |= self.publisher.titles(starts_at, self.begun, overlap=False)
        self._assert_newest_is_stored(set(listed))
        assert_imports_balance(self.harness)
        assert_nothing_left(self.harness)

    def _assert_newest_is_stored(self, guids: set[str]) -> None:
        """Assert that each item is as the committed run of the highest revision was served it."""
        newest: dict[str, str] = {}
        page = self._database.collection("imports").find({"state": "completed"})
        committed = {one["revision"]: one["_id"] for one in page if one["trigger"] == "pull"}
        for revision, served in sorted(self.publisher.runs.items()):
            if committed.get(revision) == served.import_id:
                newest |= served.titles
        found = self._database.collection("items").find({}, {"content_hash": 1})
        hashes = {one["_id"]: one["content_hash"] for one in found}
        for guid in guids:
            item_id = f"{SOURCE}#{guid}"
            assert guid in newest, f"{guid} was never fetched by a run that was committed"
            if newest[guid].startswith(POISON):
                assert self.harness.stores.dead_letters.get(item_id) is not None
            else:
                assert hashes.get(item_id) == hash_of(guid, newest[guid]), guid

    def _assert_all_is_shown(self) -> None:
        """Assert that the window's items are as they are shown now, after all was read again."""
        window = self._state()
        assert window is not None
        shown = self.publisher.titles(self.begun, window.cursor, overlap=False)
        found = self._database.collection("items").find({}, {"content_hash": 1})
        hashes = {one["_id"]: one["content_hash"] for one in found}
        expected = {f"{SOURCE}#{guid}": hash_of(guid, title) for guid, title in shown.items()}
        assert {name: hashes.get(name) for name in expected} == expected


def _target(server: Server, point: tuple[str, str]) -> tuple[object, str]:
    owner, method = point
    if owner == "fetch_queue":
        return server.process.base.queues.fetches, method
    return getattr(server.services if owner.endswith("_queue") else server.stores, owner), method


def run_interval_histories(
    redis: RedisConnection, database_url: str, count: int, *, is_repeatable: bool
) -> None:
    """Try ``count`` histories: the same ones each time, or new ones."""
    run_state_machine_as_test(
        lambda: IntervalMachine(redis, database_url),
        settings=settings(
            max_examples=count,
            stateful_step_count=20,
            derandomize=is_repeatable,
            database=None,
            deadline=None,
            print_blob=True,
            # A history takes seconds: to find a shorter one that fails too would take many minutes.
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        ),
    )
