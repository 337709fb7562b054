"""Adding to an own queue: what a job gets, what is refused, and that nothing is added by half."""

from typing import Any

import pytest

from feedmill import (
    AddLimitExceeded,
    InvalidJobId,
    InvalidJobOptions,
    JobNotFound,
    JobStateError,
    Queue,
    QueueFull,
    UnencodableJob,
    Worker,
)
from shared.errors import QueueError
from shared.queue import JobQueue, JobState, RedisConnection
from shared.queue.enqueueing import Payload, enqueue_tree, payload
from shared.queue.options import read_options
from tests.failpoints import full_redis
from tests.fakes import FakeClock
from tests.queue_states import events, line, whole_state


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def emails(redis_client: RedisConnection, clock: FakeClock) -> Queue:
    return Queue("emails", redis_client, clock=clock)


def test_an_added_job_comes_back_as_it_lies_in_redis(emails: Queue, clock: FakeClock) -> None:
    job = emails.add("welcome", {"to": (1, "ü")}, delay=5_000, priority=3, attempts=2)
    assert (job.id, job.name, job.data) == ("1", "welcome", {"to": [1, "ü"]})
    assert (job.delay, job.priority, job.timestamp) == (5_000, 3, clock.now_ms())
    assert job.opts == {"delay": 5_000, "priority": 3, "attempts": 2}
    assert job.refresh() == job
    parent = {"id": "1", "queue": "bull:emails"}
    for more in (
        {"deduplication": {"id": "d"}},
        {"parent": parent},
        {"parent": parent, "ignore_dependency_on_failure": True},
    ):
        job = emails.add("reminder", **more)
        assert job.refresh() == job


def test_a_job_without_data_has_an_empty_object_and_none_stays_none(emails: Queue) -> None:
    assert emails.add("a").data == {}
    assert emails.add("b", None).data is None
    assert [job.data for job in emails.add_bulk([{"name": "a"}, {"name": "b", "data": None}])] == [
        {},
        None,
    ]


def test_the_options_of_the_queue_are_those_of_jobs_that_ask_for_nothing_else(
    redis_client: RedisConnection,
) -> None:
    queue = Queue("emails", redis_client, default_job_options={"attempts": 5, "priority": 2})
    assert queue.add("a").opts == {"attempts": 5, "priority": 2}
    assert queue.add("a", attempts=1).opts == {"attempts": 1, "priority": 2}


def test_a_worker_runs_added_jobs_in_their_order(emails: Queue, clock: FakeClock) -> None:
    emails.add("low", priority=9)
    emails.add("high", priority=1)
    emails.add("first")
    emails.add("second")
    emails.add("late", delay=1_000)
    emails.add("front", lifo=True)
    ran: list[str] = []
    worker = Worker(emails, lambda job: ran.append(job.name))
    while worker.step():
        pass
    assert ran == ["front", "first", "second", "high", "low"]
    clock.advance(seconds=1)
    assert worker.step()
    assert ran[-1] == "late"


def test_a_taken_id_returns_the_job_that_is_there(emails: Queue) -> None:
    emails.add("a", 1, job_id="x")
    again = emails.add("b", 2, job_id="x")
    assert (again.id, again.name, again.data) == ("x", "a", 1)
    assert emails.count() == 1


def test_a_kept_job_blocks_its_id(emails: Queue) -> None:
    emails.add("a", 1, job_id="x")
    assert Worker(emails, lambda job: "done").step()
    assert emails.add("b", 2, job_id="x").return_value == "done"
    assert emails.count() == 0


def test_jobs_of_one_bulk_may_have_one_id(emails: Queue) -> None:
    first, other, second = emails.add_bulk(
        [
            {"name": "a", "data": 1, "opts": {"job_id": "x"}},
            {"name": "b"},
            {"name": "c", "data": 2, "opts": {"job_id": "x"}},
        ]
    )
    assert (first.name, second.name, second.data) == ("a", "a", 1)
    assert line(emails.core) == ["x", other.id]


def test_a_bulk_larger_than_a_call_is_added_in_order(emails: Queue) -> None:
    jobs = emails.add_bulk([{"name": "a", "data": n} for n in range(1_203)])
    assert [job.data for job in jobs] == list(range(1_203))
    assert line(emails.core) == [job.id for job in jobs] == [str(n + 1) for n in range(1_203)]


def test_no_jobs_are_none(emails: Queue) -> None:
    assert emails.add_bulk([]) == []


