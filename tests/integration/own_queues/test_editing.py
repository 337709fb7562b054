"""Moving and removing jobs through the package ``feedmill``."""

import pytest

from feedmill import InvalidJobOptions, Job, JobNotFound, JobStateError, Queue, QueueError
from shared.queue import Failure, JobState, Postponement, RedisConnection
from tests.queue_states import line, seed_active, seed_waiting


@pytest.fixture
def emails(redis_client: RedisConnection) -> Queue:
    return Queue("emails", redis_client)


def job_of(queue: Queue, job_id: str) -> Job[object]:
    job = queue.get_job(job_id)
    assert job is not None
    return job


def seed_failed(queue: Queue, *job_ids: str) -> None:
    locks = [job.lock for job in seed_active(queue.core, *job_ids, token=job_ids[0])]
    queue.core.fail_many([Failure(*lock, "bad", "") for lock in locks])


def seed_delayed(queue: Queue, *job_ids: str) -> None:
    locks = [job.lock for job in seed_active(queue.core, *job_ids, token=job_ids[0])]
    queue.core.postpone_many([Postponement(*lock, 60_000) for lock in locks])


def test_a_delayed_job_is_delayed_anew_and_promoted(emails: Queue) -> None:
    seed_delayed(emails, "a", "b")
    job = job_of(emails, "b")
    job.change_delay(5_000)
    assert job.refresh().delay == 5_000
    job.promote()
    assert line(emails.core) == ["b"]
    with pytest.raises(JobStateError, match="'b': it is not delayed"):
        job.promote()
    assert emails.promote_jobs() == 1


def test_a_job_changes_its_place_in_line(emails: Queue) -> None:
    seed_waiting(emails.core, "a", "b", "c")
    job_of(emails, "a").change_priority(3)
    job_of(emails, "c").change_priority(0, lifo=True)
    assert line(emails.core) == ["c", "b"]
    assert emails.get_counts_per_priority([3]) == {3: 1}
    with pytest.raises(InvalidJobOptions, match="priority"):
        job_of(emails, "a").change_priority(-1)


def test_a_failed_job_is_tried_again_and_forgets_its_attempts_if_asked(emails: Queue) -> None:
    seed_failed(emails, "a", "b", "c")
    job = job_of(emails, "a")
    job.retry(reset_attempts_made=True, reset_attempts_started=True)
    assert (job.refresh().attempts_made, job.refresh().attempts_started) == (0, 0)
    job_of(emails, "b").retry("failed")
    assert job_of(emails, "b").attempts_made == 1
    assert emails.retry_jobs(state="completed") == 0
    assert emails.retry_jobs(timestamp=0) == 0
    assert emails.retry_jobs(count=1) == 1
    with pytest.raises(InvalidJobOptions, match="state"):
        job.retry("waiting")


def test_a_removed_job_is_gone_and_a_running_one_stays(emails: Queue) -> None:
    seed_active(emails.core, "runs")
    seed_waiting(emails.core, "a", "b")
    job = job_of(emails, "a")
    job.remove()
    assert emails.remove("b")
    assert emails.remove("nobody")
    assert not emails.remove("runs")
    with pytest.raises(JobStateError, match="'runs': a worker holds it"):
        job_of(emails, "runs").remove()
    with pytest.raises(JobNotFound):
        job.refresh()


def test_the_next_job_of_a_scheduler_cannot_be_removed(emails: Queue) -> None:
    keys = emails.core.keys
    seed_waiting(emails.core, "next")
    emails.core.client.rename(keys.job("next"), keys.job("repeat:s:77"))
    emails.core.client.lset(keys.wait, 0, "repeat:s:77")
    emails.core.client.zadd(f"{keys.base}repeat", {"s": 77})
    with pytest.raises(JobStateError, match="scheduler"):
        emails.remove("repeat:s:77")
    assert emails.drain() == 0
    assert emails.count() == 1


def test_a_state_is_cleaned_a_line_drained_and_all_obliterated(emails: Queue) -> None:
    seed_failed(emails, "a", "b")
    assert emails.clean(0, 1, "failed") == ["a"]
    assert emails.clean(60_000, 0, "failed") == []
    seed_delayed(emails, "c")
    seed_active(emails.core, "runs", token="t9")
    seed_waiting(emails.core, "d")
    assert emails.drain() == 1
    assert emails.drain(delayed=True) == 1
    with pytest.raises(QueueError, match="'emails' cannot be obliterated: it has active jobs"):
        emails.obliterate()
    emails.obliterate(force=True)
    assert sum(emails.get_job_counts().values()) == 0
    assert not emails.is_paused()


def test_a_deduplication_id_is_freed(emails: Queue) -> None:
    emails.core.client.set(f"{emails.core.keys.base}de:same", "a")
    assert emails.remove_deduplication_key("same")
    assert not emails.remove_deduplication_key("same")


def test_a_state_of_nobody_cannot_be_cleaned(emails: Queue) -> None:
    with pytest.raises(InvalidJobOptions, match=JobState.PRIORITIZED):
        emails.clean(0, 0, "asleep")
