"""Adding flows, trees of jobs over several queues; waiting for children, or no longer.

A parent runs when its children are done. A flow is added by one script, all or none of it; its
queues have one prefix, so that they lie in one slot of a cluster.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any
from uuid import uuid4

from shared.errors import (
    InvalidJobOptions,
    JobNotFound,
    JobStateError,
    QueueError,
    UnrecoverableError,
)
from shared.queue.connection import raw, text
from shared.queue.enqueueing import (
    MAX_TREE_JOBS,
    Enqueued,
    EnqueueOutcome,
    Payload,
    enqueue_tree,
    payload,
    view_of,
)
from shared.queue.job import JobView
from shared.queue.job_queue import JobQueue
from shared.queue.options import JobOptions, ParentRef, read_options

OpenQueue = Callable[[str], JobQueue]
Tree = Mapping[str, Any]
Defaults = Mapping[str, Mapping[str, object]]

_FIELDS = ("name", "queue_name", "data", "opts", "children")
# The data of a job that is added without any, as Node stores it.
_NO_DATA: Mapping[str, object] = {}


@dataclass(frozen=True, slots=True)
class FlowJob:
    """A job of a flow; ``parent`` is its parent's place in the list of them, None for a root."""

    queue: JobQueue
    view: JobView
    parent: int | None


@dataclass(frozen=True, slots=True)
class _Node:
    """A node of a tree that is to be added, and the place of its parent among all."""

    name: str
    queue_name: str
    data: object
    opts: Mapping[str, object]
    children: Sequence[Tree]
    parent: int | None


def add_flows(
    open_queue: OpenQueue, trees: Sequence[Tree], defaults: Defaults | None = None
) -> list[FlowJob]:
    """Add trees of jobs, all or none, and return their jobs: the roots, then level by level.

    A tree has a ``name``, a ``queue_name`` and, where wanted, ``data``, ``opts`` and ``children``,
    which are trees. ``defaults`` are options by the names of queues. A job without a ``job_id``
    gets a random one. Where an id is taken the job that is there is returned, unchanged, and the
    children are added to it; a child that is completed already counts as done. So this is safe to
    repeat if each job has a ``job_id``, as long as they are kept.

    Raises:
        InvalidJobOptions, InvalidJobId, UnencodableJob: nothing was sent.
        QueueError: more than 5,000 jobs or 8 MiB; nothing was sent.
        JobNotFound: a parent that a root names is not there; nothing was added.
        JobStateError: an id is taken by the child of another living parent; nothing was added.
        QueueFull: Redis has no room; nothing was added.
    """
    nodes = _flatten(trees)
    if not nodes:
        return []
    queues = {name: open_queue(name) for name in {node.queue_name for node in nodes}}
    jobs: list[Payload] = []
    for node in nodes:
        above = None if node.parent is None else jobs[node.parent]
        jobs.append(_payload(queues[node.queue_name], node, above, defaults or {}))
    _check_roots(nodes, jobs)
    homes = [queues[node.queue_name] for node in nodes]
    views = _views(homes, jobs, enqueue_tree(homes[0], jobs))
    parents = [node.parent for node in nodes]
    return [FlowJob(*each) for each in zip(homes, views, parents, strict=True)]


def wait_for_children(
    queue: JobQueue, job_id: str, token: str, child_key: str | None = None
) -> bool:
    """Let a claimed job wait until its children are done; False, and nothing changed, if none is.

    ``child_key`` is the whole key of the child that must be open; without it any will do. When the
    last child of all is done the job runs again; no attempt is counted. Whoever held the job holds
    it no longer: it must not be settled.

    Raises:
        UnrecoverableError: a child has failed the job, which can only fail, too.
        JobNotFound: it was removed.
        JobStateError: ``token`` no longer holds it.
    """
    arguments: list[str | int | bytes] = [queue.clock.now_ms(), raw(job_id), token]
    answer = queue.run_script("wait_for_children", [*arguments, raw(child_key or "")])
    match answer.decode():
        case "missing":
            raise JobNotFound(job_id)
        case "child_failed":
            raise UnrecoverableError(f"job {job_id[:80]!r} cannot go on: a child has failed it")
        case "lock_lost":
            raise JobStateError(job_id, "its lock is lost: somebody else may run it")
    return bool(answer == b"moved")


def remove_child_dependency(queue: JobQueue, job_id: str) -> bool:
    """Let a job's parent no longer wait for it; False, and nothing changed, if it does not.

    The job is no child any more then, and stays where it is. A parent that waited for it alone goes
    to the front of the line.

    Raises:
        JobNotFound: the job or its parent is not there.
        JobStateError: it is nobody's child.
    """
    word, *named = queue.run_script("remove_child_dependency", [raw(job_id)])
    match word.decode():
        case "missing":
            raise JobNotFound(job_id)
        case "missing_parent":
            raise JobNotFound(text(named[0]))
        case "no_parent":
            raise JobStateError(job_id, "it is the child of no job")
    return bool(word == b"removed")


