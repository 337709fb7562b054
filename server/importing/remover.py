"""Removes what must not come back: a record of the removal first, then the job."""

import hashlib
from collections.abc import Callable, Sequence

import orjson

from shared.clock import Clock
from shared.errors import ConflictError, ItemError, NotFoundError
from shared.models import content_hash, is_source, make_guid, make_item_id, split_item_id
from shared.queue import JobQueue, JobState, JobView, RemoveOutcome
from shared.store import Death, DeathKind, Stores

REMOVED_REASON = "removed by an operator"
CLEAN_BATCH = 500


class Remover:
    """Removes dead letters and jobs for good.

    ``look_again`` is called with the id of an import that lost a job here, so that its audit does
    not wait for its minute.
    """

    def __init__(
        self,
        *,
        stores: Stores,
        item_queues: Sequence[JobQueue],
        dead_letter_queue: JobQueue,
        clock: Clock,
        look_again: Callable[[str], None],
    ) -> None:
        self._stores = stores
        self._item_queue_names = {queue.name for queue in item_queues}
        self._dead_letter_queue = dead_letter_queue
        self._clock = clock
        self._look_again = look_again

    def remove_dead_letter(self, item_id: str) -> None:
        """Mark a dead letter removed: the same content stays away until other content is stored.

        Raises:
            NotFoundError: there is no dead one.
        """
        is_marked = self._stores.dead_letters.mark_removed(item_id, self._clock.now())
        if is_marked or not self._stores.dead_letters.select_dead([item_id]):
            # Also when there was nothing to mark: a crash may have left the job behind.
            self._dead_letter_queue.remove_many([item_id])
        if not is_marked:
            raise NotFoundError(f"there is no dead letter {item_id[:80]!r}")

    def remove_job(self, queue: JobQueue, job_id: str) -> None:
        """Remove one job of a queue.

        Raises:
            NotFoundError: the queue has no such job.
            ConflictError: a worker holds it.
        """
        view = queue.get_job(job_id)
        if view is None:
            raise NotFoundError(f"queue {queue.name} has no job {job_id[:80]!r}")
        if queue.name == self._dead_letter_queue.name:
            self.remove_dead_letter(job_id)
            return
        if view.state is JobState.ACTIVE:
            raise _held(job_id)
        self._record(queue, [view])
        if queue.remove_many([job_id]) == [RemoveOutcome.LOCKED]:
            raise _held(job_id)
        self._tell_imports([view])

    def clean(self, queue: JobQueue, state: JobState, grace_ms: int) -> int:
        """Remove the jobs of a state that are at least ``grace_ms`` old; returns how many."""
        removed = 0
        while True:
            views = queue.jobs_to_clean(state, grace_ms, CLEAN_BATCH)
            if not views:
                return removed
            gone = self._clean_some(queue, state, views)
            removed += gone
            if gone == 0:
                return removed

    def _clean_some(self, queue: JobQueue, state: JobState, views: Sequence[JobView]) -> int:
        if queue.name == self._dead_letter_queue.name:
            for view in views:
                self._stores.dead_letters.mark_removed(view.id, self._clock.now())
        else:
            self._record(queue, views)
        gone = queue.clean_ids(state, [view.id for view in views])
        self._tell_imports(views)
        return len(gone)

    def _record(self, queue: JobQueue, views: Sequence[JobView]) -> None:
        """Put removals of item jobs on record before the jobs go."""
        if queue.name not in self._item_queue_names:
            return
        removals = {removal.item_id: removal for removal in map(self._removal, views)}
        self._stores.dead_letters.record_many(list(removals.values()))

    def _removal(self, view: JobView) -> Death:
        source, guid, digest = _identify(view)
        # A foreign job that no worker has seen has no revision yet.
        revision = view.revision or self._stores.sources.draw_revision(source)
        return Death(
            item_id=make_item_id(source, guid),
            queue=self._dead_letter_queue.name,
            source=source,
            guid=guid,
            revision=revision,
            import_id=view.tally,
            content_hash=digest,
            kind=DeathKind.REMOVED,
            reason=REMOVED_REASON,
            error_type="removed",
            attempts=view.attempts_made,
            failed_at=self._clock.now(),
            data=view.data or "",
        )

    def _tell_imports(self, views: Sequence[JobView]) -> None:
        for import_id in {view.tally for view in views if view.tally is not None}:
            self._look_again(import_id)


def _identify(view: JobView) -> tuple[str, str, str]:
    """Return source, guid and content hash of an item job, from its id if its data is no use."""
    text = view.data or ""
    try:
        data = orjson.loads(text)
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
    return ConflictError(f"job {job_id[:80]!r} is being worked on; try again when it has ended")