def test_a_number_that_a_job_has_is_never_given_again(emails: Queue) -> None:
    emails.add_bulk([{"name": "a", "data": n} for n in range(700)])
    emails.core.client.delete(emails.core.keys.base + "id")
    jobs = emails.add_bulk([{"name": "b"} for _ in range(40)])
    assert len({job.id for job in jobs}) == 40
    assert min(int(job.id) for job in jobs) > 700
    assert emails.count() == 740


@pytest.mark.parametrize(
    ("error", "data", "options"),
    [
        (InvalidJobOptions, {}, {"delay": -1}),
        (InvalidJobOptions, {}, {"lifos": True}),
        (InvalidJobOptions, {"text": "x" * 100}, {"size_limit": 100}),
        (InvalidJobId, {}, {"job_id": "17"}),
        (InvalidJobId, {}, {"job_id": "a:b"}),
        (UnencodableJob, {"a": object()}, {}),
        (UnencodableJob, b"{}", {}),
        (UnencodableJob, "\ud800", {"job_id": "x"}),
        (JobNotFound, {}, {"parent": {"id": "p", "queue": "bull:emails"}}),
    ],
)
def test_what_cannot_be_added_changes_nothing(
    emails: Queue, error: type[Exception], data: object, options: dict[str, Any]
) -> None:
    with pytest.raises(error):
        emails.add("a", data, **options)
    with pytest.raises(error):
        emails.add_bulk([{"name": "good"}, {"name": "a", "data": data, "opts": options}])
    assert whole_state(emails.core) == {}


@pytest.mark.parametrize("entry", [{}, {"name": 1}, {"name": "a", "options": {}}, "a"])
def test_an_entry_of_a_bulk_that_is_no_job_is_refused(emails: Queue, entry: Any) -> None:
    with pytest.raises(InvalidJobOptions, match="name, data and opts"):
        emails.add_bulk([entry])


def test_values_of_another_type_are_named_in_the_refusal(emails: Queue) -> None:
    wrong: Any = 17
    with pytest.raises(InvalidJobOptions, match="name=17: accepted is a text"):
        emails.add(wrong)
    job = emails.add("a")
    with pytest.raises(TypeError, match="is a text, not 17"):
        job.log(wrong)
    with pytest.raises(TypeError, match=r"events=17: .* seconds are timeout_s"):
        job.wait_until_finished(wrong)


def test_a_full_redis_takes_no_job_and_changes_nothing(
    emails: Queue, redis_client: RedisConnection
) -> None:
    emails.add("a")
    before = whole_state(emails.core)
    limited = Queue("emails", redis_client, add_limit=(9, 1_000))
    with full_redis(redis_client):
        for queue in (emails, limited):
            with pytest.raises(QueueFull):
                queue.add_bulk([{"name": "b"}, {"name": "c", "opts": {"job_id": "c"}}])
    assert whole_state(emails.core) == before


def test_keys_of_another_type_cost_their_own_job_only(emails: Queue) -> None:
    base, client = emails.core.keys.base, emails.core.client
    client.set(base + "text", "a")
    client.rpush(base + "de:d", "a")
    client.rpush(base + "id", "a")
    jobs = emails.add_bulk(
        [
            {"name": "a", "opts": {"job_id": "text"}},
            {"name": "b", "opts": {"deduplication": {"id": "d"}}},
            {"name": "c"},
        ]
    )
    assert line(emails.core) == [jobs[1].id, jobs[2].id]


def test_a_caller_may_add_so_many_jobs_in_a_window(redis_client: RedisConnection) -> None:
    queue = Queue("emails", redis_client, add_limit=(3, 60_000))
    queue.add_bulk([{"name": "a"}] * 2, caller="shop")
    with pytest.raises(AddLimitExceeded, match="'shop' adds too many jobs") as refused:
        queue.add_bulk([{"name": "b"}] * 2, caller="shop")
    assert 0 < refused.value.retry_in_ms <= 60_000
    queue.add("c", caller="shop")
    queue.add_bulk([{"name": "d"}] * 3, caller="blog")
    queue.add_bulk([{"name": "e"}] * 3)
    with pytest.raises(AddLimitExceeded):
        queue.add("f", caller="shop")
    redis_client.delete("bull:emails:own:adds:shop")
    queue.add("g", caller="shop")
    assert queue.count() == 10


def test_a_bulk_is_counted_as_a_whole_before_its_first_job(redis_client: RedisConnection) -> None:
    queue = Queue("emails", redis_client, add_limit=(1_200, 60_000))
    with pytest.raises(AddLimitExceeded):
        queue.add_bulk([{"name": "a"}] * 1_201)
    assert queue.count() == 0
    queue.add_bulk([{"name": "a"}] * 1_200)
    with pytest.raises(AddLimitExceeded):
        queue.add("b")
    assert queue.count() == 1_200


