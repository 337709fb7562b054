"""Events as an iterator, and waiting for a job, on a real Valkey."""

import itertools
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from feedmill import Job, JobFailed, JobNotFound, Queue, QueueError, QueueEvents, QueueUnavailable
from shared.queue import Completion, Failure, RedisConnection, events
from tests.processes import wait_until
from tests.queue_states import claim, is_listened_to, seed_active, seed_waiting


@pytest.fixture
def emails(redis_client: RedisConnection) -> Queue:
    return Queue("emails", redis_client)


@pytest.fixture
def listener(redis_client: RedisConnection) -> Iterator[QueueEvents]:
    with QueueEvents("emails", redis_client) as made:
        yield made


def heard(listener: QueueEvents) -> list[tuple[str, str | None]]:
    """What has happened since it was last asked."""
    return [(event.name, event.job_id) for event in listener.listen(0)]


def a_job(emails: Queue, job_id: str = "a") -> Job[Any]:
    job = emails.get_job(job_id)
    assert job is not None
    return job


@pytest.fixture
def waiting(emails: Queue) -> Iterator[Callable[..., list[object]]]:
    """Start to wait for a job on another thread; returns where its result or error will be."""
    threads: list[threading.Thread] = []

    def wait(job: Job[Any], **options: Any) -> list[object]:
        results: list[object] = []

        def run() -> None:
            try:
                results.append(job.wait_until_finished(**options))
            except (QueueError, TimeoutError) as exc:
                results.append(exc)

        threads.append(threading.Thread(target=run))
        threads[-1].start()
        wait_until(lambda: is_listened_to(emails.core), "it waits")
        return results

    yield wait
    for thread in threads:
        thread.join(20)


def test_events_come_in_order_and_each_once(emails: Queue, listener: QueueEvents) -> None:
    seed_active(emails.core, "a", "b", keep_completed=5)
    assert heard(listener) == [
        ("added", "a"),
        ("waiting", "a"),
        ("added", "b"),
        ("waiting", "b"),
        ("active", "a"),
        ("active", "b"),
    ]
    emails.core.complete_many([Completion("a", "t1", {"n": 1})])
    emails.core.fail_many([Failure("b", "t1", "no", "stack")])
    seen = list(listener.listen(0))
    assert {"returnvalue": {"n": 1}, "prev": "active"} in [event.fields for event in seen]
    [failed] = [event for event in seen if event.name == "failed"]
    assert (failed.job_id, failed.fields["failedReason"]) == ("b", "no")
    assert heard(listener) == []


def test_events_of_before_are_not_given_unless_asked_for(
    emails: Queue, redis_client: RedisConnection
) -> None:
    emails.pause()
    with QueueEvents("emails", redis_client) as late:
        emails.resume()
        assert heard(late) == [("resumed", None)]
    with QueueEvents("emails", redis_client, last_event_id="0") as early:
        assert heard(early) == [("paused", None), ("resumed", None)]


def test_what_was_not_taken_yet_comes_next_time_and_another_can_go_on_from_there(
    emails: Queue, listener: QueueEvents, redis_client: RedisConnection
) -> None:
    seed_waiting(emails.core, "a", "b")
    first = next(iter(listener))
    assert (first.name, first.job_id) == ("added", "a")
    rest = [("waiting", "a"), ("added", "b"), ("waiting", "b")]
    with QueueEvents("emails", redis_client, last_event_id=listener.last_event_id) as other:
        assert heard(other) == rest
    assert heard(listener) == rest


def test_more_events_than_one_reading_takes_all_come(emails: Queue, listener: QueueEvents) -> None:
    seed_waiting(emails.core, *[f"a{n}" for n in range(700)])
    seen = list(itertools.islice(listener, 1400))
    assert [event.job_id for event in seen if event.name == "added"] == [
        f"a{n}" for n in range(700)
    ]
    assert list(listener.listen(0)) == []


def test_a_value_that_is_no_json_ends_nothing(emails: Queue, listener: QueueEvents) -> None:
    key, client = emails.core.keys.events, emails.core.client
    client.xadd(key, {"event": "completed", "jobId": "a", "returnvalue": "{"})
    client.xadd(key, {"event": "completed", "jobId": "b"})
    client.xadd(key, {"event": "delayed", "jobId": "c", "delay": "1795339666236"})
    client.xadd(key, {"what": b"\xff"})
    seen = [(event.name, event.job_id, event.fields) for event in listener.listen(0)]
    assert seen == [
        ("completed", "a", {"returnvalue": "{"}),
        ("completed", "b", {}),
        ("delayed", "c", {"delay": 1_795_339_666_236}),
        ("", None, {"what": "\ufffd"}),
    ]


def test_close_ends_iterating_on_another_thread(emails: Queue, valkey_url: str) -> None:
    listener = QueueEvents("emails", valkey_url)
    seen: list[str] = []
    reading = threading.Thread(target=lambda: seen.extend(event.name for event in listener))
    reading.start()
    wait_until(lambda: is_listened_to(emails.core), "it listens")
    emails.pause()
    wait_until(lambda: seen == ["paused"], "it hears")
    listener.close()
    reading.join(10)
    assert not reading.is_alive()
    listener.close()
    assert list(listener) == []


