"""How jobs are written to Redis and read from it. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from shared.errors import UnencodableJob
from shared.queue.connection import text
from shared.queue.job import BlockedBy, Claim, ClaimedJob, JobState, JobView, NewJob
from shared.queue.keys import check_job_id

# What Lua's numbers hold exactly; MongoDB's hold more.
MAX_WHOLE = 2**53 - 1
# A tuple: a union of types would be made anew for each number of each job.
_NUMBERS = (bytes, str, int, float)


def encode_new_job(job: NewJob) -> list[str | int | bytes]:
    """Return id, name, data, opts, revision and tally as ``add.lua`` reads them.

    Raises:
        InvalidJobId: an id that the layout has no room for.
        UnencodableJob: data that JSON cannot hold.
    """
    return [
        check_job_id(job.id),
        job.name,
        to_json(job.id, job.data),
        to_json(job.id, opts_of(job)),
        "" if job.revision is None else job.revision,
        job.tally or "",
    ]


def opts_of(job: NewJob) -> dict[str, object]:
    """Return a job's ``opts`` as BullMQ writes them."""
    opts: dict[str, object] = {"jobId": job.id, "attempts": job.attempts}
    if job.backoff_ms > 0:
        opts["backoff"] = {"type": "exponential", "delay": job.backoff_ms}
    opts["removeOnComplete"] = _keep(job.keep_completed)
    if job.keep_failed is not None:
        opts["removeOnFail"] = _keep(job.keep_failed)
    return opts


def _keep(count: int) -> bool | dict[str, int]:
    return {"count": count} if count > 0 else True


def to_json(job_id: str, value: object) -> bytes:
    """Return compact JSON; bytes are JSON already.

    Raises:
        UnencodableJob: a value that JSON or UTF-8 cannot hold.
    """
    if isinstance(value, bytes):
        return value
    try:
        return orjson.dumps(value)
    except TypeError as exc:
        raise UnencodableJob(job_id, str(exc)) from exc


def decode_claim(reply: list[Any], token: str) -> Claim:
    """Turn the answer of ``claim.lua`` into a claim."""
    blocked_by, retry_in_ms, *jobs = reply
    return Claim(
        jobs=[_decode_claimed(text(job_id), fields, token) for job_id, fields in jobs],
        blocked_by=BlockedBy(text(blocked_by)) if blocked_by else None,
        retry_in_ms=retry_in_ms if retry_in_ms >= 0 else None,
    )


def _decode_claimed(job_id: str, fields: list[Any], token: str) -> ClaimedJob:
    name, data, opts_json, timestamp, revision, tally, made, started, stalled, solo, defa = fields
    opts = read_object(opts_json)
    return ClaimedJob(
        id=job_id,
        name=readable(name) or "",
        raw_data=readable(data) or "",
        revision=read_revision(revision),
        tally=readable(tally),
        attempts_made=whole_number(made) or 0,
        attempts_started=whole_number(started) or 0,
        max_attempts=max(whole_number(opts.get("attempts")) or 1, 1),
        backoff=_backoff(opts.get("backoff")),
        stalled_count=whole_number(stalled) or 0,
        is_solo=solo is not None and defa is None,
        deferred_failure=readable(defa),
        token=token,
        timestamp_ms=whole_number(timestamp) or 0,
    )


def _backoff(value: object) -> Mapping[str, object] | None:
    if isinstance(value, Mapping):
        return value
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return {"type": "fixed", "delay": value} if is_number else None


def decode_view(job_id: str, state: JobState, fields: Mapping[bytes, bytes]) -> JobView:
    """Turn a job's hash into what people look at; broken fields are shown as absent."""
    return JobView(
        id=job_id,
        name=readable(fields.get(b"name")) or "",
        state=state,
        data=readable(fields.get(b"data")) or "",
        opts=read_object(fields.get(b"opts")),
        revision=read_revision(fields.get(b"revision")),
        tally=readable(fields.get(b"tally")),
        timestamp_ms=whole_number(fields.get(b"timestamp")) or 0,
        processed_ms=whole_number(fields.get(b"processedOn")),
        finished_ms=whole_number(fields.get(b"finishedOn")),
        attempts_made=whole_number(fields.get(b"atm")) or 0,
        attempts_started=whole_number(fields.get(b"ats")) or 0,
        stalled_count=whole_number(fields.get(b"stc")) or 0,
        is_solo=b"solo" in fields and b"defa" not in fields,
        deferred_failure=readable(fields.get(b"defa")),
        failed_reason=readable(fields.get(b"failedReason")),
        stacktrace=_stacks(fields.get(b"stacktrace")),
        result=readable(fields.get(b"returnvalue")),
        delay_ms=whole_number(fields.get(b"delay")) or 0,
        priority=whole_number(fields.get(b"priority")) or 0,
    )


def readable(value: bytes | None) -> str | None:
    """Decode for reading: always valid text, whatever bytes a foreign producer wrote."""
    return None if value is None else value.decode("utf-8", "replace")


def whole_number(value: object) -> int | None:
    """Read a whole number that Lua and MongoDB can hold too; anything else is None."""
    # Asked six times of each claimed job, and mostly of an absent field.
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= MAX_WHOLE else None


def read_revision(value: bytes | None) -> int | None:
    """Read a revision, which is at least 1; anything else is none at all."""
    number = whole_number(value)
    return number if number is not None and number >= 1 else None


def read_object(value: bytes | None) -> Mapping[str, object]:
    """Read a JSON object; anything else is an empty one."""
    decoded = _read_json(value)
    return decoded if isinstance(decoded, dict) else {}


def _stacks(value: bytes | None) -> list[str]:
    decoded = _read_json(value)
    return [str(stack) for stack in decoded] if isinstance(decoded, list) else []


def _read_json(value: bytes | None) -> object:
    try:
        return orjson.loads(value) if value else None
    except orjson.JSONDecodeError:
        return None