@pytest.mark.parametrize("limit", [(0, 1_000), (1, 0), (5,), (5, 1_000, 1), 5, "5/s", (5, 0.5)])
def test_a_limit_that_is_none_or_lets_nothing_pass_is_refused(limit: Any) -> None:
    with pytest.raises(InvalidJobOptions, match=r"add_limit=.*jobs and milliseconds, each"):
        Queue("emails", "redis://127.0.0.1:1", add_limit=limit)


def test_a_refused_job_is_answered_by_the_one_that_stands_for_it(emails: Queue) -> None:
    first = emails.add("a", 1, deduplication={"id": "d"})
    assert emails.add("b", 2, deduplication={"id": "d"}) == first
    assert emails.count() == 1


def test_the_child_of_one_living_parent_does_not_become_that_of_another(emails: Queue) -> None:
    emails.add("p", job_id="p", delay=9_000)
    emails.add("q", job_id="q", delay=9_000)
    emails.add("c", job_id="c", parent={"id": "p", "queue": "bull:emails"})
    before = whole_state(emails.core)
    with pytest.raises(JobStateError, match="another parent"):
        emails.add("c", job_id="c", parent={"id": "q", "queue": "bull:emails"})
    # The number that it drew is all that it leaves.
    assert {k: v for k, v in whole_state(emails.core).items() if not k.endswith(":id")} == {
        k: v for k, v in before.items() if not k.endswith(":id")
    }


def node(queue: JobQueue, job_id: str, parent: str | None = None, **more: Any) -> Payload:
    options = {} if parent is None else {"parent": {"id": parent, "queue": "bull:emails"}}
    return payload(queue, "n", {}, read_options({}, options), job_id=job_id, **more)


def test_a_tree_waits_for_its_leaves_over_several_queues(
    emails: Queue, redis_client: RedisConnection, clock: FakeClock
) -> None:
    leaves = JobQueue(redis_client, "leaves", clock=clock)
    enqueue_tree(
        emails.core,
        [
            node(emails.core, "top", is_parent=True),
            node(emails.core, "mid", "top", is_parent=True),
            node(leaves, "leaf", "mid"),
            node(leaves, "leaf2", "top"),
        ],
    )
    assert emails.core.counts()[JobState.WAITING_CHILDREN] == 2
    assert line(leaves) == ["leaf", "leaf2"]
    runs: list[str] = []
    workers = [
        Worker(queue, lambda job: runs.append(job.id))
        for queue in (Queue("leaves", redis_client, clock=clock), emails)
    ]
    while any(worker.step() for worker in workers):
        pass
    assert runs in (["leaf", "leaf2", "mid", "top"], ["leaf", "mid", "leaf2", "top"])


def test_a_parent_whose_children_are_done_already_goes_into_the_line(emails: Queue) -> None:
    emails.add("c", job_id="c")
    assert Worker(emails, lambda job: 5).step()
    enqueue_tree(emails.core, [node(emails.core, "p", is_parent=True), node(emails.core, "c", "p")])
    assert line(emails.core) == ["p"]
    assert emails.core.client.hgetall("bull:emails:p:processed") == {b"bull:emails:c": b"5"}
    assert events(emails.core)[-2:] == ["duplicated c", "waiting p"]


def test_a_tree_without_one_of_its_parents_is_refused_as_a_whole(emails: Queue) -> None:
    with pytest.raises(JobNotFound, match="bull:emails:gone"):
        enqueue_tree(emails.core, [node(emails.core, "a"), node(emails.core, "b", "gone")])
    with pytest.raises(QueueError, match="at most 5000 jobs"):
        enqueue_tree(emails.core, [node(emails.core, "a")] * 5_001)
    assert whole_state(emails.core) == {}


@pytest.mark.parametrize("is_there", [True, False])
def test_a_tree_that_takes_the_child_of_another_parent_is_refused_as_a_whole(
    emails: Queue, is_there: bool
) -> None:
    first = [node(emails.core, "p", is_parent=True), node(emails.core, "c", "p")]
    second = [node(emails.core, "q", is_parent=True), node(emails.core, "c", "q")]
    if is_there:
        enqueue_tree(emails.core, first)
    before = whole_state(emails.core)
    with pytest.raises(JobStateError, match="'c': is the child of another parent"):
        enqueue_tree(emails.core, second if is_there else [*first, *second])
    assert whole_state(emails.core) == before
