"""A queue: the parts of it put together."""

from feedmill.adding import Adding
from feedmill.editing import Editing
from feedmill.reading import Reading


class Queue(Adding, Reading, Editing):
    """A BullMQ queue: add jobs, look at them, move them, remove them."""
