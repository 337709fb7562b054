"""From a job whose item cannot be stored to its dead letter, and to its move. Pure."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from shared.dead_jobs import dead_job, encodable, readable_data
from shared.errors import ItemError
from shared.models import (
    content_hash,
    get_reader,
    is_source,
    make_guid,
    make_item_id,
    read_identity,
    split_item_id,
)
from shared.queue import ClaimedJob, DeadLettering, JobQueue
from shared.store import DeadLetter, LetterKind
from worker.decisions import Outcome
from worker.decoding import DecodedItem

UNKNOWN_SOURCE = "unknown"


def letter_of_job(
    queue: JobQueue, job: ClaimedJob, error: ItemError, revision: int | None = None
) -> DeadLetter:
    """Return the dead letter of a job that could not be made an item.

    What names the item comes from the job's data, or from its id where that names none.
    """
    data = readable_data(job.raw_data)
    if not isinstance(data, dict):
        data = {}
    source, guid = _identify(job, data)
    return DeadLetter(
        item_id=make_item_id(source, guid),
        queue=queue.name,
        source=source,
        guid=guid,
        revision=revision or job.revision or 0,
        import_id=job.tally,
        content_hash=_hash_of(data, job.raw_data),
        kind=LetterKind.DEAD,
        reason=str(error),
        error_type=error.error_type,
        attempts=job.attempts_made + 1,
        failed_at=queue.clock.now(),
        data=encodable(job.raw_data),
        read_by=get_reader(data),
    )


def letter_of_item(item: DecodedItem, error: ItemError) -> DeadLetter:
    """Return the dead letter of an item that could not be stored."""
    return DeadLetter(
        item_id=item.item_id,
        queue=item.queue.name,
        source=item.source,
        guid=str(item.content["guid"]),
        revision=item.revision,
        import_id=item.import_id,
        content_hash=item.content_hash,
        kind=LetterKind.DEAD,
        reason=str(error),
        error_type=error.error_type,
        attempts=item.job.attempts_made + 1,
        failed_at=item.queue.clock.now(),
        data=encodable(item.job.raw_data),
        read_by=get_reader(item.content),
    )


def highest_of_each_item(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Return one letter an item, the one of the highest rank, whichever comes first."""
    return list({one.item_id: one for one in sorted(letters, key=lambda one: one.rank)}.values())


def move_of(job: ClaimedJob, letter: DeadLetter) -> DeadLettering:
    """Return the move of a job whose dead letter is on record."""
    return DeadLettering(
        job_id=job.id,
        token=job.token,
        reason=letter.reason,
        stacktrace="",
        dead=dead_job(letter, job.id),
        tally_field=Outcome.DEAD,
    )


def _identify(job: ClaimedJob, data: Mapping[str, Any]) -> tuple[str, str]:
    named = read_identity(data)
    if named is not None:
        return named
    source, guid = split_item_id(job.id)
    if not is_source(source) or not guid:
        source, guid = UNKNOWN_SOURCE, job.id
    return source, make_guid(guid)


def _hash_of(data: Mapping[str, Any], raw_data: str) -> str:
    """Return the content's hash, by which the next import knows it again, if it has one."""
    try:
        return content_hash(data)
    except (ItemError, TypeError, AttributeError):
        return "raw:" + hashlib.sha256(encodable(raw_data).encode()).hexdigest()
