"""Which queues there are, and who works them: adding a queue is a matter of one entry."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from shared.queue.job import ClaimedJob
from shared.queue.limits import CLASS_LIMITS, JobClass


@dataclass(frozen=True, slots=True)
class QueueSpec:
    """A queue: its name, how heavy its jobs are, and what runs one of them."""

    name: str
    job_class: JobClass
    handler: Callable[[ClaimedJob], object] | None = None

    @property
    def default_concurrency(self) -> int:
        """How many jobs of it run at a time in one process, unless a setting says otherwise."""
        return CLASS_LIMITS[self.job_class].concurrency

    @property
    def run_limit_s(self) -> float:
        """How long one run may take before its lock is no longer extended."""
        return CLASS_LIMITS[self.job_class].run_limit_s


class Registry:
    """The queues by name, in the order they were registered."""

    def __init__(self) -> None:
        self._specs: dict[str, QueueSpec] = {}

    def register(self, spec: QueueSpec) -> QueueSpec:
        """Add a queue.

        Raises:
            ValueError: the name is taken.
        """
        if spec.name in self._specs:
            raise ValueError(f"queue {spec.name!r} is registered already")
        self._specs[spec.name] = spec
        return spec

    def __getitem__(self, name: str) -> QueueSpec:
        return self._specs[name]

    def __iter__(self) -> Iterator[QueueSpec]:
        return iter(self._specs.values())

    def of_class(self, job_class: JobClass) -> list[QueueSpec]:
        """Return the queues of one class."""
        return [spec for spec in self if spec.job_class is job_class]
