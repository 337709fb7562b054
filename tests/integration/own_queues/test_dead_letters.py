"""Jobs that have failed for good, in a queue of their own, and back; on a real Valkey."""

import threading
from typing import Any

import pytest
from redis import Redis

from feedmill import (
    Flow,
    Job,
    Queue,
    QueueError,
    UnrecoverableError,
    Worker,
    configure,
    queue,
)
from shared.queue import JobState, RedisConnection, dead_letters
from tests.fakes import FakeClock
from tests.queue_states import claim, events, job_fields, line, lose_locks


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def orders(redis_client: RedisConnection, clock: FakeClock) -> Queue:
    return Queue("orders", redis_client, clock=clock)


@pytest.fixture
def dead(redis_client: RedisConnection, clock: FakeClock) -> Queue:
    return Queue("orders_dead", redis_client, clock=clock)


def refuse(job: Job[Any]) -> None:
    raise OSError(f"no {job.name}")


def fail_for_good(
    orders: Queue, dead: Queue, *job_ids: str, name: str = "ship", **opts: Any
) -> None:
    """Add jobs and work all that waits until it has failed for good."""
    orders.add_bulk([{"name": name, "opts": {"job_id": each, **opts}} for each in job_ids])
    worker = Worker(orders, refuse, dead_letter=dead)
    while worker.step():
        pass


def in_line(queue: Queue) -> list[str]:
    return [job.id for job in queue.get_waiting()]


def test_a_job_whose_attempts_are_used_up_moves_to_the_dead_letters_with_all_that_is_known(
    orders: Queue, dead: Queue, clock: FakeClock
) -> None:
    job = orders.add("ship", {"to": "Rome", "items": []}, attempts=2, priority=3, keep_logs=5)
    worker = Worker(orders, refuse, dead_letter=dead, metrics=5)
    assert [worker.step(), worker.step(), worker.step()] == [True, True, False]
    [letter] = dead.get_waiting()
    assert (letter.id, letter.name) == (f"orders/{job.id}", "dead")
    assert letter.data == {
        "queue": "orders",
        "job_id": job.id,
        "name": "ship",
        "data": {"to": "Rome", "items": []},
        "opts": {"attempts": 2, "priority": 3, "kl": 5},
        "reason": "no ship",
        "attempts": 2,
        "failed_at": "2026-11-01T12:00:00.000Z",
    }
    assert letter.failed_reason == "no ship"
    assert "OSError" in letter.stacktrace[0]
    assert sum(orders.get_job_counts().values()) == 0
    assert orders.get_job(job.id) is None
    assert orders.get_metrics("failed").count == 1
    assert f"failed {job.id}" in events(orders.core)


def test_data_of_half_an_emoji_comes_back_from_the_dead_letters_as_an_object(
    orders: Queue, dead: Queue
) -> None:
    deep = b"[" * 200 + b"]" * 200
    job = orders.add("ship")
    orders.core.client.hset(
        orders.core.keys.job(job.id), "data", b'{"to":"Rome \\ud83d\xff","x":%b}' % deep
    )
    assert Worker(orders, refuse, dead_letter=dead).step()
    [letter] = dead.get_waiting()
    assert letter.data["data"]["to"] == "Rome \ufffd\ufffd"
    dead.replay()
    assert job.refresh().data["to"] == "Rome \ufffd\ufffd"


def test_attempts_that_are_left_are_used_first_and_unrecoverable_jobs_go_at_once(
    orders: Queue, dead: Queue
) -> None:
    def give_up(job: Job[Any]) -> None:
        raise UnrecoverableError("no such customer")

    orders.add("ship", attempts=5)
    failed: list[str] = []
    worker = Worker(orders, give_up, dead_letter=dead)
    worker.on("failed", lambda job, error: failed.append(f"{job.id}: {error}"))
    assert worker.step()
    assert [letter.data["attempts"] for letter in dead.get_waiting()] == [1]
    assert failed == ["1: no such customer"]


