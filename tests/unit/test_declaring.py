"""Declared queues where no Redis is: how they are declared, and their functions called by hand."""

from datetime import date
from typing import Any

import pytest
from pydantic import BaseModel, Field, computed_field

from feedmill import InvalidJobOptions, Job, QueueError, queue


class Email(BaseModel):
    """What the queue of the tests carries."""

    to: str = Field(min_length=3)
    on: date = date(2026, 11, 30)


@queue("emails", attempts=3)
def send(job: Job[Email]) -> str:
    """Send an email."""
    return f"{job.name} {job.id}: {job.data.to} on {job.data.on:%d.%m.}"


def test_a_function_is_called_by_hand_with_a_job_that_is_in_no_queue() -> None:
    job = send.example(Email(to="ann@example.org"))
    assert send(job) == "send 1: ann@example.org on 30.11."
    assert (job.queue_name, job.opts["attempts"], job.attempts_made) == ("emails", 3, 0)


def test_a_declared_queue_is_known_by_its_name_and_function() -> None:
    assert (send.name, send.__name__, send.__doc__) == ("emails", "send", "Send an email.")
    assert repr(send) == "<queue 'emails' worked by send>"


def test_data_that_is_none_of_the_function_s_is_refused_before_redis_is_asked() -> None:
    wrong: Any = {"to": "a"}
    with pytest.raises(InvalidJobOptions, match=r"data=.*accepted is Email \(to: String should"):
        send.add(wrong)
    with pytest.raises(InvalidJobOptions, match="accepted is Email"):
        send.add_many([Email(to="ann@example.org"), wrong])
    changed = Email(to="ann@example.org")
    changed.to = "a"
    with pytest.raises(InvalidJobOptions, match="accepted is Email"):
        send.add(changed)


def test_data_that_could_not_be_read_again_is_refused_when_added() -> None:
    class Aliased(BaseModel):
        to: str = Field(validation_alias="recipient", serialization_alias="to")

    def work(job: Job[Any]) -> None: ...

    work.__annotations__["job"] = Job[Aliased]
    declared = queue("aliased")(work)
    with pytest.raises(InvalidJobOptions, match="recipient: Field required"):
        declared.example(Aliased(recipient="ann"))


def test_a_job_of_no_type_takes_whatever_json_holds() -> None:
    @queue("anything")
    def work(job: Job) -> object:  # type: ignore[type-arg]
        return job.data

    assert work(work.example({"a": [1, None]})) == {"a": [1, None]}
    with pytest.raises(InvalidJobOptions, match="what JSON can hold"):
        work.example(object())


def no_parameter() -> None: ...


def no_annotation(job): ...  # type: ignore[no-untyped-def]


def another_annotation(job: Email) -> None: ...


def unknown_type(job: "Job[Missing]") -> None: ...  # type: ignore[name-defined]  # noqa: F821


class Plain:
    """A class of which pydantic knows nothing."""


def plain_class(job: Job[Plain]) -> None: ...


async def asynchronous(job: Job[Email]) -> None: ...


@pytest.mark.parametrize(
    "function",
    [
        no_parameter,
        no_annotation,
        another_annotation,
        unknown_type,
        plain_class,
        asynchronous,
    ],
)
def test_a_function_that_takes_no_job_is_refused_in_one_line(function: Any) -> None:
    with pytest.raises(QueueError, match=f"^queue 'emails': .*{function.__name__}") as refused:
        queue("emails")(function)
    assert "\n" not in str(refused.value)


def test_a_decorator_without_a_name_says_what_it_needs() -> None:
    decorate: Any = queue
    with pytest.raises(TypeError, match=r"needs the name of a queue"):
        decorate(send)


