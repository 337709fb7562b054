"""What the crash tests do: a piece of work, cut at one call to a store, and its healing."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from shared.errors import NotFoundError, QueueUnavailable, StoreUnavailable
from shared.store import ImportState
from tests.harness import SOURCE, Harness
from tests.judge import assert_accounted_for
from tests.lines import Crash
from tests.roles import Role, Server, Worker

# Guids tell what happens to an item between the two versions of the feed.
FIRST = {
    **{f"same-{number}": f"Title {number}" for number in range(6)},
    **{f"changed-{number}": f"Old {number}" for number in range(6)},
    "repaired": "poison to be repaired",
    "spoilt": "Good as yet",
    "bad": "poison for ever",
}
SECOND = {
    **FIRST,
    **{f"changed-{number}": f"New {number}" for number in range(6)},
    **{f"new-{number}": f"New {number}" for number in range(5)},
    "repaired": "Repaired",
    "spoilt": "poison by now",
}
_POISONED = frozenset({"spoilt", "bad"})
_REPLAY_PATIENCE_MINUTES = 11


@dataclass(frozen=True)
class Scenario:
    """A piece of work by one role, and how it is done again or finished after a crash."""

    make_role: Callable[[Harness], Role]
    prepare: Callable[[Harness], None]
    work: Callable[[Harness, Role], None]
    finish: Callable[[Harness], None]
    check: Callable[[Harness], None]


def crash_and_heal(harness: Harness, name: str, *, call: int, executed: bool) -> bool:
    """Run a scenario, crash at a call, heal with fresh roles, and judge; False: no such call."""
    scenario = SCENARIOS[name]
    role = _begin(harness, scenario)
    role.line.cut_at(call, executed=executed)
    with suppress(Crash):
        scenario.work(harness, role)
    harness.replace_roles()
    _end(harness, scenario)
    return role.line.was_met


def fail_and_go_on(harness: Harness, name: str, *, call: int, executed: bool) -> bool:
    """Run a scenario, lose the connection for one call, and judge; False: no such call.

    The role lives on with all that it has in memory, and finishes by itself.
    """
    scenario = SCENARIOS[name]
    role = _begin(harness, scenario)
    role.line.cut_at(call, executed=executed, is_passing=True)
    with suppress(StoreUnavailable, QueueUnavailable):
        scenario.work(harness, role)
    role.line.fix()
    if isinstance(role, Server):
        harness.server = role
    elif isinstance(role, Worker):
        harness.worker = role
    _end(harness, scenario)
    return role.line.was_met


def _begin(harness: Harness, scenario: Scenario) -> Role:
    harness.subscribe(FIRST)
    harness.poll()
    harness.come_to_rest()
    scenario.prepare(harness)
    return scenario.make_role(harness)


def _end(harness: Harness, scenario: Scenario) -> None:
    harness.lose_locks()
    scenario.finish(harness)
    scenario.check(harness)


def _import_on_server(harness: Harness, server: Role) -> None:
    assert isinstance(server, Server)
    server.start(SOURCE)
    while server.fetch():
        pass
    _work_and_audit(harness, server)


def _import_through_a_loss(harness: Harness, server: Role) -> None:
    assert isinstance(server, Server)
    server.start(SOURCE)
    while server.fetch():
        pass
    harness.lose_redis()
    server.look()
    _work_and_audit(harness, server)


def _replay(harness: Harness, server: Role) -> None:
    assert isinstance(server, Server)
    server.services.replayer.replay(everything=True)
    _work_and_audit(harness, server)


def _remove_letter(_: Harness, server: Role) -> None:
    assert isinstance(server, Server)
    server.services.remover.remove_dead_letter(f"{SOURCE}#bad")


def _remove_job(harness: Harness, server: Role) -> None:
    assert isinstance(server, Server)
    server.services.remover.remove_job(server.services.light_queue, f"{SOURCE}#new-0")


def _renew_feed(harness: Harness, server: Role) -> None:
    assert isinstance(server, Server)
    server.start(SOURCE)
    server.services.feeds.remove(SOURCE)


def _import_on_worker(harness: Harness, worker: Role) -> None:
    assert isinstance(worker, Worker)
    for _ in range(2):
        while worker.work():
            pass
        # The second attempt of what was refused is due.
        harness.clock.advance(seconds=60)


def _work_and_audit(harness: Harness, server: Server) -> None:
    harness.work()
    harness.clock.advance(seconds=60)
    harness.work()
    for _ in range(2):
        server.look()
        harness.clock.advance(seconds=6)


def _show_second(harness: Harness) -> None:
    harness.publisher.show(SOURCE, SECOND)


def _poll_second(harness: Harness) -> None:
    harness.poll(SECOND)


def _finish_import(harness: Harness) -> None:
    """Without the publisher, if the import was committed; else a later poll reads it."""
    harness.server.heal()
    was_committed = _is_second_committed(harness)
    if was_committed:
        harness.publisher.break_down()
    _rest_and_sweep(harness)
    if not was_committed:
        harness.poll()
        _rest_and_sweep(harness)


def _finish_replay(harness: Harness) -> None:
    harness.clock.advance(minutes=_REPLAY_PATIENCE_MINUTES)
    _rest_and_sweep(harness)
    harness.server.services.replayer.replay(everything=True)
    _rest_and_sweep(harness)


def _finish_letter_removal(harness: Harness) -> None:
    with suppress(NotFoundError):
        harness.server.services.remover.remove_dead_letter(f"{SOURCE}#bad")
    _rest_and_sweep(harness)


def _finish_job_removal(harness: Harness) -> None:
    with suppress(NotFoundError):
        harness.server.services.remover.remove_job(harness.item_queues[0], f"{SOURCE}#new-0")
    harness.publisher.break_down()
    _rest_and_sweep(harness)


def _finish_renewal(harness: Harness) -> None:
    with suppress(NotFoundError):
        harness.server.services.feeds.remove(SOURCE)
    _rest_and_sweep(harness)
    harness.subscribe(SECOND)
    harness.poll()
    _rest_and_sweep(harness)


def _rest_and_sweep(harness: Harness) -> None:
    harness.come_to_rest()
    harness.clock.advance(hours=1)
    harness.come_to_rest()


def _is_second_committed(harness: Harness) -> bool:
    committed = (ImportState.IMPORTING, ImportState.COMPLETED)
    found = harness.database.collection("imports").find({"state": {"$in": list(committed)}})
    return len(list(found)) > 1


def _check_second(harness: Harness) -> None:
    assert_accounted_for(harness, _without(SECOND, _POISONED), dead=_POISONED)


def _check_replayed(harness: Harness) -> None:
    assert_accounted_for(harness, FIRST)


def _check_letter_removed(harness: Harness) -> None:
    stored = _without(FIRST, {"bad", "repaired"})
    assert_accounted_for(harness, stored, dead=["repaired"], removed=["bad"])


def _check_job_removed(harness: Harness) -> None:
    stored = _without(SECOND, {*_POISONED, "new-0"})
    assert_accounted_for(harness, stored, dead=_POISONED, removed=["new-0"])


def _without(titles: Mapping[str, str], guids: frozenset[str] | set[str]) -> dict[str, str]:
    return {guid: title for guid, title in titles.items() if guid not in guids}


SCENARIOS = {
    "import on a server": Scenario(
        Harness.new_server, _show_second, _import_on_server, _finish_import, _check_second
    ),
    "import through a loss of Redis": Scenario(
        Harness.new_server, _show_second, _import_through_a_loss, _finish_import, _check_second
    ),
    "import on a worker": Scenario(
        Harness.new_worker, _poll_second, _import_on_worker, _finish_import, _check_second
    ),
    "replay": Scenario(
        Harness.new_server, Harness.accept_poison, _replay, _finish_replay, _check_replayed
    ),
    "removal of a dead letter": Scenario(
        Harness.new_server,
        lambda _: None,
        _remove_letter,
        _finish_letter_removal,
        _check_letter_removed,
    ),
    "removal of a job": Scenario(
        Harness.new_server, _poll_second, _remove_job, _finish_job_removal, _check_job_removed
    ),
    "removal of a feed": Scenario(
        Harness.new_server, _show_second, _renew_feed, _finish_renewal, _check_second
    ),
}
