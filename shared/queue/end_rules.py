"""What a worker wants of the jobs that it ends, beside what they say themselves."""

from collections.abc import Mapping
from dataclasses import dataclass

import orjson

from shared.queue.options import Keep


@dataclass(frozen=True, slots=True, kw_only=True)
class EndRules:
    """How a worker's jobs end in one way: completed, or failed for good.

    ``keep``: how many stay, or for how long, where a job does not say so itself; as its
    ``remove_on_complete`` or ``remove_on_fail`` would. ``counted_minutes``: of so many minutes it
    is counted how many ended in each, 0 to count none. ``checks_children``: a job whose children
    are not all done, or one of which has failed it, is refused to complete.
    """

    keep: Keep | None = None
    counted_minutes: int = 0
    checks_children: bool = False

    @property
    def keep_json(self) -> str:
        """``keep`` as scripts are given it."""
        return "" if self.keep is None else orjson.dumps(_as_mapping(self.keep)).decode()

    @property
    def minutes_text(self) -> str:
        """``counted_minutes`` as scripts are given it."""
        return str(self.counted_minutes) if self.counted_minutes else ""


# Of jobs that say all themselves, whose ends nobody counts and that have no children.
NO_RULES = EndRules()


def _as_mapping(keep: Keep) -> Mapping[str, int]:
    if isinstance(keep, bool):
        return {"count": 0} if keep else {}
    return {"count": keep} if isinstance(keep, int) else keep