def test_a_function_of_a_list_of_jobs_is_told_of_batches() -> None:
    def store(jobs: list[Job[Email]]) -> None: ...

    function: Any = store
    with pytest.raises(QueueError, match=r"a list of jobs is for @queue\(\.\.\., batch=500\)"):
        queue("emails")(function)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"weight": "huge"}, "weight"),
        ({"concurrency": 0}, "concurrency"),
        ({"concurrency": True}, "concurrency"),
        ({"concurrency": "5"}, "concurrency"),
        ({"timeout": "0s"}, "timeout"),
        ({"attempts": -1}, "attempts"),
        ({"backoff": "soon"}, "backoff"),
        ({"keep": "all"}, "keep"),
        ({"timeout": "ever"}, "timeout"),
        ({"limit": 100}, "limit"),
        ({"add_limit": "many"}, "add_limit"),
        ({"limit": "5/s", "group": 5}, "group"),
        ({"limit": "5/s", "group": ""}, "group"),
    ],
)
def test_a_value_that_cannot_be_is_refused_where_the_queue_is_declared(
    options: dict[str, Any], name: str
) -> None:
    with pytest.raises(InvalidJobOptions, match=f"^{name}="):
        queue("emails", **options)


def test_a_function_whose_parameter_is_not_annotated_is_refused() -> None:
    def work(job):  # type: ignore[no-untyped-def]
        return job

    with pytest.raises(QueueError, match=r"must be a Job.*; it is not annotated"):
        queue("emails")(work)


def test_an_option_that_no_queue_has_is_refused_with_what_there_is() -> None:
    wrong: Any = {"attempt": 3}
    with pytest.raises(TypeError, match="no option attempt; its options are add_limit, attempts"):
        queue("emails", **wrong)


def test_a_group_is_a_field_of_the_model_as_it_is_written() -> None:
    class Event(BaseModel):
        tenant: str = Field(serialization_alias="customer", validation_alias="customer")

        @computed_field
        def region(self) -> str:
            return self.tenant[:2]

    def work(job: Job[Any]) -> None: ...

    work.__annotations__["job"] = Job[Event]
    for group in ("customer", "region"):
        assert queue("events", group=group, limit="5/s")(work).rules.group == group
    with pytest.raises(InvalidJobOptions, match="accepted is a field of Event: customer, region"):
        queue("events", group="tenant", limit="5/s")(work)
    # What data of other types holds is not known.
    work.__annotations__["job"] = Job[dict[str, str]]
    assert queue("events", group="tenant", limit="5/s")(work).rules.group == "tenant"


def test_dead_letters_are_of_another_queue_with_a_name_that_can_be() -> None:
    with pytest.raises(InvalidJobOptions, match="dead_letter='emails'"):
        queue("emails", dead_letter="emails")
    with pytest.raises(QueueError, match="a:b"):
        queue("emails", dead_letter="a:b")


def test_a_name_that_bullmq_refuses_is_refused_where_the_queue_is_declared() -> None:
    with pytest.raises(QueueError, match="a:b"):
        queue("a:b")
    with pytest.raises(QueueError, match="a:dead"):
        queue("a", dead_letter="a:dead")


@pytest.mark.parametrize(("weight", "concurrency"), [("light", 50), ("medium", 10), ("heavy", 1)])
def test_a_weight_says_how_many_run_at_a_time_unless_another_number_is_given(
    weight: str, concurrency: int
) -> None:
    def work(job: Job[Email]) -> None: ...

    assert queue("emails", weight=weight)(work).rules.concurrency == concurrency
    assert queue("emails", weight=weight, concurrency=3)(work).rules.concurrency == 3


def test_what_a_function_tells_of_its_job_is_kept_by_an_example() -> None:
    @queue("syncs")
    def sync(job: Job[list[str]]) -> int:
        for number, account in enumerate(job.data, start=1):
            job.log(account)
            job.progress(number)
        job.extend_lock(60_000)
        job.update_data([])
        return len(job.data)

    job = sync.example(["a", "b"])
    assert sync(job) == 2
    assert (job.progresses, job.logged, job.updates) == ([1, 2], ["a", "b"], [[]])
