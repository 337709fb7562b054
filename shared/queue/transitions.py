"""The arrows between a job's states; a test compares them with each script's first line.

Of all jobs::

    add: absent|waiting|prioritized|delayed|completed|failed -> waiting|prioritized
    claim: waiting|prioritized -> active
    lock: waiting|prioritized|delayed -> active
    extend: active -> active
    assign_revision: active -> active
    complete: active -> completed
    fail: active -> failed
    retry: active -> waiting|prioritized|delayed
    postpone: active -> delayed
    dead_letter: active -> dead
    release: active -> waiting|prioritized
    reclaim_stalled: active -> waiting
    promote_due: delayed -> waiting|prioritized
    remove: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent

Of queues of one's own: moving and removing (``editing.py``)::

    promote: delayed -> waiting|prioritized
    line_up: delayed|completed|failed -> waiting
    retry_finished: completed|failed -> waiting|prioritized
    change_delay: delayed -> delayed
    change_priority: waiting|prioritized -> waiting|prioritized
    drain: waiting|prioritized|delayed|waiting-children -> absent
    clean: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent
    remove_tree: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent
    obliterate: waiting|prioritized|delayed|waiting-children|active|completed|failed -> absent

Of queues of one's own: children that are not waited for any more (``flows.py``)::

    remove_child_dependency: waiting-children -> waiting
    remove_unprocessed_children: waiting|prioritized|delayed|waiting-children|active -> absent

Of queues of one's own: adding as BullMQ adds (``enqueueing.py``)::

    enqueue: absent -> waiting|prioritized|delayed|waiting-children
    replay: dead -> waiting|prioritized

Of queues of one's own: what a handler does with its job (``flows.py``)::

    wait_for_children: active -> waiting-children

Of queues of one's own: jobs that schedulers make (``schedulers.py``)::

    schedule: absent -> waiting|prioritized|delayed
    schedule_next: absent -> waiting|prioritized|delayed
    unschedule: delayed -> absent
"""

from collections.abc import Mapping

from shared.queue.job import JobState

ABSENT = "absent"
DEAD = "dead"

_READY = frozenset({JobState.WAITING, JobState.PRIORITIZED})
_ACTIVE = frozenset({JobState.ACTIVE})
_DELAYED = frozenset({JobState.DELAYED})
_FINISHED = frozenset({JobState.COMPLETED, JobState.FAILED})
_ABSENT = frozenset({ABSENT})

# By the name of the script: from which states, to which. `absent` and `dead` are not BullMQ's:
# no hash at all, and waiting in the dead-letter queue.
TRANSITIONS: Mapping[str, tuple[frozenset[str], frozenset[str]]] = {
    "add": (
        frozenset({ABSENT, JobState.DELAYED, JobState.COMPLETED, JobState.FAILED}) | _READY,
        _READY,
    ),
    "claim": (_READY, _ACTIVE),
    "lock": (_READY | {JobState.DELAYED}, _ACTIVE),
    "extend": (_ACTIVE, _ACTIVE),
    "assign_revision": (_ACTIVE, _ACTIVE),
    "complete": (_ACTIVE, frozenset({JobState.COMPLETED})),
    "fail": (_ACTIVE, frozenset({JobState.FAILED})),
    "retry": (_ACTIVE, _READY | {JobState.DELAYED}),
    "postpone": (_ACTIVE, frozenset({JobState.DELAYED})),
    "dead_letter": (_ACTIVE, frozenset({DEAD})),
    "release": (_ACTIVE, _READY),
    "reclaim_stalled": (_ACTIVE, frozenset({JobState.WAITING})),
    "promote_due": (frozenset({JobState.DELAYED}), _READY),
    "remove": (frozenset(JobState), frozenset({ABSENT})),
    # Moving and removing.
    "promote": (_DELAYED, _READY),
    "line_up": (_DELAYED | _FINISHED, frozenset({JobState.WAITING})),
    "retry_finished": (_FINISHED, _READY),
    "change_delay": (_DELAYED, _DELAYED),
    "change_priority": (_READY, _READY),
    "drain": (_READY | _DELAYED | {JobState.WAITING_CHILDREN}, _ABSENT),
    "clean": (frozenset(JobState), _ABSENT),
    "remove_tree": (frozenset(JobState), _ABSENT),
    "obliterate": (frozenset(JobState), _ABSENT),
    # Children that are not waited for any more.
    "remove_child_dependency": (
        frozenset({JobState.WAITING_CHILDREN}),
        frozenset({JobState.WAITING}),
    ),
    "remove_unprocessed_children": (
        _READY | _DELAYED | _ACTIVE | {JobState.WAITING_CHILDREN},
        _ABSENT,
    ),
    # Adding.
    "enqueue": (_ABSENT, _READY | _DELAYED | {JobState.WAITING_CHILDREN}),
    "replay": (frozenset({DEAD}), _READY),
    # In a handler.
    "wait_for_children": (_ACTIVE, frozenset({JobState.WAITING_CHILDREN})),
    # Scheduling.
    "schedule": (_ABSENT, _READY | _DELAYED),
    "schedule_next": (_ABSENT, _READY | _DELAYED),
    "unschedule": (_DELAYED, _ABSENT),
}
