"""Histories that hypothesis thinks up: polls, work, audits, crashes, zombies, losses, operators.

A machine drives a harness by rules in any order; items may be damaged, so that only a lenient
reader reads them. What is stored never loses rank. When a history ends everything comes to rest,
the publisher repairs what is damaged, the feed is polled once more, and what is left is judged.
"""

from contextlib import suppress

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from shared.errors import ConflictError, NotFoundError
from shared.queue import RedisConnection
from shared.store import LetterKind
from tests.fake_publisher import POISON, feed_url, hash_of
from tests.harness import SOURCE
from tests.judge import assert_accounted_for
from tests.mongodb_features import Feature, missing_features
from tests.role_machine import MAX_HELD, RoleMachine
from tests.roles import Held, Server

GUIDS = ("a", "b")
_CAN_REFUSE = Feature.VALIDATORS not in missing_features()
TITLES = ("A", "B", "C", *((f"{POISON} P", f"{POISON} Q") if _CAN_REFUSE else ()))
_FETCH_POINTS = (
    ("imports", "mark_fetching"),
    ("items", "read_versions"),
    ("journal", "insert_chunk"),
    ("imports", "commit"),
    ("feeds", "finish"),
    ("light_queue", "add_many"),
    ("fetch_queue", "complete_many"),
)
_WORK_POINTS = (
    ("dead_letters", "read_many"),
    ("items", "read_versions"),
    ("items", "write_many"),
    ("dead_letters", "record_many"),
    ("dead_letters", "clear_many"),
    ("queue", "complete_many"),
    ("queue", "dead_letter_many"),
    ("queue", "retry_many"),
)
_AUDIT_POINTS = (
    ("imports", "claim_audit"),
    ("items", "read_versions"),
    ("dead_letters", "read_many"),
    ("imports", "complete"),
    ("journal", "delete_below"),
    ("light_queue", "add_many"),
)


