"""What the doctor knows of a deployment. Plain data: nothing is asked here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from shared.item_limits import CurrentLimits
from shared.queue import QueueLook, RateLimit, RedisReport, WorkerSign
from shared.setting_names import Misspelt
from shared.store import Import, MongoReport

# Who takes the jobs of the item queues, which have the limit of the settings.
WORKER = "worker"
# Who takes those of a program's own queues.
APP_WORKER = "worker --app MODULE"


@dataclass(frozen=True, slots=True)
class Unreachable:
    """A part that could not be looked at; ``is_stopped``: an embedded store that is not running."""

    reason: str
    is_stopped: bool = False


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """A queue. ``worked_by`` is who takes its jobs: "worker", "server", or None for nobody."""

    look: QueueLook
    worked_by: str | None
    wanted_limit: RateLimit | None


@dataclass(frozen=True, slots=True)
class RecordLook:
    """One look at the record, which others work on meanwhile.

    ``stray_journals``: imports that have chunks though they are closed or gone. ``lost_imports``:
    imports by source that feeds name and that are not there. ``missing_letters``: dead letters on
    record without a job in the dead-letter queue; ``stray_letters``: the other way round. Of the
    letters, ``letters_looked_at`` at most were compared. ``misfits``: what cannot be read,
    in words.
    """

    open_imports: list[Import] = field(default_factory=list)
    stray_journals: frozenset[str] = frozenset()
    lost_imports: Mapping[str, str] = field(default_factory=dict)
    missing_letters: frozenset[str] = frozenset()
    stray_letters: frozenset[str] = frozenset()
    letters_looked_at: int = 0
    is_redis_matched: bool = True
    misfits: Sequence[str] = ()

    @property
    def is_suspicious(self) -> bool:
        """Whether another look is needed to know."""
        return bool(
            self.stray_journals or self.lost_imports or self.missing_letters or self.stray_letters
        )

    def and_later(self, later: "RecordLook") -> "RecordLook":
        """Return the later look, narrowed to what both found."""
        lost = self.lost_imports.items() & later.lost_imports.items()
        return replace(
            later,
            stray_journals=self.stray_journals & later.stray_journals,
            lost_imports=dict(lost),
            missing_letters=self.missing_letters & later.missing_letters,
            stray_letters=self.stray_letters & later.stray_letters,
        )


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """The running service as it answers at ``url``; ``error`` is why it could not be asked.

    ``settings`` are its own, by variable, secrets masked; empty where it does not report them.
    """

    url: str
    is_alive: bool
    is_ready: bool = False
    version: str | None = None
    error: str | None = None
    is_named: bool = False
    failing_threads: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class DiskFacts:
    """The file system of an embedded deployment's data folder."""

    folder: str
    free_bytes: int
    total_bytes: int


@dataclass(frozen=True, slots=True)
class StoreFacts:
    """Both stores and what they hold; ``write_error`` is why the write probe failed.

    ``redis_refusal`` is what Redis refuses of what the queues need, and what to do.
    ``partitions`` is how many partitions of the item queues Redis says that it holds.
    ``limits`` are those of items started, None where the stores could not be asked.
    ``unreadable`` is why queues and record could not be looked at though the stores are there.
    ``are_for_apps_alone``: a Redis is named for programs' own queues, and no MongoDB.
    """

    redis: RedisReport | Unreachable
    mongodb: MongoReport | Unreachable
    write_error: str | None = None
    redis_refusal: str | None = None
    partitions: int | None = None
    queues: Mapping[str, QueueFacts] = field(default_factory=dict)
    record: RecordLook | None = None
    unreadable: str | None = None
    workers: Sequence[WorkerSign] = ()
    are_for_apps_alone: bool = False
    limits: CurrentLimits | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything, as it was at ``now``."""

    stores: StoreFacts
    service: ServiceFacts
    disk: DiskFacts | None
    own_version: str
    now: datetime
    misspelt: Sequence[Misspelt] = ()

    @property
    def is_for_apps_alone(self) -> bool:
        """Whether there are only programs' own queues: no items, so no MongoDB and no service."""
        has_service = self.service.is_alive or self.service.is_named
        return self.stores.are_for_apps_alone and not has_service
