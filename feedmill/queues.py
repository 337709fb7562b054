"""A queue: the parts of it put together."""

from feedmill.editing import Editing
from feedmill.reading import Reading


class Queue(Reading, Editing):
    """A BullMQ queue: look at its jobs, move them, remove them."""