class MillMachine(RoleMachine):
    """One history of one feed with two items."""

    def __init__(self, redis: RedisConnection, database_url: str) -> None:
        super().__init__(redis, database_url)
        self.shown = dict.fromkeys(GUIDS, "A")
        self.damaged: set[str] = set()

    @initialize()
    def subscribe(self) -> None:
        self.harness.subscribe(self.shown)

    @rule(guid=st.sampled_from(GUIDS), title=st.sampled_from(TITLES), is_damaged=st.booleans())
    def publish_and_poll(self, guid: str, title: str, is_damaged: bool) -> None:
        self._show(guid, title, is_damaged=is_damaged)
        self.harness.server.start(SOURCE)
        self.harness.server.fetch()

    @rule(guid=st.sampled_from(GUIDS), title=st.sampled_from(TITLES), is_damaged=st.booleans())
    def publish(self, guid: str, title: str, is_damaged: bool) -> None:
        self._show(guid, title, is_damaged=is_damaged)

    @rule(force=st.booleans())
    def start(self, force: bool) -> None:
        self.harness.server.start(SOURCE, force=force)

    @rule()
    def work(self) -> None:
        self.harness.worker.work()

    @rule()
    def work_after_a_backoff(self) -> None:
        self.harness.clock.advance(seconds=10)
        self.harness.worker.work()

    @rule(seconds=st.sampled_from([1, 6, 61, 3601]))
    def audit(self, seconds: int) -> None:
        self.harness.clock.advance(seconds=seconds)
        self.harness.server.look()

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(point=st.sampled_from(_FETCH_POINTS), after=st.booleans())
    def hold_a_fetch(self, point: tuple[str, str], after: bool) -> None:
        server = self.harness.new_server()
        owner, method = point
        target = getattr(_parts_of(server, owner), owner)
        self._hold(Held(server.fetch, target, method, after=after), server)

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(point=st.sampled_from(_WORK_POINTS), after=st.booleans())
    def hold_work(self, point: tuple[str, str], after: bool) -> None:
        worker = self.harness.new_worker()
        owner, method = point
        target = worker.queues[0] if owner == "queue" else getattr(worker.stores, owner)
        self.harness.clock.advance(seconds=10)
        self._hold(Held(worker.work, target, method, after=after), worker)

    @precondition(lambda self: len(self.held) < MAX_HELD)
    @rule(point=st.sampled_from(_AUDIT_POINTS), after=st.booleans())
    def hold_an_audit(self, point: tuple[str, str], after: bool) -> None:
        server = self.harness.new_server()
        owner, method = point
        target = getattr(_parts_of(server, owner), owner)
        self.harness.clock.advance(seconds=61)
        self._hold(Held(server.look, target, method, after=after), server)

    @rule()
    def lose_locks(self) -> None:
        self.harness.lose_locks()

    @rule()
    def lose_redis(self) -> None:
        self.harness.lose_redis()

    @rule()
    def restart(self) -> None:
        self.harness.replace_roles()

    @precondition(lambda _: _CAN_REFUSE)
    @rule(accepts=st.booleans())
    def mend_or_break_mongodb(self, accepts: bool) -> None:
        if accepts:
            self.harness.accept_poison()
        else:
            self.harness.refuse_poison()

    @rule(guid=st.sampled_from(GUIDS))
    def remove_dead_letter(self, guid: str) -> None:
        with suppress(NotFoundError):
            self.harness.server.services.remover.remove_dead_letter(f"{SOURCE}#{guid}")

    @rule(guid=st.sampled_from(GUIDS))
    def remove_job(self, guid: str) -> None:
        with suppress(NotFoundError, ConflictError):
            self.harness.server.services.remover.remove_job(
                self.harness.item_queues[0], f"{SOURCE}#{guid}"
            )

    @rule()
    def renew_feed(self) -> None:
        feeds = self.harness.server.services.feeds
        with suppress(NotFoundError):
            feeds.remove(SOURCE)
        feeds.add([feed_url(SOURCE)], source=SOURCE)

    def teardown(self) -> None:
        try:
            self._let_all_go_on()
            self._come_to_rest()
            self.harness.poll(self.shown)
            self._come_to_rest()
            self._judge()
        finally:
            self._close()

    def _show(self, guid: str, title: str, *, is_damaged: bool) -> None:
        self.shown[guid] = title
        self.damaged -= {guid}
        if is_damaged:
            self.damaged.add(guid)
        self.harness.publisher.show(SOURCE, self.shown, damaged=self.damaged)

    def _judge(self) -> None:
        ends: dict[str, set[str]] = {"stored": set(), "dead": set(), "removed": set()}
        for guid, title in self.shown.items():
            ends[self._end_of(guid, title)].add(guid)
        assert_accounted_for(
            self.harness,
            {guid: self.shown[guid] for guid in ends["stored"]},
            dead=ends["dead"],
            removed=ends["removed"],
        )
        for guid in ends["stored"]:
            assert self.ranks[f"{SOURCE}#{guid}"].is_strict, f"{guid} is a lenient reading still"

    def _end_of(self, guid: str, title: str) -> str:
        """Say how the latest version has to have ended, given what an operator did to it."""
        letter = self.harness.stores.dead_letters.get(f"{SOURCE}#{guid}")
        if letter is None or letter.content_hash != hash_of(guid, title):
            return "stored"
        if letter.kind is LetterKind.REMOVED:
            return "removed"
        return "dead" if title.startswith(POISON) else "stored"


def _parts_of(server: Server, owner: str) -> object:
    return server.services if owner.endswith("_queue") else server.stores


def run_histories(
    redis: RedisConnection, database_url: str, count: int, *, is_repeatable: bool
) -> None:
    """Try ``count`` histories: the same ones each time, or new ones."""
    run_state_machine_as_test(
        lambda: MillMachine(redis, database_url),
        settings=settings(
            max_examples=count,
            stateful_step_count=30,
            derandomize=is_repeatable,
            database=None,
            deadline=None,
            print_blob=True,
            suppress_health_check=list(HealthCheck),
        ),
    )
