"""What a batch costs in commands, and a replay in memory: numbers that do not grow with them."""

import gc
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pymongo import MongoClient
from pymongo.database import Database as MongoDatabase
from pymongo.monitoring import CommandListener

from server.importing.merging import MovedGuids
from server.importing.selecting import Verdict, compare
from shared.models import Rank
from shared.queue import JobState, RedisConnection
from shared.store import Import, ImportState, JournalEntry, Stores
from shared.store.database import FIND_IDS, Database
from shared.store.dead_letters import LETTERS_A_CALL
from shared.store.journal import MAX_CHUNK_ENTRIES
from tests.factories import NOON, Bench, make_candidate, make_data, make_letter_of


class Counting(CommandListener):
    """Counts the commands that MongoDB is sent."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()
        self.on_update: Callable[[], None] = lambda: None

    def started(self, event: Any) -> None:
        self.sent[event.command_name] += 1
        if event.command_name == "update":
            self.on_update()

    def succeeded(self, event: Any) -> None:
        pass

    def failed(self, event: Any) -> None:
        pass


@pytest.fixture
def counting() -> Counting:
    return Counting()


@pytest.fixture
def stores(
    mongodb_url: str, mongo_database: MongoDatabase[dict[str, Any]], counting: Counting
) -> Iterator[Stores]:
    client: MongoClient[dict[str, Any]] = MongoClient(mongodb_url, event_listeners=[counting])
    yield Stores.of(Database(client, mongo_database.name))
    client.close()


def redis_commands_of(client: RedisConnection, act: Callable[[], object]) -> list[str]:
    sent: list[str] = []
    execute = client.execute_command

    def counted(*args: Any, **options: Any) -> Any:
        sent.append(args[0])
        return execute(*args, **options)

    client.execute_command = counted  # type: ignore[method-assign]
    try:
        act()
    finally:
        del client.execute_command
    return sent


def some_data(count: int, **fields: Any) -> list[dict[str, Any]]:
    return [make_data(str(number), **fields) for number in range(count)]


@pytest.fixture
def warm(bench: Bench) -> Bench:
    """A worker whose scripts Redis knows already."""
    bench.import_items(make_data("warm"), make_data("bad", title=5))
    bench.import_items(make_data("foreign"), revision=None)
    bench.add(make_data("solo"))
    bench.queue.release_many([item.lock for item in bench.take().items])
    bench.work()
    return bench


@pytest.mark.parametrize("count", [100, 500])
@pytest.mark.parametrize("is_update", [False, True], ids=["new", "updated"])
def test_a_batch_costs_one_write_and_one_settling_call(
    warm: Bench, counting: Counting, count: int, is_update: bool
) -> None:
    if is_update:
        warm.import_items(*some_data(count, title="before"))
    warm.add(*some_data(count, title="now"), revision=2)
    taken = warm.take()
    counting.sent.clear()
    sent = redis_commands_of(warm.redis, lambda: warm.finish(taken))
    assert sent == ["EVALSHA"]
    # The letters and the documents, each by hundreds of ids.
    write = "update" if is_update else "insert"
    assert counting.sent == {"find": 2 * (count // FIND_IDS), write: 1}
    assert len(warm.documents()) == count + 3


@pytest.mark.parametrize("count", [100, 500])
def test_claiming_a_batch_is_one_command(warm: Bench, counting: Counting, count: int) -> None:
    warm.add(*some_data(count))
    counting.sent.clear()
    assert redis_commands_of(warm.redis, lambda: warm.take(count)) == ["EVALSHA"]
    assert not counting.sent


def test_foreign_jobs_cost_one_draw_a_source_and_one_command_more(
    warm: Bench, counting: Counting
) -> None:
    warm.add(*some_data(50), *some_data(50, source="ars"), revision=None)
    counting.sent.clear()
    assert redis_commands_of(warm.redis, warm.take) == ["EVALSHA", "EVALSHA"]
    assert counting.sent == {"find": 2, "update": 2}


def test_a_batch_that_clears_dead_letters_costs_two_commands_more(
    warm: Bench, counting: Counting
) -> None:
    warm.stores.dead_letters.record_many([make_letter_of(str(number)) for number in range(100)])
    warm.dlq.remove_many(["lwn#none"])
    warm.add(*some_data(100), revision=2)
    taken = warm.take()
    counting.sent.clear()
    assert redis_commands_of(warm.redis, lambda: warm.finish(taken)) == ["EVALSHA", "EVALSHA"]
    assert counting.sent == {"find": 2, "insert": 1, "delete": 1}


@pytest.mark.parametrize("count", [1, LETTERS_A_CALL, 500])
def test_a_batch_that_dies_costs_a_command_a_read_a_hundred_items_and_an_update_a_bounded_part(
    warm: Bench, counting: Counting, count: int
) -> None:
    warm.add(*some_data(count, title=5))
    taken = warm.take()
    counting.sent.clear()
    assert redis_commands_of(warm.redis, lambda: warm.finish(taken)) == ["EVALSHA"]
    finds, updates = -(-count // FIND_IDS), -(-count // LETTERS_A_CALL)
    assert counting.sent == {"find": finds, "update": updates}


@pytest.mark.parametrize("count", [100, 500])
@pytest.mark.parametrize("has_letters", [False, True])
def test_comparing_costs_a_read_a_hundred_items_and_another_one_with_dead_letters(
    warm: Bench, counting: Counting, count: int, has_letters: bool
) -> None:
    data = some_data(count)
    warm.import_items(*data)
    if not has_letters:
        warm.stores.dead_letters.clear_many({"lwn#bad": Rank(is_strict=True, revision=9)})
    candidates = [make_candidate(one) for one in data]
    moved = MovedGuids(warm.stores, "lwn", listed=[], aliases={})
    importing = Import("i1", "lwn", [], "api", ImportState.FETCHING, NOON, revision=2)
    counting.sent.clear()
    compared = compare(warm.stores, importing, 2, candidates, moved)
    assert (compared.counts, compared.entries) == ({Verdict.UNCHANGED: count}, ())
    assert counting.sent == {"find": 2 + (1 + has_letters) * (count // FIND_IDS)}


def count_entries_held() -> int:
    # By type: `isinstance` asks the object itself, and other tests' proxies answer with errors.
    return sum(type(thing) is JournalEntry for thing in gc.get_objects())


def test_a_replay_holds_two_chunks_in_memory_however_many_letters(
    warm: Bench, counting: Counting
) -> None:
    count = 4 * MAX_CHUNK_ENTRIES
    warm.stores.dead_letters.record_many([make_letter_of(str(number)) for number in range(count)])
    replayer = warm.make_replayer()
    held: list[int] = []
    gc.collect()
    of_earlier_tests = count_entries_held()
    counting.on_update = lambda: held.append(count_entries_held() - of_earlier_tests)
    assert replayer.replay(cause="invalid: boom").replayed == count
    assert MAX_CHUNK_ENTRIES <= max(held) <= 2 * MAX_CHUNK_ENTRIES + 1
    assert counting.sent["getMore"] + counting.sent["find"] < count / 10
    assert warm.queue.counts()[JobState.WAITING] == count
