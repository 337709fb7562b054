"""A queue: the parts of it put together."""

from feedmill.adding import Adding
from feedmill.editing import Editing
from feedmill.limits import Limits
from feedmill.reading import Reading
from feedmill.scheduling import Scheduling


class Queue(Adding, Reading, Editing, Limits, Scheduling):
    """A BullMQ queue: add jobs, look at them, move them, remove them, limit them, schedule them."""
