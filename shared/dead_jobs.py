"""A dead letter as a job of the dead-letter queue: what Bull Board and Node programs see of it."""

from collections.abc import Mapping
from contextlib import suppress

import orjson

from shared.errors import QueueFull
from shared.models import Rank, format_time
from shared.queue import JobQueue, NewJob
from shared.queue.reading import load_json
from shared.store import DeadLetter, DeadLetterStore, LetterKind

DEAD_JOB_NAME = "dead"
# What is shown of a dead item must not fill Redis: the dead letter in MongoDB has the data.
MAX_DATA_CHARACTERS = 1 << 20


def dead_job(letter: DeadLetter, job_id: str | None = None) -> NewJob:
    """Return the job that stands for a whole dead letter (one read with its data).

    ``job_id`` is the failed job's, where that is not the item's. Data of more than
    ``MAX_DATA_CHARACTERS`` gives way to a text that says so.
    """
    size = len(letter.data)
    left_out = f"left out here, for it has {size} characters: see the dead letter"
    return NewJob(
        id=letter.item_id,
        name=DEAD_JOB_NAME,
        data={
            "queue": letter.queue,
            "job_id": encodable(job_id or letter.item_id),
            "data": readable_data(letter.data) if size <= MAX_DATA_CHARACTERS else left_out,
            "reason": letter.reason,
            "error_type": letter.error_type,
            "attempts": letter.attempts,
            "failed_at": format_time(letter.failed_at),
        },
        revision=letter.revision,
    )


def clear_dead_letters(
    letters: DeadLetterStore, dead_letter_queue: JobQueue, stored_ranks: Mapping[str, Rank]
) -> None:
    """Take back the dead letters of stored items, unless their rank is above the stored one.

    The job goes first: after a crash in between the letter is still there to be cleared again,
    while a job without a letter would stay for good. Safe to repeat.

    Raises:
        StoreUnavailable, QueueUnavailable: some may be left; call again.
    """
    if not stored_ranks:
        return
    dead_letter_queue.remove_many(list(stored_ranks))
    if letters.clear_many(stored_ranks) < len(stored_ranks):
        # Failed again at a higher rank meanwhile: that job must not be missing.
        kept = letters.read_whole(list(stored_ranks))
        # A full Redis must not hold up the settling of what is stored: the hourly sweep adds them.
        with suppress(QueueFull):
            dead_letter_queue.add_many(
                [dead_job(letter) for letter in kept if letter.kind is LetterKind.DEAD]
            )


def readable_data(raw_data: str) -> object:
    """Return a job's data as JSON would show it; as the bare text when it is none."""
    try:
        return load_json(raw_data)
    except (orjson.JSONDecodeError, UnicodeError):
        return encodable(raw_data)


def encodable(text: str) -> str:
    """Return a text that UTF-8 can hold: what it cannot hold is replaced by ``?``."""
    return text.encode("utf-8", "replace").decode()
