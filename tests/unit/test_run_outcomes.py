"""What a run of a handler comes to is decided by the error and the job alone."""

from typing import Any

import pytest

from shared.errors import (
    DelayedError,
    DoomedJob,
    Postponed,
    RateLimitError,
    UnrecoverableError,
    WaitingChildrenError,
    WaitingError,
)
from shared.queue import ClaimedJob, Failure, Postponement, Retry, RunRules
from shared.queue.job import MAX_DELAY_MS
from shared.queue.runs import Moved, PutBack, check_may_run, outcome_of

RULES = RunRules()


def make_claimed(opts: bytes = b'{"attempts":3}', **more: Any) -> ClaimedJob:
    fields: dict[str, Any] = {
        "id": "a",
        "name": "x",
        "raw_data": "{}",
        "raw_opts": opts,
        "revision": None,
        "tally": None,
        "attempts_made": 0,
        "attempts_started": 1,
        "stalled_count": 0,
        "is_solo": False,
        "deferred_failure": None,
        "token": "t",
        "timestamp_ms": 1,
    }
    return ClaimedJob(**fields | more)


class Unspeakable(Exception):
    """An error whose text needs details that it was raised without."""

    def __str__(self) -> str:
        return str(self.args[0]["message"])


class Unshowable(Unspeakable):
    """One that cannot be shown either, nor asked for what it lacks."""

    __repr__ = Unspeakable.__str__

    def __getattr__(self, name: str) -> object:
        return self.args[0][name]


def named(name: str) -> Exception:
    """Return an error of another library."""
    kind: type[Exception] = type(name, (Exception,), {})
    return kind("theirs")


@pytest.mark.parametrize(("made", "kind"), [(0, Retry), (1, Retry), (2, Failure), (7, Failure)])
def test_a_job_is_tried_again_while_attempts_remain(made: int, kind: type[object]) -> None:
    job = make_claimed(attempts_made=made)
    assert type(outcome_of(job, OSError("no"), RULES)) is kind


@pytest.mark.parametrize("opts", [b"{}", b'{"attempts":0}', b'{"attempts":1}', b"nonsense"])
def test_a_job_without_attempts_fails_in_its_first_run(opts: bytes) -> None:
    outcome = outcome_of(make_claimed(opts), OSError("no"), RULES)
    assert isinstance(outcome, Failure)
    assert (outcome.reason, outcome.stacktrace.strip()) == ("no", "OSError: no")


@pytest.mark.parametrize(
    "error", [UnrecoverableError("no"), named("UnrecoverableError"), DoomedJob("stalled")]
)
def test_some_errors_fail_a_job_with_attempts_left(error: Exception) -> None:
    assert isinstance(outcome_of(make_claimed(), error, RULES), Failure)


@pytest.mark.parametrize("kind", [DelayedError, WaitingError, WaitingChildrenError])
def test_a_job_that_its_handler_has_moved_is_left_alone(kind: type[Exception]) -> None:
    job = make_claimed(attempts_made=9)
    assert outcome_of(job, kind(), RULES) == Moved()
    assert outcome_of(job, named(kind.__name__), RULES) == Moved()


def test_a_job_that_met_a_limit_goes_back_and_one_postponed_waits() -> None:
    job = make_claimed(attempts_made=9)
    assert outcome_of(job, RateLimitError(), RULES) == PutBack(job.lock)
    assert outcome_of(job, Postponed(50, "early"), RULES) == Postponement("a", "t", 50)


def test_the_limit_of_a_web_service_is_an_error_like_any_other() -> None:
    assert isinstance(outcome_of(make_claimed(), named("RateLimitError"), RULES), Retry)


def test_an_error_without_a_text_is_told_by_its_kind() -> None:
    outcome = outcome_of(make_claimed(), KeyError(), RULES)
    assert isinstance(outcome, Retry)
    assert outcome.reason == "KeyError()"


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (Unspeakable, "Unspeakable({})"),
        (Unshowable, "<Unshowable that cannot be shown>"),
    ],
)
def test_an_error_whose_text_cannot_be_had_is_told_all_the_same(
    kind: type[Exception], reason: str
) -> None:
    outcome = outcome_of(make_claimed(attempts_made=2), kind({}), RULES)
    assert isinstance(outcome, Failure)
    assert outcome.reason == reason
    assert kind.__name__ in outcome.stacktrace


OWN = b'{"attempts":3,"backoff":{"type":"own","delay":700}}'


@pytest.mark.parametrize(
    ("answer", "delay_ms"), [(0, 0), (250, 250), (2.9, 2), (10 * MAX_DELAY_MS, MAX_DELAY_MS)]
)
def test_a_backoff_of_one_s_own_says_how_long_a_job_waits(answer: float, delay_ms: int) -> None:
    asked: list[object] = []

    def backoff(*question: object) -> float:
        asked.append(question)
        return answer

    job, error = make_claimed(OWN, attempts_made=1), OSError("no")
    outcome = outcome_of(job, error, RunRules(backoff=backoff))
    assert isinstance(outcome, Retry)
    assert outcome.delay_ms == delay_ms
    assert asked == [(2, "own", error, job)]


def test_a_backoff_of_one_s_own_may_end_the_attempts() -> None:
    rules = RunRules(backoff=lambda *_: -1)
    assert isinstance(outcome_of(make_claimed(OWN), OSError("no"), rules), Failure)


@pytest.mark.parametrize(
    ("backoff", "delay_ms"),
    [(b"700", 700), (b'{"type":"fixed","delay":700}', 700), (b"null", 0), (b'{"type":7}', 0)],
)
def test_a_backoff_that_bullmq_knows_is_not_one_s_own(backoff: bytes, delay_ms: int) -> None:
    job = make_claimed(b'{"attempts":3,"backoff":' + backoff + b"}")
    outcome = outcome_of(job, OSError("no"), RunRules(backoff=lambda *_: -1))
    assert isinstance(outcome, Retry)
    assert outcome.delay_ms == delay_ms


def test_a_job_that_was_started_too_often_is_not_run_nor_tried_again() -> None:
    rules = RunRules(max_started_attempts=2)
    last, beyond = make_claimed(attempts_started=2), make_claimed(attempts_started=3)
    check_may_run(last, rules)
    assert isinstance(outcome_of(last, OSError("no"), rules), Failure)
    with pytest.raises(DoomedJob, match="started more than allowable limit"):
        check_may_run(beyond, rules)
    check_may_run(beyond, RULES)


def test_a_doomed_job_is_not_run() -> None:
    with pytest.raises(DoomedJob, match="stalled"):
        check_may_run(make_claimed(deferred_failure="stalled"), RULES)