def test_a_job_that_its_workers_vanish_of_becomes_a_dead_letter_without_another_run(
    orders: Queue, dead: Queue
) -> None:
    fail_for_good(orders, dead)
    orders.add("ship", attempts=9)
    claim(orders.core)
    lose_locks(orders.core, "1")
    orders.core.reclaim_stalled(max_stalled=0, solo_first=False)
    ran: list[Job[Any]] = []
    assert Worker(orders, ran.append, dead_letter=dead).step()
    [letter] = dead.get_waiting()
    assert (ran, letter.failed_reason) == ([], "job stalled more than allowable limit")


def test_the_jobs_of_a_batch_that_fail_become_dead_letters_together(
    orders: Queue, dead: Queue
) -> None:
    def ship_all(jobs: list[Job[Any]]) -> list[object]:
        return [OSError("no") if job.id in "ac" else "sent" for job in jobs]

    orders.add_bulk([{"name": "ship", "opts": {"job_id": each}} for each in "abc"])
    assert Worker(orders, ship_all, batch=10, dead_letter=dead).step()
    assert in_line(dead) == ["orders/a", "orders/c"]
    assert [job.id for job in orders.get_completed()] == ["b"]


def test_a_dead_letter_has_the_data_that_the_handler_has_left(orders: Queue, dead: Queue) -> None:
    def spoil(job: Job[Any]) -> None:
        job.update_data({"done": 7})
        raise OSError("no")

    orders.add("ship", {"done": 0})
    Worker(orders, spoil, dead_letter=dead).step()
    assert dead.get_waiting()[0].data["data"] == {"done": 7}


def test_the_parent_of_a_dead_letter_hears_of_a_failure(orders: Queue, dead: Queue) -> None:
    child = {
        "name": "pack",
        "queue_name": "orders",
        "opts": {"job_id": "c", "ignore_dependency_on_failure": True},
    }
    parent = {"name": "ship", "queue_name": "orders", "opts": {"job_id": "p"}, "children": [child]}
    Flow(orders.core.client).add(parent)
    Worker(orders, refuse, dead_letter=dead).step()
    [job] = orders.get_waiting()
    assert (job.id, job.get_ignored_children_failures()) == ("p", {"bull:orders:c": "no pack"})
    assert dead.replay() == 1
    replayed = orders.get_job("c")
    assert replayed is not None
    # It is nobody's child any more.
    assert (replayed.parent_key, set(replayed.opts)) == (None, {"attempts", "jobId"})


def test_data_that_is_no_json_is_told_as_text_and_ids_that_end_like_keys_have_room(
    orders: Queue, dead: Queue
) -> None:
    client, keys = orders.core.client, orders.core.keys
    client.hset(keys.job("x:y:logs"), mapping={"name": "ship", "data": b"{\xff", "opts": "[1]"})
    client.lpush(keys.wait, "x:y:logs")
    fail_for_good(orders, dead)
    [letter] = dead.get_waiting()
    assert letter.id == "orders/x:y:logs/"
    assert (letter.data["data"], letter.data["opts"]) == ("{\ufffd", {})
    assert dead.replay() == 1
    assert line(orders.core) == ["x:y:logs"]


def test_replay_puts_jobs_back_as_if_just_added_oldest_first(
    orders: Queue, dead: Queue, clock: FakeClock
) -> None:
    fail_for_good(orders, dead, "a", "b", attempts=2, remove_on_complete=True)
    fail_for_good(orders, dead, "first", priority=4)
    fail_for_good(orders, dead, "late", delay=0, lifo=True)
    clock.advance(hours=1)
    assert dead.replay() == 4
    assert dead.count() == 0
    assert in_line(orders) == ["late", "a", "b"]
    assert [job.id for job in orders.get_prioritized()] == ["first"]
    job = orders.get_job("a")
    assert job is not None
    assert (job.attempts_made, job.attempts_started, job.delay) == (0, 0, 0)
    assert job.opts == {"jobId": "a", "attempts": 2, "removeOnComplete": True}
    assert job.timestamp == clock.now_ms()
    assert job_fields(orders.core, "a")["data"] == "{}"
    assert events(orders.core)[-2:] == ["added late", "waiting late"]
    assert events(dead.core)[-1] == "removed orders/late"
    assert Worker(orders, lambda job: None).step()
    assert dead.replay() == 0


