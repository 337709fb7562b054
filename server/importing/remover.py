"""Removes what must not come back: each job is locked, its removal recorded, and it goes.

A record of a removal makes workers settle an item without storing it. So it is written only while
nobody can be working on the item: by the holder of its job's lock, who is the only one that may
remove the job. What a worker holds is refused before anything is recorded.
"""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from uuid import uuid4

import orjson

from shared.clock import Clock
from shared.dead_jobs import clear_dead_letters, readable_data
from shared.errors import ConflictError, ItemError, NotFoundError, QueueError
from shared.models import (
    content_hash,
    get_reader,
    is_source,
    make_guid,
    make_item_id,
    split_item_id,
)
from shared.queue import JobQueue, JobState, JobView, Lock, RemoveOutcome
from shared.queue.reading import load_json
from shared.store import DeadLetter, LetterKind, Stores

REMOVED = "removed"
REMOVED_REASON = "removed by an operator"
CLEAN_BATCH = 500
# Longer than MongoDB may take for all that is written while a job is locked.
REMOVAL_LOCK_MS = 120_000


@dataclass(slots=True)
class _Locked:
    """Jobs of one queue that ``token`` locks, and the ids that somebody else works on."""

    queue: JobQueue
    token: str
    views: list[JobView] = field(default_factory=list)
    held_ids: list[str] = field(default_factory=list)

    def take(self, views: Sequence[JobView]) -> list[str]:
        """Leave these jobs to who calls; what is left is released. Returns their ids."""
        ids = [view.id for view in views]
        self.views = [view for view in self.views if view.id not in set(ids)]
        return ids


