"""How jobs are written to Redis and read from it. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

from shared.errors import UnencodableJob
from shared.queue.connection import readable, text
from shared.queue.job import BlockedBy, Claim, ClaimedJob, GroupLimit, JobState, JobView, NewJob
from shared.queue.keys import check_job_id
from shared.queue.reading import read_json, read_object, read_revision, whole_number

# In the order in which `claim.lua` answers them where it is not told to answer all.
_CLAIMED_FIELDS = (
    b"name",
    b"data",
    b"opts",
    b"timestamp",
    b"revision",
    b"tally",
    b"atm",
    b"ats",
    b"stc",
    b"solo",
    b"defa",
)


def encode_new_job(job: NewJob) -> list[str | bytes]:
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
        "" if job.revision is None else str(job.revision),
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


def decode_claim(reply: list[Any], token: str, *, is_whole: bool = False) -> Claim:
    """Turn the answer of ``claim.lua`` into a claim."""
    blocked_by, retry_in_ms, *jobs = reply
    decode = _decode_whole if is_whole else _decode_claimed
    return Claim(
        jobs=[decode(fields, token) for fields in jobs],
        blocked_by=BlockedBy(text(blocked_by)) if blocked_by else None,
        retry_in_ms=retry_in_ms if retry_in_ms >= 0 else None,
    )


def _decode_claimed(fields: list[Any], token: str) -> ClaimedJob:
    name, data, opts, timestamp, revision, tally, *counts, solo, defa, job_id = fields
    made, started, stalled = map(whole_number, counts)
    return ClaimedJob(
        id=text(job_id),
        name=readable(name) or "",
        raw_data=readable(data) or "",
        revision=read_revision(revision),
        tally=readable(tally),
        attempts_made=made or 0,
        attempts_started=started or 0,
        raw_opts=opts,
        stalled_count=stalled or 0,
        is_solo=solo is not None and defa is None,
        deferred_failure=readable(defa),
        token=token,
        timestamp_ms=whole_number(timestamp) or 0,
    )


def _decode_whole(values: list[Any], token: str) -> ClaimedJob:
    *pairs, job_id = values
    fields = dict(zip(pairs[::2], pairs[1::2], strict=True))
    claimed = _decode_claimed([*map(fields.get, _CLAIMED_FIELDS), job_id], token)
    return claimed._replace(view=decode_view(claimed.id, JobState.ACTIVE, fields))


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
        progress=readable(fields.get(b"progress")),
        processed_by=readable(fields.get(b"pb")),
        parent_key=readable(fields.get(b"parentKey")),
        scheduler_id=readable(fields.get(b"rjk")),
        deduplication_id=readable(fields.get(b"deid")),
    )


def decode_group_limit(value: bytes | None) -> GroupLimit | None:
    """Turn what ``limit_groups.lua`` has written into a limit; nonsense is none, as to scripts."""
    words = (readable(value) or "").split(" ", 3)
    max_jobs, duration_ms = map(whole_number, words[:2] if len(words) == 4 else ("", ""))
    return GroupLimit(max_jobs, duration_ms, words[3]) if max_jobs and duration_ms else None


def _stacks(value: bytes | None) -> list[str]:
    decoded = read_json(value)
    return [str(stack) for stack in decoded] if isinstance(decoded, list) else []