def test_a_lost_connection_is_told_and_no_event_is_lost_by_it(
    emails: Queue, listener: QueueEvents
) -> None:
    emails.pause()
    assert heard(listener) == [("paused", None)]
    errors: list[Exception] = []

    def listen() -> None:
        try:
            list(listener.listen(20))
        except QueueUnavailable as exc:
            errors.append(exc)

    listening = threading.Thread(target=listen)
    listening.start()
    wait_until(lambda: is_listened_to(emails.core), "it listens")
    for each in emails.core.client.client_list():
        if each["name"].endswith(":qe"):
            emails.core.client.client_kill_filter(_id=each["id"])
    listening.join(10)
    assert len(errors) == 1
    emails.resume()
    assert heard(listener) == [("resumed", None)]


def test_listening_ends_when_its_time_is_up(listener: QueueEvents) -> None:
    assert list(listener.listen(0.02)) == []


def test_a_stream_that_is_none_is_named(emails: Queue, redis_client: RedisConnection) -> None:
    redis_client.set(emails.core.keys.events, "no stream")
    with pytest.raises(QueueError, match="WRONGTYPE"):
        QueueEvents("emails", redis_client)


def test_a_job_that_is_finished_already_is_not_waited_for(
    emails: Queue, listener: QueueEvents
) -> None:
    seed_active(emails.core, "a", "b", keep_completed=5)
    emails.core.complete_many([Completion("a", "t1", {"n": 1})])
    emails.core.fail_many([Failure("b", "t1", "no", "stack")])
    assert a_job(emails).wait_until_finished(listener) == {"n": 1}
    with pytest.raises(JobFailed, match="no"):
        a_job(emails, "b").wait_until_finished(listener)
    assert ("completed", "a") in heard(listener)


def test_a_job_that_somebody_has_put_among_the_finished_needs_no_text_to_be_found(
    emails: Queue,
) -> None:
    seed_waiting(emails.core, "a", "b")
    emails.core.client.zadd(emails.core.keys.completed, {"a": 1})
    emails.core.client.zadd(emails.core.keys.failed, {"b": 1})
    assert a_job(emails).wait_until_finished() is None
    with pytest.raises(JobFailed, match="'b' failed for no reason"):
        a_job(emails, "b").wait_until_finished()


@pytest.mark.parametrize("keep_completed", [0, 5])
def test_a_result_comes_to_who_waits_for_it_though_the_job_be_removed(
    emails: Queue, waiting: Callable[..., list[object]], keep_completed: int
) -> None:
    seed_active(emails.core, "a", "b", keep_completed=keep_completed)
    results = waiting(a_job(emails))
    emails.core.complete_many([Completion("b", "t1", 1), Completion("a", "t1", ["done"])])
    wait_until(lambda: results == [["done"]], "the result comes")


def test_who_waits_hears_of_failure_and_of_removal(
    emails: Queue, waiting: Callable[..., list[object]]
) -> None:
    seed_active(emails.core, "a")
    failing = waiting(a_job(emails))
    emails.core.fail_many([Failure("a", "t1", "no", "stack")])
    wait_until(lambda: failing, "it hears of the failure")
    assert isinstance(failing[0], JobFailed)
    seed_waiting(emails.core, "b")
    removed = waiting(a_job(emails, "b"))
    emails.remove("b")
    wait_until(lambda: removed, "it hears of the removal")
    assert isinstance(removed[0], JobNotFound)


def test_who_waits_for_what_is_not_there_or_too_short_is_told(emails: Queue) -> None:
    seed_waiting(emails.core, "a", "b")
    job = a_job(emails)
    with pytest.raises(TimeoutError, match="'a'"):
        job.wait_until_finished(timeout_s=0.02)
    emails.remove("a")
    with pytest.raises(JobNotFound):
        job.wait_until_finished()


def test_an_end_that_the_stream_does_not_show_is_found_by_looking(
    emails: Queue, waiting: Callable[..., list[object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "_LOOK_EVERY_S", 0.1)
    seed_waiting(emails.core, "a", keep_completed=5)
    results = waiting(a_job(emails))
    claim(emails.core)
    with emails.core.client.pipeline() as together:
        together.zadd(emails.core.keys.completed, {"a": 1})
        together.lrem(emails.core.keys.active, 0, "a")
        together.hset(emails.core.keys.job("a"), "returnvalue", "7")
        together.execute()
    wait_until(lambda: results == [7], "it is found")


def test_a_job_that_ends_and_vanishes_between_two_looks_is_found_in_the_stream(
    emails: Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    seed_active(emails.core, "a")
    look = events._look_at

    def look_late(*args: Any) -> Any:
        emails.core.complete_many([Completion("a", "t1", "done")])
        return look(*args)

    monkeypatch.setattr(events, "_look_at", look_late)
    assert a_job(emails).wait_until_finished() == "done"
