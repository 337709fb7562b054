"""A queue as plain Python: what BullMQ's rules make of jobs, one dict and a few lists."""

from bisect import insort
from dataclasses import dataclass, field

FINISHED = ("completed", "failed")


@dataclass
class ModelJob:
    """A job; its children and those it belongs to are known by their ids, of the same queue."""

    id: str
    timestamp: int
    delay: int = 0
    priority: int = 0
    is_lifo: bool = False
    keep: int | None = None
    made: int = 0
    stalled: int = 0
    doom: str | None = None
    processed_on: int | None = None
    finished_on: int | None = None
    parent: str | None = None
    on_failure: str | None = None
    open: set[str] = field(default_factory=set)
    processed: set[str] = field(default_factory=set)
    ignored: set[str] = field(default_factory=set)
    unsuccessful: set[str] = field(default_factory=set)

    def families(self) -> dict[str, set[str]]:
        """Return its children by what became of them, as BullMQ calls that in keys."""
        return {
            "processed": self.processed,
            "dependencies": self.open,
            "failed": self.ignored,
            "unsuccessful": self.unsuccessful,
        }


class QueueModel:
    """Jobs by id, and their ids in each state, next to run or oldest first."""

    def __init__(self) -> None:
        self.now = 0
        self.jobs: dict[str, ModelJob] = {}
        self.locks: dict[str, str] = {}
        self.is_paused = False
        self.wait: list[str] = []
        self.active: list[str] = []
        # Each of these is in order; the last part of an entry is the id.
        self.prioritized: list[tuple[int, int, str]] = []
        self.delayed: list[tuple[int, int, str]] = []
        self.finished: dict[str, list[tuple[int, str]]] = {state: [] for state in FINISHED}
        self.waiting_children: set[str] = set()
        self._pushed = 0

    def states(self) -> dict[str, list[str]]:
        """Return the ids in each state, in order; those that wait for children by name."""
        return {
            "waiting": list(self.wait),
            "prioritized": [entry[-1] for entry in self.prioritized],
            "delayed": [entry[-1] for entry in self.delayed],
            "active": list(self.active),
            "waiting-children": sorted(self.waiting_children),
            **{state: [entry[-1] for entry in ended] for state, ended in self.finished.items()},
        }

    def state_of(self, job_id: str) -> str | None:
        """Return the state that a job is in."""
        found = [state for state, ids in self.states().items() if job_id in ids]
        assert len(found) <= 1, f"{job_id} is in {found}"
        return found[0] if found else None

    def leave(self, job_id: str) -> str | None:
        """Take a job out of its state; return that."""
        state = self.state_of(job_id)
        for line in (self.wait, self.active):
            if job_id in line:
                line.remove(job_id)
        for entries in (self.prioritized, self.delayed, *self.finished.values()):
            entries[:] = [entry for entry in entries if entry[-1] != job_id]
        self.waiting_children.discard(job_id)
        return state

    # Into the line, and later into it.

    def push(self, job_id: str, *, to_front: bool = False) -> None:
        """Line up by priority; the front is for those without one."""
        priority = self.jobs[job_id].priority
        if priority:
            self._pushed += 1
            insort(self.prioritized, (priority, self._pushed, job_id))
        else:
            self.wait.insert(0 if to_front else len(self.wait), job_id)

    def push_to_front(self, job_id: str) -> None:
        """Line up before all others of the same priority."""
        if self.jobs[job_id].priority:
            insort(self.prioritized, (self.jobs[job_id].priority, 0, job_id))
        else:
            self.wait.insert(0, job_id)

    def push_delayed(self, job_id: str, due: int) -> None:
        """Wait for a time, behind those that wait for the same."""
        same = [number for at, number, _ in self.delayed if at == due]
        self.delayed = [entry for entry in self.delayed if entry[-1] != job_id]
        insort(self.delayed, (due, max(same) + 1 if same else 0, job_id))

    def delay(self, job_id: str, delay: int) -> None:
        """Wait from now on."""
        self.jobs[job_id].delay = delay
        self.push_delayed(job_id, self.now + delay)

    def promote_due(self) -> None:
        """Line up what is due."""
        for entry in [entry for entry in self.delayed if entry[0] <= self.now]:
            self.delayed.remove(entry)
            self.jobs[entry[-1]].delay = 0
            self.push(entry[-1])

    # Parents and children.

    def parent_of(self, job: ModelJob) -> ModelJob | None:
        """Return a job's parent if it is there."""
        return self.jobs.get(job.parent) if job.parent else None

    def is_above(self, job_id: str, other: str) -> bool:
        """Return whether a job is another one's parent, or that one's."""
        seen: set[str] = set()
        at: str | None = other
        while at is not None and at in self.jobs and at not in seen:
            seen.add(at)
            at = self.jobs[at].parent
            if at == job_id:
                return True
        return False

    def release_parent(self, parent: ModelJob) -> None:
        """Let a parent that waits for children run, or wait for its own time."""
        if parent.id not in self.waiting_children:
            return
        self.waiting_children.remove(parent.id)
        if parent.delay:
            insort(self.delayed, (self.now + parent.delay, 0, parent.id))
        else:
            self.push(parent.id, to_front=True)

    def leave_parent(self, job: ModelJob) -> None:
        """Let a parent go on without a child that is removed."""
        parent = self.parent_of(job)
        if parent is None or job.id not in parent.open:
            return
        parent.open.remove(job.id)
        if not parent.open and parent.id in self.waiting_children:
            self.waiting_children.remove(parent.id)
            self.wait.insert(0, parent.id)

    def tell_of_success(self, job: ModelJob) -> None:
        """Let a parent know that a child is done."""
        parent = self.parent_of(job)
        if parent is None or job.id not in parent.open:
            return
        parent.open.remove(job.id)
        parent.processed.add(job.id)
        if not parent.open:
            self.release_parent(parent)

    def tell_of_failure(self, job: ModelJob) -> None:
        """Let a parent know that a child has failed for good, as that one's option says."""
        parent = self.parent_of(job)
        if parent is None or job.on_failure is None or job.id not in parent.open:
            return
        parent.open.remove(job.id)
        if job.on_failure == "fail":
            self._doom(parent, job)
        elif job.on_failure == "continue" or not parent.open:
            self.release_parent(parent)
        if job.on_failure in ("continue", "ignore"):
            parent.ignored.add(job.id)

    def _doom(self, parent: ModelJob, job: ModelJob) -> None:
        parent.unsuccessful.add(job.id)
        if self.state_of(parent.id) == "failed":
            return
        parent.doom = f"child bull:q:{job.id} failed"
        if self.state_of(parent.id) == "delayed":
            self.leave(parent.id)
            parent.delay = 0
            self.waiting_children.add(parent.id)
        self.release_parent(parent)

    # Ends, and what comes after them.

    def finish(self, job: ModelJob, state: str) -> None:
        """Keep a job as its options say, and forget what is too many."""
        if job.keep == 0:
            del self.jobs[job.id]
            self.leave_parent(job)
            return
        job.made += 1
        job.finished_on = self.now
        ended = self.finished[state]
        insort(ended, (self.now, job.id))
        for _, old in ended[: -job.keep] if job.keep else []:
            self.leave(old)
            self.leave_parent(self.jobs.pop(old))

    def forget_end(self, job: ModelJob, state: str) -> None:
        """Let a finished job be as if it had not ended; its parent waits for it again."""
        job.finished_on = job.processed_on = None
        parent = self.parent_of(job)
        if parent is None:
            return
        places = [parent.processed] if state == "completed" else [parent.unsuccessful]
        if state == "failed" and job.id not in parent.unsuccessful:
            places = [parent.ignored]
        if job.id in places[0]:
            places[0].remove(job.id)
            parent.open.add(job.id)

    def remove(self, job_id: str, *, with_children: bool) -> None:
        """Remove a job, before it what is below it."""
        self._remove_branch(job_id, with_children, set())

    def _remove_branch(self, job_id: str, with_children: bool, seen: set[str]) -> None:
        if job_id in seen:
            return
        seen.add(job_id)
        job = self.jobs.get(job_id)
        if job is not None:
            self.leave_parent(job)
            for child in self.children(job) if with_children else ():
                # One that was removed may have left its id to another job.
                if child not in self.jobs or self.jobs[child].parent == job_id:
                    self._remove_branch(child, with_children, seen)
        self.leave(job_id)
        self.jobs.pop(job_id, None)

    def children(self, job: ModelJob) -> list[str]:
        """Return a job's children, those that have ended first."""
        ended = sorted(job.processed) + sorted(job.ignored) + sorted(job.unsuccessful)
        return ended + sorted(job.open)

    def is_held(self, job_id: str, *, with_children: bool) -> bool:
        """Return whether somebody holds a job, or one below it that is open."""
        if job_id in self.locks:
            return True
        job = self.jobs.get(job_id)
        below = job.open if job is not None and with_children else set()
        return any(self.is_held(child, with_children=True) for child in below)

    def erase(self, job_ids: list[str]) -> None:
        """Delete jobs; a parent that loses its last child so goes with it."""
        for job_id in job_ids:
            self.leave(job_id)
        for job_id in job_ids:
            parent = self.parent_of(self.jobs[job_id])
            if parent is None or job_id not in parent.open:
                continue
            parent.open.remove(job_id)
            if not parent.open and parent.id in self.waiting_children:
                self.erase([parent.id])
        for job_id in job_ids:
            del self.jobs[job_id]
