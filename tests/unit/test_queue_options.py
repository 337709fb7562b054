"""A job's options: what is accepted, what is refused in which words, and what is stored."""

import json

import pytest

from shared.errors import InvalidJobId, InvalidJobOptions
from shared.queue.options import (
    Deduplication,
    JobOptions,
    ParentRef,
    ParentRule,
    check_payload_id,
    opts_json,
    read_options,
)


def stored(**given: object) -> dict[str, object]:
    """What lies in ``opts``, as JSON gives it back."""
    read: dict[str, object] = json.loads(json.dumps(opts_json(read_options({}, given))))
    return read


def test_a_job_without_options_stores_its_attempts_alone() -> None:
    assert stored() == {"attempts": 0}


def test_options_of_the_job_win_over_those_of_the_queue_and_none_is_not_given() -> None:
    options = read_options(
        {"attempts": 3, "delay": 5, "remove_on_fail": 7},
        {"attempts": 1, "delay": 0, "remove_on_fail": None},
    )
    assert options == JobOptions(attempts=1, delay=0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"job_id": "welcome-17"}, {"jobId": "welcome-17"}),
        ({"delay": 0, "priority": 2}, {"delay": 0, "priority": 2}),
        ({"backoff": 1000}, {"backoff": {"type": "fixed", "delay": 1000}}),
        (
            {"backoff": {"type": "exponential", "delay": 2000, "jitter": 0.5}},
            {"backoff": {"type": "exponential", "delay": 2000, "jitter": 0.5}},
        ),
        ({"backoff": {"type": "mine"}}, {"backoff": {"type": "mine"}}),
        ({"lifo": True}, {"lifo": True}),
        (
            {"remove_on_complete": True, "remove_on_fail": False},
            {"removeOnComplete": True, "removeOnFail": False},
        ),
        (
            {"remove_on_complete": {"count": 100, "age": 86400}, "remove_on_fail": 500},
            {"removeOnComplete": {"count": 100, "age": 86400}, "removeOnFail": 500},
        ),
        ({"keep_logs": 2, "stack_trace_limit": 1}, {"kl": 2, "stackTraceLimit": 1}),
        ({"size_limit": 9, "timestamp": 17}, {"sizeLimit": 9, "timestamp": 17}),
        (
            {"deduplication": {"id": "a", "ttl": 5, "keep_last_if_active": True}},
            {"de": {"id": "a", "ttl": 5, "keepLastIfActive": True}},
        ),
        (
            {"parent": {"id": "p", "queue": "bull:q"}, "ignore_dependency_on_failure": True},
            {"parent": {"id": "p", "queue": "bull:q"}, "idof": True},
        ),
        ({"fail_parent_on_failure": False, "continue_parent_on_failure": True}, {"cpof": True}),
    ],
)
def test_options_are_stored_under_the_names_of_bullmq(
    given: dict[str, object], expected: dict[str, object]
) -> None:
    assert stored(**given) == {"attempts": 0} | expected


def test_options_are_read_as_values() -> None:
    options = read_options(
        {}, {"deduplication": {"id": "a", "replace": True}, "remove_dependency_on_failure": True}
    )
    assert options.deduplication == Deduplication("a", replace=True)
    assert options.on_failure is ParentRule.REMOVE
    assert read_options({}, {"parent": {"id": "p", "queue": "bull:q"}}).parent == ParentRef(
        "p", "bull:q"
    )


@pytest.mark.parametrize(
    "given",
    [
        {"delay": -1},
        {"delay": 1.5},
        {"delay": True},
        {"delay": 11 * 365 * 24 * 60 * 60 * 1000},
        {"priority": 2_097_152},
        {"priority": -1},
        {"attempts": "3"},
        {"backoff": {"type": "fixed", "delay": -1}},
        {"backoff": {"delay": 1000}},
        {"backoff": {"type": "fixed", "jitter": 2}},
        {"backoff": {"type": "fixed", "delay": 1, "factor": 2}},
        {"lifo": 1},
        {"remove_on_complete": {"count": 1, "days": 2}},
        {"remove_on_complete": -1},
        {"deduplication": {}},
        {"deduplication": {"id": ""}},
        {"deduplication": {"id": "a", "ttl": -5}},
        {"deduplication": {"id": "a", "extend": 1}},
        {"deduplication": {"id": "a"}, "parent": {"id": "p", "queue": "bull:q"}},
        {"parent": {"id": "p"}},
        {"fail_parent_on_failure": 1},
        {"fail_parent_on_failure": True, "remove_dependency_on_failure": True},
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line_that_names_it(given: dict[str, object]) -> None:
    with pytest.raises(InvalidJobOptions) as caught:
        read_options({}, given)
    assert any(name in str(caught.value) for name in given)
    assert "accepted is" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_an_option_that_there_is_not_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(
        InvalidJobOptions, match=r"^there is no option 'atempts'; there are attempt"
    ):
        read_options({}, {"atempts": 3})


def test_an_id_that_all_jobs_would_share_is_refused_as_a_default() -> None:
    with pytest.raises(InvalidJobOptions, match="job_id='a': accepted is none as a default"):
        read_options({"job_id": "a"}, {})


@pytest.mark.parametrize("job_id", ["welcome-17", "012", "1.5", "1e3", "a:b:c", "source#guid"])
def test_ids_that_bullmq_takes_are_taken(job_id: str) -> None:
    assert check_payload_id(job_id) == job_id
    assert read_options({}, {"job_id": job_id}).job_id == job_id


@pytest.mark.parametrize(
    "job_id", ["", "0", "0:a:b", "12", "-5", "a:b", "a:b:c:d", "wait", "x:y:logs", "repeat:a:1"]
)
def test_ids_that_bullmq_refuses_or_its_layout_needs_are_refused(job_id: str) -> None:
    with pytest.raises(InvalidJobId):
        check_payload_id(job_id)
