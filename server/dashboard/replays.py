"""How many dead letters a replay would run, and what keeps it from running the rest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from server.api.parts import ApiParts
from server.api.routes.dead_letters import CauseAnswer
from server.dashboard.advice import describe_refused, find_advice
from server.dashboard.filters import show_count
from server.importing.replayer import Obstacle
from shared.store.causes import MAX_CAUSES

# Where more fit into JOB_MAX_BYTES again, they are not counted one by one.
_MAX_COUNTED = 1000


@dataclass(frozen=True, slots=True)
class ReplayPreview:
    """How many of ``count`` dead letters a replay would run, and what keeps the others from it.

    A forecast: what is stored, removed or spoilt meanwhile, only the replay itself sees. There may
    be more letters than were counted when ``is_whole`` is False.
    """

    count: int
    obstacles: Mapping[str, int]
    is_whole: bool = True

    @property
    def replayable(self) -> int:
        """How many can be replayed."""
        return self.count - sum(self.obstacles.values())

    @property
    def reason(self) -> str:
        """Why the others cannot be: ``too large (5), unreadable (2)``; empty when all can."""
        return describe_refused(self.obstacles)

    @property
    def scope(self) -> str:
        """How many of how many: ``1 of 8``, ``all 8``, ``1``."""
        if self.obstacles:
            return f"{show_count(self.replayable)} of {show_count(self.count)}"
        return "1" if self.count == 1 else f"all {show_count(self.count)}"

    def ask(self, source: str | None = None) -> str:
        """Return what to ask before the replay; ``source`` is named where it is of one alone."""
        whose = f" of {source}" if source else ""
        text = f"Replay {self.scope} dead letter{'' if self.count == 1 else 's'}{whose}?"
        if self.obstacles:
            rest = self.count - self.replayable
            return f"{text} {show_count(rest)} cannot be replayed: {self.reason}."
        more = "" if self.is_whole else " There are more, of rarer causes; they are replayed, too."
        return f"{text} They run again with the content they failed with.{more}"


def preview_causes(
    parts: ApiParts, causes: Sequence[CauseAnswer], source: str | None
) -> dict[str, ReplayPreview]:
    """Return what a replay of each cause would do, by cause; of one source, or of all."""
    return {
        each.cause: ReplayPreview(each.count, _count_obstacles(parts, each, source))
        for each in causes
    }


def sum_up(previews: Mapping[str, ReplayPreview]) -> ReplayPreview:
    """Return what a replay of all of them would do."""
    obstacles: Counter[str] = Counter()
    for each in previews.values():
        obstacles.update(each.obstacles)
    count = sum(each.count for each in previews.values())
    return ReplayPreview(count, obstacles, is_whole=len(previews) < MAX_CAUSES)


def find_obstacle_of_cause(parts: ApiParts, cause: str, source: str | None) -> str | None:
    """Return what keeps every dead letter of a cause from being replayed, or None."""
    error_type = cause.partition(": ")[0]
    if not find_advice(error_type).is_replayable:
        return error_type
    is_large = error_type == Obstacle.TOO_LARGE
    return error_type if is_large and not _count_small(parts, cause, source, limit=1) else None


def _count_obstacles(parts: ApiParts, cause: CauseAnswer, source: str | None) -> dict[str, int]:
    if not find_advice(cause.error_type).is_replayable:
        return {cause.error_type: cause.count}
    if cause.error_type != Obstacle.TOO_LARGE:
        return {}
    small = _count_small(parts, cause.cause, source, limit=_MAX_COUNTED)
    large = cause.count - small
    return {Obstacle.TOO_LARGE: large} if large > 0 and small < _MAX_COUNTED else {}


def _count_small(parts: ApiParts, cause: str, source: str | None, *, limit: int) -> int:
    """Return how many of a cause fit into JOB_MAX_BYTES as it is now."""
    return parts.services.stores.dead_letters.count_small(
        cause, parts.services.settings.job_max_bytes, source=source, limit=limit
    )