class Remover:
    """Removes dead letters and jobs for good. Safe for threads, and beside other servers."""

    def __init__(
        self,
        *,
        stores: Stores,
        item_queues: Sequence[JobQueue],
        dead_letter_queue: JobQueue,
        clock: Clock,
    ) -> None:
        self._stores = stores
        self._item_queues = list(item_queues)
        self._item_queue_names = {queue.name for queue in item_queues}
        self._dead_letter_queue = dead_letter_queue
        self._clock = clock

    def remove_dead_letter(self, item_id: str) -> None:
        """Mark a dead letter removed: the same content stays away until other content is stored.

        A replay of it that waits ends as removed.

        Raises:
            NotFoundError: there is no dead one.
            ConflictError: it is being replayed at this moment.
        """
        outcome = self._remove_letters([item_id])[item_id]
        # Also when there was nothing to mark: a crash may have left the job behind.
        self._hide([item_id])
        if outcome is RemoveOutcome.LOCKED:
            raise ConflictError(
                f"dead letter {item_id[:80]!r} is being replayed; try again when that has ended"
            )
        if outcome is RemoveOutcome.MISSING:
            raise NotFoundError(f"there is no dead letter {item_id[:80]!r}")

    def remove_job(self, queue: JobQueue, job_id: str) -> None:
        """Remove one job of a queue; what removes an item is recorded.

        Raises:
            NotFoundError: the queue has no such job.
            ConflictError: a worker holds it; nothing was removed or recorded.
        """
        view = queue.get_job(job_id)
        if view is None:
            raise _unknown(queue, job_id)
        if queue.name == self._dead_letter_queue.name:
            self.remove_dead_letter(job_id)
        elif view.state is JobState.ACTIVE:
            raise _held(job_id)
        elif queue.name in self._item_queue_names:
            self._remove_item_job(queue, job_id)
        elif queue.remove_many([job_id]) == [RemoveOutcome.LOCKED]:
            raise _held(job_id)

    def clean(self, queue: JobQueue, state: JobState, grace_ms: int) -> int:
        """Remove the jobs of a state that are at least ``grace_ms`` old; returns how many."""
        removed = 0
        while True:
            views = queue.jobs_to_clean(state, grace_ms, CLEAN_BATCH)
            if not views:
                return removed
            gone = self._clean_some(queue, state, [view.id for view in views])
            removed += gone
            if gone == 0:
                return removed

    def _clean_some(self, queue: JobQueue, state: JobState, job_ids: Sequence[str]) -> int:
        if queue.name == self._dead_letter_queue.name:
            outcomes = self._remove_letters(job_ids)
            held = {one for one, outcome in outcomes.items() if outcome is RemoveOutcome.LOCKED}
            return len(queue.clean_ids(state, [one for one in job_ids if one not in held]))
        if queue.name not in self._item_queue_names:
            return len(queue.clean_ids(state, job_ids))
        with self._lock(queue, job_ids, state) as locked:
            outcomes = self._record_and_remove(locked, tells_each=False)
        return sum(outcome is RemoveOutcome.REMOVED for outcome in outcomes.values())

    def _remove_item_job(self, queue: JobQueue, job_id: str) -> None:
        with self._lock(queue, [job_id]) as locked:
            if locked.held_ids:
                raise _held(job_id)
            if not locked.views:
                raise _unknown(queue, job_id)
            outcomes = self._record_and_remove(locked, tells_each=True)
        if RemoveOutcome.LOCKED in outcomes.values():
            raise ConflictError(
                f"job {job_id[:80]!r} took too long to be removed and is back in its queue: "
                "check whether it is gone, then try again"
            )

    @contextmanager
    def _lock(
        self, queue: JobQueue, job_ids: Sequence[str], state: JobState | None = None
    ) -> Iterator[_Locked]:
        """Lock jobs; those that are not removed inside are put back to where they can run."""
        locked = _Locked(queue, uuid4().hex)
        locking = queue.lock_many(job_ids, token=locked.token, lock_ms=REMOVAL_LOCK_MS, state=state)
        locked.views, locked.held_ids = locking.jobs, locking.held_ids
        try:
            yield locked
        finally:
            # What cannot be released now is put back when its lock has run out.
            with suppress(QueueError):
                queue.release_many([Lock(view.id, locked.token) for view in locked.views])

    def _record_and_remove(self, locked: _Locked, *, tells_each: bool) -> dict[str, RemoveOutcome]:
        """Record the removal of all that is locked, then remove it; answers by job id."""
        removals = self._removals(locked)
        self._stores.dead_letters.record_many(list(removals.values()))
        outcomes = _remove(locked, locked.views, tells_each=tells_each)
        self._hide(list(removals))
        return outcomes

    def _removals(self, locked: _Locked) -> dict[str, DeadLetter]:
        """Return what to record, by item id: the higher rank of two jobs of one item."""
        revisions = self._give_revisions(locked)
        removals = [
            self._removal(view, revisions[view.id]) for view in locked.views if view.id in revisions
        ]
        return {one.item_id: one for one in sorted(removals, key=lambda one: one.rank)}

    def _give_revisions(self, locked: _Locked) -> dict[str, int]:
        """Return the revision of each job by its id; a foreign one that has none is given one."""
        by_source: dict[str, list[JobView]] = defaultdict(list)
        for view in locked.views:
            if not view.revision:
                by_source[_identify(view)[0]].append(view)
        proposed: list[tuple[Lock, int]] = []
        for source, views in by_source.items():
            drawn = self._stores.sources.draw_revisions(source, len(views))
            proposed += [
                (Lock(view.id, locked.token), revision)
                for view, revision in zip(views, drawn, strict=True)
            ]
        stored = locked.queue.assign_revisions(proposed)
        given = {
            lock.job_id: revision
            for (lock, _), revision in zip(proposed, stored, strict=True)
            if revision is not None
        }
        return given | {view.id: view.revision for view in locked.views if view.revision}

    def _removal(self, view: JobView, revision: int) -> DeadLetter:
        source, guid, digest = _identify(view)
        data = readable_data(view.data or "")
        return DeadLetter(
            item_id=make_item_id(source, guid),
            queue=self._dead_letter_queue.name,
            source=source,
            guid=guid,
            revision=revision,
            import_id=view.tally,
            content_hash=digest,
            kind=LetterKind.REMOVED,
            reason=REMOVED_REASON,
            error_type=REMOVED,
            attempts=view.attempts_made,
            failed_at=self._clock.now(),
            data=view.data or "",
            read_by=get_reader(data) if isinstance(data, dict) else None,
        )

    def _remove_letters(self, item_ids: Sequence[str]) -> dict[str, RemoveOutcome]:
        """Mark dead letters removed and remove their replays; answers by item id.

        ``LOCKED`` stands for one whose item is being worked on: it stays as it is.
        """
        with ExitStack() as stack:
            locks = [stack.enter_context(self._lock(one, item_ids)) for one in self._item_queues]
            not_ours = {item_id for locked in locks for item_id in locked.held_ids}
            held = self._worked_on(self._stores.dead_letters.read_many(not_ours))
            marked_at = self._clock.now()
            marked: dict[str, DeadLetter] = {}
            for item_id in set(item_ids) - held:
                letter = self._stores.dead_letters.mark_removed(item_id, marked_at)
                if letter is not None:
                    marked[item_id] = letter
            for locked in locks:
                due = [view for view in locked.views if _is_covered(view, marked.get(view.id))]
                _remove(locked, due, tells_each=True)
            held |= self._withdraw_overtaken(marked, marked_at)
        return {
            item_id: RemoveOutcome.LOCKED
            if item_id in held
            else RemoveOutcome.REMOVED
            if item_id in marked
            else RemoveOutcome.MISSING
            for item_id in item_ids
        }

    def _withdraw_overtaken(
        self, marked: Mapping[str, DeadLetter], marked_at: datetime
    ) -> set[str]:
        """Undo what a replay overtook that began after the locks were asked for; return the ids.

        Its worker may have read the letter before it was marked. Jobs are read before documents:
        one that is settled by then has its document.
        """
        taken = self._worked_on(marked)
        for item_id in taken:
            self._stores.dead_letters.withdraw_removal(marked[item_id], marked_at)
        versions = self._stores.items.read_versions(marked)
        stored = {
            item_id: version.rank
            for item_id, version in versions.items()
            if version.rank >= marked[item_id].rank
        }
        clear_dead_letters(self._stores.dead_letters, self._dead_letter_queue, stored)
        return taken | stored.keys()

    def _worked_on(self, letters: Mapping[str, DeadLetter]) -> set[str]:
        """Return the ids of letters whose item a worker runs and may still store.

        Not that of one whose death ended the run: its job is only to be moved.
        """
        return {
            view.id
            for queue in self._item_queues
            for view in queue.get_jobs(list(letters))
            if view is not None
            and view.state is JobState.ACTIVE
            and _is_covered(view, letters[view.id])
            and not letters[view.id].has_failed_in(view.tally, view.revision or 0)
        }

    def _hide(self, item_ids: Sequence[str]) -> None:
        """Take out of the dead-letter queue what is not dead; the sweep does what this misses."""
        views = self._dead_letter_queue.get_jobs(item_ids)
        shown = [view.id for view in views if view is not None]
        dead = set(self._stores.dead_letters.select_dead(shown))
        self._dead_letter_queue.remove_many([one for one in shown if one not in dead])


