"""What the crash tests do: a piece of work, cut at one call to a store, and its healing."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass

from shared.errors import NotFoundError, QueueUnavailable, StoreUnavailable
from shared.store import ImportState
from tests.actors import Actor, Server, Worker
from tests.lines import Crash
from tests.mill import SOURCE, Mill
from tests.oracle import assert_accounted_for

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
    """A piece of work by one actor, and how it is done again or finished after a crash."""

    make_actor: Callable[[Mill], Actor]
    prepare: Callable[[Mill], None]
    work: Callable[[Mill, Actor], None]
    finish: Callable[[Mill], None]
    check: Callable[[Mill], None]


def crash_and_heal(mill: Mill, name: str, *, call: int, executed: bool) -> bool:
    """Run a scenario, crash at a call, heal with fresh actors, and judge; False: no such call."""
    scenario = SCENARIOS[name]
    actor = _begin(mill, scenario)
    actor.line.cut_at(call, executed=executed)
    with suppress(Crash):
        scenario.work(mill, actor)
    mill.replace_actors()
    _end(mill, scenario)
    return actor.line.was_met


def fail_and_go_on(mill: Mill, name: str, *, call: int, executed: bool) -> bool:
    """Run a scenario, lose the connection for one call, and judge; False: no such call.

    The actor lives on with all that it has in memory, and finishes by itself.
    """
    scenario = SCENARIOS[name]
    actor = _begin(mill, scenario)
    actor.line.cut_at(call, executed=executed, is_passing=True)
    with suppress(StoreUnavailable, QueueUnavailable):
        scenario.work(mill, actor)
    actor.line.mend()
    if isinstance(actor, Server):
        mill.server = actor
    elif isinstance(actor, Worker):
        mill.worker = actor
    _end(mill, scenario)
    return actor.line.was_met


def _begin(mill: Mill, scenario: Scenario) -> Actor:
    mill.subscribe(FIRST)
    mill.poll()
    mill.come_to_rest()
    scenario.prepare(mill)
    return scenario.make_actor(mill)


def _end(mill: Mill, scenario: Scenario) -> None:
    mill.lose_locks()
    scenario.finish(mill)
    scenario.check(mill)


def _import_on_server(mill: Mill, server: Actor) -> None:
    assert isinstance(server, Server)
    server.start(SOURCE)
    while server.fetch():
        pass
    _work_and_audit(mill, server)


def _import_through_a_loss(mill: Mill, server: Actor) -> None:
    assert isinstance(server, Server)
    server.start(SOURCE)
    while server.fetch():
        pass
    mill.lose_redis()
    server.look()
    _work_and_audit(mill, server)


def _replay(mill: Mill, server: Actor) -> None:
    assert isinstance(server, Server)
    server.services.replayer.replay(everything=True)
    _work_and_audit(mill, server)


def _remove_letter(_: Mill, server: Actor) -> None:
    assert isinstance(server, Server)
    server.services.remover.remove_dead_letter(f"{SOURCE}#bad")


def _remove_job(mill: Mill, server: Actor) -> None:
    assert isinstance(server, Server)
    server.services.remover.remove_job(server.services.light_queue, f"{SOURCE}#new-0")


def _renew_feed(mill: Mill, server: Actor) -> None:
    assert isinstance(server, Server)
    server.start(SOURCE)
    server.services.feeds.remove(SOURCE)


def _import_on_worker(mill: Mill, worker: Actor) -> None:
    assert isinstance(worker, Worker)
    for _ in range(2):
        while worker.work():
            pass
        # The second attempt of what was refused is due.
        mill.clock.advance(seconds=60)


def _work_and_audit(mill: Mill, server: Server) -> None:
    mill.work()
    mill.clock.advance(seconds=60)
    mill.work()
    for _ in range(2):
        server.look()
        mill.clock.advance(seconds=6)


def _show_second(mill: Mill) -> None:
    mill.press.show(SOURCE, SECOND)


def _poll_second(mill: Mill) -> None:
    mill.poll(SECOND)


def _finish_import(mill: Mill) -> None:
    """Without the publisher, if the import was committed; else a later poll brings it home."""
    mill.server.heal()
    was_committed = _is_second_committed(mill)
    if was_committed:
        mill.press.break_down()
    _rest_and_sweep(mill)
    if not was_committed:
        mill.poll()
        _rest_and_sweep(mill)


def _finish_replay(mill: Mill) -> None:
    mill.clock.advance(minutes=_REPLAY_PATIENCE_MINUTES)
    _rest_and_sweep(mill)
    mill.server.services.replayer.replay(everything=True)
    _rest_and_sweep(mill)


def _finish_letter_removal(mill: Mill) -> None:
    with suppress(NotFoundError):
        mill.server.services.remover.remove_dead_letter(f"{SOURCE}#bad")
    _rest_and_sweep(mill)


def _finish_job_removal(mill: Mill) -> None:
    with suppress(NotFoundError):
        mill.server.services.remover.remove_job(mill.item_queues[0], f"{SOURCE}#new-0")
    mill.press.break_down()
    _rest_and_sweep(mill)


def _finish_renewal(mill: Mill) -> None:
    with suppress(NotFoundError):
        mill.server.services.feeds.remove(SOURCE)
    _rest_and_sweep(mill)
    mill.subscribe(SECOND)
    mill.poll()
    _rest_and_sweep(mill)


def _rest_and_sweep(mill: Mill) -> None:
    mill.come_to_rest()
    mill.clock.advance(hours=1)
    mill.come_to_rest()


def _is_second_committed(mill: Mill) -> bool:
    committed = (ImportState.IMPORTING, ImportState.COMPLETED)
    found = mill.database.collection("imports").find({"state": {"$in": list(committed)}})
    return len(list(found)) > 1


def _check_second(mill: Mill) -> None:
    assert_accounted_for(mill, _without(SECOND, _POISONED), dead=_POISONED)


def _check_replayed(mill: Mill) -> None:
    assert_accounted_for(mill, FIRST)


def _check_letter_removed(mill: Mill) -> None:
    stored = _without(FIRST, {"bad", "repaired"})
    assert_accounted_for(mill, stored, dead=["repaired"], removed=["bad"])


def _check_job_removed(mill: Mill) -> None:
    stored = _without(SECOND, {*_POISONED, "new-0"})
    assert_accounted_for(mill, stored, dead=_POISONED, removed=["new-0"])


def _without(titles: Mapping[str, str], guids: frozenset[str] | set[str]) -> dict[str, str]:
    return {guid: title for guid, title in titles.items() if guid not in guids}


SCENARIOS = {
    "import on a server": Scenario(
        Mill.new_server, _show_second, _import_on_server, _finish_import, _check_second
    ),
    "import through a loss of Redis": Scenario(
        Mill.new_server, _show_second, _import_through_a_loss, _finish_import, _check_second
    ),
    "import on a worker": Scenario(
        Mill.new_worker, _poll_second, _import_on_worker, _finish_import, _check_second
    ),
    "replay": Scenario(
        Mill.new_server, Mill.accept_poison, _replay, _finish_replay, _check_replayed
    ),
    "removal of a dead letter": Scenario(
        Mill.new_server,
        lambda _: None,
        _remove_letter,
        _finish_letter_removal,
        _check_letter_removed,
    ),
    "removal of a job": Scenario(
        Mill.new_server, _poll_second, _remove_job, _finish_job_removal, _check_job_removed
    ),
    "removal of a feed": Scenario(
        Mill.new_server, _show_second, _renew_feed, _finish_renewal, _check_second
    ),
}
