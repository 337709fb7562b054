"""Working a queue of one's own in batches."""

from typing import Any

import pytest

from feedmill import DelayedError, InvalidJobOptions, Job, Queue, Worker


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
