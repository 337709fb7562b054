"""Flows of declared queues: jobs that are planned with their children, and added as a whole."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from feedmill.configuring import current_place
from feedmill.flows import Flow
from feedmill.jobs import Job
from shared.errors import InvalidJobOptions

if TYPE_CHECKING:
    from feedmill.declaring import Declared

_RULES = {
    "fail": "fail_parent_on_failure",
    "continue": "continue_parent_on_failure",
    "ignore": "ignore_dependency_on_failure",
    "remove": "remove_dependency_on_failure",
}


@dataclass(frozen=True, slots=True)
class Planned:
    """A job of a declared queue that is not added yet, and the jobs that it waits for.

    ``defaults`` are what its queue gives all of its jobs.
    """

    queue_name: str
    name: str
    data: object
    opts: Mapping[str, object]
    defaults: Mapping[str, object]
    children: tuple["Planned", ...] = ()

    def add(self) -> Job[Any]:
        """Add the job with all that it waits for, the whole of it or nothing; return the job.

        Safe to repeat only if each of them has an ``id``.

        Raises:
            InvalidJobOptions, InvalidJobId: nothing was sent.
            JobStateError: an ``id`` is taken by the child of another job; nothing was added.
            QueueUnavailable, QueueFull, QueueError: as :meth:`Flow.add`.
        """
        place = current_place()
        with Flow(place.client, prefix=place.prefix, clock=place.clock) as adding:
            return adding.add(self._tree(), queues_options=self._queues_options()).job

    def _tree(self) -> dict[str, Any]:
        return {
            "queue_name": self.queue_name,
            "name": self.name,
            "data": self.data,
            "opts": self.opts,
            "children": [child._tree() for child in self.children],
        }

    def _queues_options(self) -> dict[str, Mapping[str, Any]]:
        options: dict[str, Mapping[str, Any]] = {
            self.queue_name: {"default_job_options": self.defaults}
        }
        for child in self.children:
            options |= child._queues_options()
        return options


def flow(
    parent: "Planned | Declared[Any]",
    *,
    children: Sequence["Planned | Declared[Any]"],
    on_child_failure: str = "fail",
) -> Planned:
    """Plan a job that runs when its children are done; ``.add()`` adds all of them.

    ::

        flow(report, children=[video(1), pdf(2)]).add()

    The parent and its children are what declared queues return when they are called with data,
    queues whose jobs need no data, or flows themselves. The parent's function reads the results
    with ``job.get_children_values()``. ``on_child_failure`` says what a child's final failure does
    to the parent: "fail" it, too; "continue": it runs at once; "ignore": it runs when the others
    are done, and may read of the failure; "remove": as if the child had never been.

    Raises:
        InvalidJobOptions: another rule, no job of a declared queue, or one that needs data.
    """
    if on_child_failure not in _RULES:
        raise InvalidJobOptions("on_child_failure", on_child_failure, ", ".join(_RULES))
    root, rule = _planned(parent), {_RULES[on_child_failure]: True}
    below = map(_planned, children)
    placed = tuple(replace(child, opts={**child.opts, **rule}) for child in below)
    return replace(root, children=(*root.children, *placed))


def _planned(job: "Planned | Declared[Any]") -> Planned:
    if isinstance(job, Planned):
        return job
    plan = getattr(job, "plan", None)
    if plan is None:
        raise InvalidJobOptions("a job of a flow", job, "a declared queue called with its data")
    planned: Planned = plan()
    return planned
