"""Flows: jobs that wait for other jobs, over as many queues as wanted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from feedmill.base import Connected, Connection
from feedmill.jobs import Job
from shared.clock import Clock, SystemClock
from shared.errors import InvalidJobOptions, QueueError
from shared.queue import JobQueue
from shared.queue.connection import check_hash_tag
from shared.queue.flow_reading import read_flow
from shared.queue.flows import FlowJob, add_flows

Tree = Mapping[str, Any]
QueuesOptions = Mapping[str, Mapping[str, Any]]

_DEFAULTS = "default_job_options"


@dataclass(frozen=True, slots=True)
class FlowNode:
    """A job of a flow with the nodes of its children, none for a leaf."""

    job: Job[Any]
    children: tuple["FlowNode", ...] = ()


class Flow(Connected):
    """Adds flows, and reads them back; BullMQ's ``FlowProducer``.

    A flow is a tree of jobs: a parent runs when its children are done, and reads their results with
    ``job.get_children_values()``. Its queues may be any of one ``prefix``.

    Raises:
        QueueError: no such URL, none at all, or another client; on a Cluster a prefix without a
            hash tag.
    """

    def __init__(
        self,
        connection: Connection = None,
        *,
        prefix: str = "bull",
        clock: Clock | None = None,
    ) -> None:
        super().__init__(connection)
        try:
            check_hash_tag(self.client, f"{prefix}:")
        except QueueError:
            self.close()
            raise
        self._prefix = prefix
        self._clock = clock or SystemClock()

    def add(self, tree: Tree, *, queues_options: QueuesOptions | None = None) -> FlowNode:
        """Add a flow, the whole of it or nothing, and return its jobs.

        ``tree`` is a mapping of ``name``, ``queue_name`` and, where wanted, ``data``, ``opts`` (as
        in ``Queue.add``) and ``children``, a list of trees. A child's ``opts`` say what its final
        failure does to its parent: ``fail_parent_on_failure``, ``continue_parent_on_failure``,
        ``ignore_dependency_on_failure`` or ``remove_dependency_on_failure``; with none of them the
        parent waits on. Delay and priority of a parent count from the end of its last child.
        ``queues_options`` holds ``default_job_options`` by the names of queues.

        A job without a ``job_id`` gets a random one. Where an id is taken, the job that is there
        stays as it is and gets the children, whatever its state; a child that is completed already
        counts as done. So this is safe to repeat only if each job has a ``job_id``.

        Raises:
            InvalidJobOptions, InvalidJobId, UnencodableJob: nothing was sent.
            QueueError: more than 5,000 jobs or 8 MiB; nothing was sent.
            JobNotFound: a parent that the root names is not there; nothing was added.
            JobStateError: a ``job_id`` is taken by the child of another living parent; nothing was
                added.
            QueueFull: Redis has no room; nothing was added.
        """
        [node] = self._add([tree], queues_options)
        return node

    def add_bulk(
        self, trees: Sequence[Tree], *, queues_options: QueuesOptions | None = None
    ) -> list[FlowNode]:
        """Add several flows, all of them or none. As :meth:`add`, with its limits for the sum."""
        return self._add(trees, queues_options)

    def get_flow(self, queue_name: str, job_id: str, depth: int = 10) -> FlowNode | None:
        """Return a job with its children and theirs as they are now; None if it is not there.

        ``depth`` levels, the job's own counted. Children are in the order completed, open, failed,
        ignored; those that were removed are left out. All children are read, 500 at a time.

        Raises:
            InvalidJobOptions: a depth below 1.
        """
        nodes = _nest(read_flow(self._open(queue_name), job_id, depth))
        return nodes[0] if nodes else None

    def _add(self, trees: Sequence[Tree], queues_options: QueuesOptions | None) -> list[FlowNode]:
        defaults = {
            name: _read_defaults(name, given) for name, given in (queues_options or {}).items()
        }
        return _nest(add_flows(self._open, trees, defaults))

    def _open(self, queue_name: str) -> JobQueue:
        return JobQueue(self.client, queue_name, prefix=self._prefix, clock=self._clock)


def _read_defaults(name: str, given: Mapping[str, Any]) -> Mapping[str, object]:
    if not set(given) <= {_DEFAULTS}:
        raise InvalidJobOptions(f"queues_options of {name!r}", given, _DEFAULTS)
    defaults: Mapping[str, object] = given.get(_DEFAULTS) or {}
    return defaults


def _nest(jobs: Sequence[FlowJob]) -> list[FlowNode]:
    """Return the roots; a parent stands before its children in ``jobs``."""
    children: dict[int | None, list[FlowNode]] = {}
    for place in reversed(range(len(jobs))):
        below = tuple(reversed(children.pop(place, [])))
        node = FlowNode(Job.of(jobs[place].queue, jobs[place].view), below)
        children.setdefault(jobs[place].parent, []).append(node)
    return children.get(None, [])[::-1]


FlowProducer = Flow
