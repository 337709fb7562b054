"""Working a queue of one's own in batches."""

from typing import Any

import pytest
from pydantic import BaseModel, computed_field, field_validator

from feedmill import (
    BatchResult,
    DelayedError,
    InvalidJobOptions,
    Job,
    Queue,
    QueueError,
    Worker,
    configure,
    queue,
)
from shared.queue import RedisConnection


class Unshowable(Exception):
    """An error that raises when it is asked what it says."""

    def __str__(self) -> str:
        raise LookupError("nothing to say")

    __repr__ = __str__


class Amount(BaseModel):
    """What the declared queue of the tests carries."""

    cents: int


class Share(BaseModel):
    """What can be written and read only where it is a part of something."""

    of: int

    @field_validator("of")
    @classmethod
    def check(cls, of: int) -> int:
        """Refuse a number below zero without words."""
        if of < 0:
            raise Unshowable
        return of

    @computed_field  # type: ignore[prop-decorator]
    @property
    def percent(self) -> int:
        """One part of so many."""
        return 100 // self.of


booked: list[list[int]] = []


@queue("amounts", batch=500, within="100ms", attempts=3)
def book(jobs: list[Job[Amount]]) -> BatchResult:
    """Book amounts; those below zero fail."""
    booked.append([job.data.cents for job in jobs])
    return [ValueError("negative") if job.data.cents < 0 else job.data for job in jobs]


@queue("shares", batch=500)
def split(jobs: list[Job[Share]]) -> BatchResult:
    """Return what was given."""
    return [job.data for job in jobs]


def ids_of(jobs: list[Job[Any]]) -> list[str]:
    return [job.id for job in jobs]


def test_a_handler_gets_a_list_of_jobs_and_returns_an_outcome_for_each(reports: Queue) -> None:
    reports.add_bulk([{"name": "x", "data": n, "opts": {"attempts": 2}} for n in range(4)])
    seen: list[list[str]] = []
    ended: list[tuple[str, object]] = []

    def store(jobs: list[Job[Any]]) -> list[object]:
        seen.append(ids_of(jobs))
        jobs[0].progress(50)
        return [ValueError(f"{job.data} is odd") if job.data % 2 else job.data for job in jobs]

    worker = Worker(reports, store, batch=3)
    worker.on("active", lambda job: ended.append((job.id, "active")))
    worker.on("completed", lambda job, result: ended.append((job.id, result)))
    worker.on("failed", lambda job, error: ended.append((job.id, str(error))))
    assert worker.step()
    assert ended == [
        *[(str(n), "active") for n in (1, 2, 3)],
        ("1", 0),
        ("3", 2),
        ("2", "1 is odd"),
    ]
    while worker.step():
        pass
    assert seen == [["1", "2", "3"], ["4", "2"], ["4"]]
    assert sorted(ids_of(reports.get_completed())) == ["1", "3"]
    assert sorted(ids_of(reports.get_failed())) == ["2", "4"]
    job = reports.get_job("1")
    assert job is not None
    assert (job.last_progress, job.return_value) == (50, 0)


def test_all_are_done_when_a_handler_of_batches_returns_nothing(reports: Queue) -> None:
    reports.add_bulk([{"name": "x"}, {"name": "x"}])
    assert Worker(reports, lambda jobs: None, batch=10).step()
    assert len(reports.get_completed()) == 2


def test_an_error_of_one_job_that_cannot_be_shown_harms_no_other_of_its_batch(
    reports: Queue,
) -> None:
    reports.add_bulk([{"name": "x", "data": n} for n in range(3)])
    worker = Worker(
        reports, lambda jobs: [Unshowable() if job.data == 1 else "done" for job in jobs], batch=3
    )
    assert worker.step()
    assert sorted(ids_of(reports.get_completed())) == ["1", "3"]
    [failed] = reports.get_failed()
    assert failed.failed_reason == "<Unshowable that cannot be shown>"


def test_a_job_that_a_batch_moves_is_returned_in_its_place(reports: Queue) -> None:
    def later(jobs: list[Job[Any]]) -> list[object]:
        jobs[0].move_to_delayed(jobs[0].timestamp + 60_000)
        return [DelayedError(), "done"]

    reports.add_bulk([{"name": "x"}, {"name": "x"}])
    Worker(reports, later, batch=10).step()
    assert (ids_of(reports.get_delayed()), ids_of(reports.get_completed())) == (["1"], ["2"])


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"batch": 0}, "batch"),
        ({"batch": 100_000}, "batch"),
        ({"within_s": 3}, "within_s"),
        ({"batch": 5, "within_s": -1}, "within_s"),
        ({"batch": 5, "within_s": 60, "run_limit_s": 30.0}, "within_s"),
    ],
)
def test_batches_that_cannot_be_are_refused(
    reports: Queue, options: dict[str, Any], text: str
) -> None:
    with pytest.raises(InvalidJobOptions, match=text):
        Worker(reports, lambda jobs: None, **options)


def test_a_declared_queue_works_batches_and_only_what_it_cannot_read_fails_for_good(
    redis_client: RedisConnection,
) -> None:
    configure(redis_client)
    booked.clear()
    book.add_many([Amount(cents=cents) for cents in (7, -1)])
    book.queue.add("book", {"cents": "many"}, attempts=3)
    assert book.worker().step()
    assert booked == [[7, -1]]
    assert [job.return_value for job in book.queue.get_completed()] == [{"cents": 7}]
    assert ids_of(book.queue.get_waiting()) == ["2"]
    [failed] = book.queue.get_failed()
    assert str(failed.failed_reason).startswith("data is no Amount: cents")


def test_data_or_a_result_on_which_a_type_raises_is_the_failure_of_its_job_alone(
    redis_client: RedisConnection,
) -> None:
    configure(redis_client)
    for of in (4, -1, 0):
        split.queue.add("split", {"of": of})
    assert split.worker().step()
    assert [job.return_value for job in split.queue.get_completed()] == [{"of": 4, "percent": 25}]
    assert sorted(ids_of(split.queue.get_failed())) == ["2", "3"]


def test_a_function_of_batches_is_called_by_hand_with_a_list_of_jobs() -> None:
    jobs = [book.example(Amount(cents=3)), book.example(Amount(cents=-3))]
    done, failed = book(list(jobs))  # type: ignore[misc]
    assert (done, str(failed)) == (Amount(cents=3), "negative")


@pytest.mark.parametrize(
    "options",
    [
        {"batch": 0},
        {"batch": True},
        {"within": "3s"},
        {"batch": 5, "within": "1m", "timeout": "30s"},
    ],
)
def test_batches_that_cannot_be_are_refused_where_they_are_declared(
    options: dict[str, Any],
) -> None:
    with pytest.raises(InvalidJobOptions):
        queue("amounts", **options)


def test_a_function_that_takes_one_job_cannot_work_batches() -> None:
    def work(job: Job[Amount]) -> None: ...

    with pytest.raises(QueueError, match=r"must be a list\[Job\[\.\.\.\]\]"):
        queue("amounts", batch=5)(work)  # type: ignore[arg-type]