def remove_unprocessed_children(queue: JobQueue, job_id: str) -> None:
    """Remove a job's children, in whatever queue, and theirs, that have not ended and nobody runs.

    One that is held stays with all below it; one whose worker has vanished goes. A job that waited
    for nothing else goes to the front of the line. One script for all.
    """
    queue.run_script("remove_unprocessed_children", [raw(job_id)])


def read_views(places: Sequence[tuple[JobQueue, str]]) -> list[JobView | None]:
    """Return jobs of several queues by their ids; one round trip a queue."""
    ids: dict[JobQueue, list[str]] = {}
    for queue, job_id in places:
        ids.setdefault(queue, []).append(job_id)
    views = {
        (queue, job_id): view
        for queue, job_ids in ids.items()
        for job_id, view in zip(job_ids, queue.get_jobs(job_ids), strict=True)
    }
    return [views[place] for place in places]


def _flatten(trees: Sequence[Tree]) -> list[_Node]:
    """Return the nodes of trees, level by level, as BullMQ adds them."""
    nodes = [_read_node(tree, None) for tree in trees]
    for place, node in enumerate(nodes):
        # What holds itself would never end.
        if len(nodes) > MAX_TREE_JOBS:
            break
        nodes += [_read_node(child, place) for child in node.children]
    if len(nodes) > MAX_TREE_JOBS:
        raise QueueError(f"a flow of more than {MAX_TREE_JOBS} jobs: add it in parts")
    return nodes


def _read_node(tree: Tree, parent: int | None) -> _Node:
    if not isinstance(tree, Mapping) or not set(tree) <= set(_FIELDS):
        raise InvalidJobOptions("a job of a flow", tree, f"a mapping of {', '.join(_FIELDS)}")
    name, queue_name, children = tree.get("name"), tree.get("queue_name"), tree.get("children")
    if not isinstance(name, str) or not isinstance(queue_name, str):
        raise InvalidJobOptions("a job of a flow", tree, "one with a name and a queue_name")
    if not isinstance(children or (), Sequence) or isinstance(children, str | bytes):
        raise InvalidJobOptions(f"children of {name!r}", children, "a list of jobs")
    data, opts = tree.get("data", _NO_DATA), tree.get("opts") or {}
    return _Node(name, queue_name, data, opts, children or (), parent)


def _payload(queue: JobQueue, node: _Node, above: Payload | None, defaults: Defaults) -> Payload:
    options = _options(node, above, read_options(defaults.get(node.queue_name, {}), node.opts))
    return payload(
        queue,
        node.name,
        node.data,
        options,
        job_id=str(uuid4()),
        is_parent=bool(node.children),
    )


def _options(node: _Node, above: Payload | None, options: JobOptions) -> JobOptions:
    if options.deduplication is not None and (node.children or above is not None):
        accepted = "none on a job with children or a parent"
        raise InvalidJobOptions("deduplication", options.deduplication.id, accepted)
    if above is None:
        return options
    if options.parent is not None:
        raise InvalidJobOptions("parent", options.parent.id, "none on a child: it has its tree's")
    assert above.id is not None
    return replace(options, parent=ParentRef(above.id, above.base.removesuffix(":")))


def _check_roots(nodes: Sequence[_Node], jobs: Sequence[Payload]) -> None:
    """Refuse a root that is below itself too: it would wait for itself.

    Any other job that is below itself has two parents, which the script refuses.
    """
    roots: list[Payload] = []
    for node, job in zip(nodes, jobs, strict=True):
        root = job if node.parent is None else roots[node.parent]
        roots.append(root)
        if root is not job and (root.base, root.id) == (job.base, job.id):
            raise InvalidJobOptions("job_id", job.id, "another one than that of a job above it")


def _views(
    homes: Sequence[JobQueue], jobs: Sequence[Payload], enqueued: Sequence[Enqueued]
) -> list[JobView]:
    """Return the jobs as they are there now: those that were there before are read."""
    views = [view_of(*pair) for pair in zip(jobs, enqueued, strict=True)]
    known = [
        place for place, each in enumerate(enqueued) if each.outcome is not EnqueueOutcome.ADDED
    ]
    read = read_views([(homes[place], enqueued[place].id) for place in known])
    for place, view in zip(known, read, strict=True):
        # One that has ended and gone meanwhile is returned as it was asked for.
        views[place] = view or views[place]
    return views