def _remove(
    locked: _Locked, views: Sequence[JobView], *, tells_each: bool
) -> dict[str, RemoveOutcome]:
    """Remove jobs that are locked; the live counters of their imports tell it at once."""
    ids = locked.take(views)
    if not ids:
        return {}
    outcomes = locked.queue.remove_locked(
        ids, token=locked.token, tally_field=REMOVED, tells_each=tells_each
    )
    return dict(zip(ids, outcomes, strict=True))


def _is_covered(view: JobView, letter: DeadLetter | None) -> bool:
    """Return whether a job's content is the dead letter's or older, so that it goes with it."""
    return letter is not None and view.revision is not None and view.revision <= letter.revision


def _identify(view: JobView) -> tuple[str, str, str]:
    """Return source, guid and content hash of an item job, from its id if its data is no use."""
    text = view.data or ""
    try:
        data = load_json(text)
        if is_source(data["source"]):
            return data["source"], make_guid(data["guid"]), content_hash(data)
        return _identify_by_id(view.id, text)
    except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError, ItemError, UnicodeError):
        return _identify_by_id(view.id, text)


def _identify_by_id(job_id: str, text: str) -> tuple[str, str, str]:
    digest = "raw:" + hashlib.sha256(text.encode("utf-8", "replace")).hexdigest()
    source, guid = split_item_id(job_id)
    return (source, make_guid(guid), digest) if is_source(source) else ("unknown", job_id, digest)


def _held(job_id: str) -> ConflictError:
    return ConflictError(f"job {job_id[:80]!r} is running; try again when it has ended")


def _unknown(queue: JobQueue, job_id: str) -> NotFoundError:
    return NotFoundError(f"queue {queue.name} has no job {job_id[:80]!r}")
