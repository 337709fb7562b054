"""What histories of any feed have in common: roles that are held or killed on their way."""

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from shared.models import Rank
from shared.queue import RedisConnection
from shared.store import open_database
from tests.fakes import FakeClock
from tests.harness import Harness
from tests.roles import Held, Role

MAX_HELD = 2


class RoleMachine(RuleBasedStateMachine):
    """Drives a harness on an empty Redis and a database of its own; nothing stored loses rank."""

    def __init__(self, redis: RedisConnection, database_url: str) -> None:
        super().__init__()
        redis.flushdb()
        self._database = open_database(database_url)
        self.harness = Harness(redis, self._database, FakeClock())
        self.ranks: dict[str, Rank] = {}
        self.held: list[tuple[Held, Role]] = []

    @rule()
    def fetch(self) -> None:
        self.harness.server.fetch()

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, MAX_HELD - 1))
    def let_go_on(self, which: int) -> None:
        held, _ = self.held.pop(which % len(self.held))
        held.go_on()

    @precondition(lambda self: self.held)
    @rule(which=st.integers(0, MAX_HELD - 1))
    def crash(self, which: int) -> None:
        held, role = self.held.pop(which % len(self.held))
        role.line.cut()
        held.go_on()

    @rule()
    def replay(self) -> None:
        self.harness.server.services.replayer.replay(everything=True)

    @invariant()
    def no_document_loses_rank(self) -> None:
        found = self._database.collection("items").find({}, {"revision": 1, "read_by": 1})
        ranks = {one["_id"]: Rank.of(one, one["revision"]) for one in found}
        for item_id, rank in self.ranks.items():
            assert ranks[item_id] >= rank, f"{item_id} was overwritten"
        self.ranks = ranks

    def _hold(self, held: Held, role: Role) -> None:
        if held.begin():
            self.held.append((held, role))
        else:
            held.go_on()

    def _let_all_go_on(self) -> None:
        for held, _ in self.held:
            held.go_on()

    def _come_to_rest(self) -> None:
        self.harness.lose_locks()
        self.harness.clock.advance(minutes=11)
        self.harness.come_to_rest()
        self.harness.clock.advance(hours=1)
        self.harness.come_to_rest()
        self.no_document_loses_rank()

    def _close(self) -> None:
        self._database.drop()
        self._database.close()
