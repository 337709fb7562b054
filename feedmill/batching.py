"""How the function of a declared queue works a batch of jobs."""

from collections.abc import Callable, Sequence
from typing import Any

from pydantic_core import to_jsonable_python

from feedmill.jobs import Job
from shared.queue.batches import BatchResult, call_for_each


def run_batch(
    function: Callable[[list[Job[Any]]], BatchResult],
    read: Callable[[Job[Any]], Job[Any]],
    jobs: Sequence[Job[Any]],
) -> list[object]:
    """Call ``function`` on the jobs whose data can be read; return an outcome for each job."""
    outcomes: dict[str, object] = {}
    readable = []
    for job in jobs:
        try:
            readable.append(read(job))
        except Exception as exc:  # noqa: BLE001 - a type's own checks may raise anything
            outcomes[job.id] = exc
    if readable:
        answered = call_for_each(lambda them: function(list(them)), readable)
        outcomes |= zip([job.id for job in readable], map(_as_json, answered), strict=True)
    return [outcomes[job.id] for job in jobs]


def _as_json(outcome: object) -> object:
    if isinstance(outcome, BaseException):
        return outcome
    try:
        return to_jsonable_python(outcome, by_alias=True)
    except Exception as exc:  # noqa: BLE001 - so may what it computes
        return exc