def test_replay_takes_the_ones_that_are_asked_for(
    orders: Queue, dead: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for_good(orders, dead, "a", "b", "c")
    fail_for_good(orders, dead, "x", "y", name="bill")
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    assert dead.replay(["orders/none", "b", "orders/b"]) == 1
    assert dead.replay(reason="no bill") == 2
    assert dead.replay(["orders/a"], reason="bill") == 0
    assert in_line(orders) == ["b", "x", "y"]
    assert in_line(dead) == ["orders/a", "orders/c"]


def test_a_dead_letter_stays_where_its_job_s_id_is_taken(orders: Queue, dead: Queue) -> None:
    fail_for_good(orders, dead, "a", "b")
    orders.add("ship", {"newer": True}, job_id="a")
    assert dead.replay() == 1
    assert in_line(dead) == ["orders/a"]
    job = orders.get_job("a")
    assert job is not None
    assert job.data == {"newer": True}
    orders.remove("a")
    assert dead.replay() == 1
    assert in_line(orders) == ["b", "a"]


def test_a_dead_letter_that_a_worker_has_stays(orders: Queue, dead: Queue) -> None:
    fail_for_good(orders, dead, "a")
    answers: list[int] = []

    def look(job: Job[Any]) -> None:
        answers.append(dead.replay([job.id]))

    Worker(dead, look, remove_on_complete=False).step()
    assert answers == [0]
    assert in_line(orders) == []


def test_one_that_has_failed_anew_since_it_was_read_stays(
    orders: Queue, dead: Queue, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for_good(orders, dead, "a")
    run = dead.core.run_in_chunks

    def run_late(*arguments: Any, **more: Any) -> Any:
        clock.advance(seconds=1)
        fail_for_good(orders, dead, "a")
        return run(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(dead.core, "run_in_chunks", run_late)
        assert dead.replay() == 0
    assert in_line(dead) == ["orders/a"]
    assert dead.replay() == 1


def test_a_dead_letter_whose_job_fails_again_is_not_replayed_twice_by_one_call(
    orders: Queue, dead: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "BATCH", 2)
    fail_for_good(orders, dead, *"abcde")
    run = dead.core.run_in_chunks

    def run_and_fail(*arguments: Any, **more: Any) -> Any:
        answers = run(*arguments, **more)
        fail_for_good(orders, dead)
        return answers

    with monkeypatch.context() as patch:
        patch.setattr(dead.core, "run_in_chunks", run_and_fail)
        assert dead.replay() == 5
    assert sorted(in_line(dead)) == [f"orders/{each}" for each in "abcde"]


def test_a_repeat_after_a_lost_reply_puts_nothing_back_twice(
    orders: Queue, dead: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    fail_for_good(orders, dead, "a", "b", "c")
    run = dead.core.run_in_chunks

    def run_twice(*arguments: Any, **more: Any) -> Any:
        run(*arguments, **more)
        return run(*arguments, **more)

    with monkeypatch.context() as patch:
        patch.setattr(dead.core, "run_in_chunks", run_twice)
        assert dead.replay() == 0
    assert in_line(orders) == ["a", "b", "c"]
    assert dead.count() == 0


def test_many_who_replay_at_once_put_each_job_back_once(
    orders: Queue, dead: Queue, redis_client: RedisConnection
) -> None:
    job_ids = [f"n{number}" for number in range(1200)]
    fail_for_good(orders, dead, *job_ids)
    counts: list[int] = []
    threads = [threading.Thread(target=lambda: counts.append(dead.replay())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    # What one of them has skipped, for another was faster, is still there.
    counts.append(dead.replay())
    assert sum(counts) == 1200
    assert sorted(line(orders.core)) == sorted(job_ids)
    assert dead.count() == 0


def test_jobs_of_several_queues_go_back_to_their_own(
    orders: Queue, dead: Queue, redis_client: RedisConnection, clock: FakeClock
) -> None:
    bills = Queue("bills", redis_client, clock=clock)
    for number in range(2):
        fail_for_good(orders, dead, f"o{number}")
        fail_for_good(bills, dead, f"b{number}")
    assert dead.replay() == 4
    assert (in_line(orders), in_line(bills)) == (["o0", "o1"], ["b0", "b1"])


@pytest.mark.parametrize(
    "data",
    [
        "[]",
        "{",
        '{"queue": "a:b", "job_id": "1", "name": "x"}',
        '{"queue": "orders_dead", "job_id": "1", "name": "x"}',
        '{"queue": "orders", "job_id": "", "name": "x"}',
        '{"queue": "orders", "job_id": "1", "name": 7}',
        '{"queue": "orders", "job_id": "limiter", "name": "x"}',
        '{"queue": "orders", "job_id": "own:line:x", "name": "x"}',
        '{"queue": "orders", "job_id": "de:17", "name": "x"}',
    ],
)
def test_what_is_no_dead_letter_is_left_alone(orders: Queue, dead: Queue, data: str) -> None:
    dead.add("x", job_id="foreign")
    dead.core.client.hset(dead.core.keys.job("foreign"), "data", data)
    dead.core.client.rpush(dead.core.keys.wait, "ghost")
    fail_for_good(orders, dead, "a")
    assert dead.replay() == 1
    assert dead.core.counts()[JobState.WAITING] == 2
    assert line(orders.core) == ["a"]


def test_options_that_somebody_has_spoilt_give_way_to_none(orders: Queue, dead: Queue) -> None:
    fail_for_good(orders, dead, "a", "b")
    for job_id, opts in (("a", '{"priority": -5, "attempts": 2}'), ("b", "7")):
        data = f'{{"queue": "orders", "job_id": "{job_id}", "name": "x", "opts": {opts}}}'
        dead.core.client.hset(dead.core.keys.job(f"orders/{job_id}"), "data", data)
    assert dead.replay() == 2
    jobs = orders.get_waiting()
    assert [(job.id, job.priority, job.data) for job in jobs] == [("a", 0, None), ("b", 0, None)]
    assert jobs[1].opts == {"attempts": 0}


def test_a_queue_that_cannot_take_dead_letters_is_refused(
    orders: Queue, redis_client: RedisConnection
) -> None:
    with pytest.raises(QueueError, match="prefix is 'other', not 'bull'"):
        Worker(orders, refuse, dead_letter=Queue("dead", redis_client, prefix="other"))
    with pytest.raises(QueueError, match="name another"):
        Worker(orders, refuse, dead_letter=orders)


@pytest.mark.parametrize("differs", [{"db": 9}, {"port": 1}, {"host": "other.test"}])
def test_a_queue_of_another_redis_takes_no_dead_letters(
    orders: Queue, redis_client: RedisConnection, differs: dict[str, Any]
) -> None:
    assert isinstance(redis_client, Redis)
    settings = redis_client.connection_pool.connection_kwargs
    there = {"host": settings["host"], "port": settings["port"], "db": settings.get("db", 0)}
    same, other = ("redis://{host}:{port}/{db}".format(**each) for each in (there, there | differs))
    with Queue("dead", same) as dead:
        Worker(orders, refuse, dead_letter=dead).close()
    with Queue("dead", other) as dead, pytest.raises(QueueError, match="in another Redis"):
        Worker(orders, refuse, dead_letter=dead)


def test_a_declared_queue_names_the_queue_of_its_dead_letters(
    redis_client: RedisConnection, clock: FakeClock
) -> None:
    @queue("orders", dead_letter="orders_dead")
    def ship(job: Job[str]) -> None:
        raise OSError("no")

    @queue("other")
    def bill(job: Job[str]) -> None:
        pass

    configure(redis_client, clock=clock)
    try:
        ship.add("Rome", id="a")
        assert ship.worker().step()
        assert [letter.data["data"] for letter in ship.dead_letters.get_waiting()] == ["Rome"]
        assert ship.dead_letters.replay() == 1
        assert in_line(ship.queue) == ["a"]
        with pytest.raises(QueueError, match="declared without dead_letter"):
            bill.dead_letters.count()
    finally:
        configure()
