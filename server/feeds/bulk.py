"""One change for many feeds: each by itself, and what came of each."""

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass, field
from enum import StrEnum

from server.feeds.service import FeedService
from server.feeds.starter import ImportStarter
from server.feeds.tags import read_tag
from shared.errors import (
    ConflictError,
    InvalidRequestError,
    NotFoundError,
    QueueUnavailable,
    StoreUnavailable,
)
from shared.store import Import, Trigger

_Change = Callable[[str], object]


class BulkAction(StrEnum):
    """What can be done to many feeds at once."""

    ADD_TAG = "add_tag"
    REMOVE_TAG = "remove_tag"
    ENABLE = "enable"
    DISABLE = "disable"
    IMPORT = "import"
    REMOVE = "remove"

    @property
    def needs_tag(self) -> bool:
        """Whether it is an action with a tag."""
        return self in (BulkAction.ADD_TAG, BulkAction.REMOVE_TAG)


@dataclass(slots=True)
class BulkReport:
    """What came of an action: the feeds that it was done to, and why not to the others."""

    done: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    imports: list[Import] = field(default_factory=list)


class BulkEditor:
    """Does one thing to many feeds. Safe for threads, and to repeat."""

    def __init__(self, feeds: FeedService, starter: ImportStarter) -> None:
        self._feeds = feeds
        self._starter = starter

    def apply(self, sources: Iterable[str], action: BulkAction, tag: str | None) -> BulkReport:
        """Do an action to each of these feeds once, in this order; a feed that fails costs itself.

        When a store fails, it and those behind it are reported as not done.

        Raises:
            InvalidRequestError: the action needs a tag that is not there or can be none, or there
                is a tag that it has no use for.
        """
        report = BulkReport()
        change = self._change(action, tag, report)
        broken: str | None = None
        for source in dict.fromkeys(sources):
            try:
                if broken is None:
                    change(source)
                    report.done.append(source)
            except (ConflictError, InvalidRequestError, NotFoundError) as exc:
                report.failed[source] = str(exc)
            except (QueueUnavailable, StoreUnavailable) as exc:
                broken = f"not done, as a store failed: {exc}"
            if broken is not None:
                report.failed[source] = broken
        return report

    def _change(self, action: BulkAction, tag: str | None, report: BulkReport) -> _Change:
        if action.needs_tag != (tag is not None):
            fault = "is required for" if action.needs_tag else "is not allowed for"
            raise InvalidRequestError(f"tag {fault} action {action}")
        wanted = read_tag(tag) if tag is not None else ""
        match action:
            case BulkAction.ADD_TAG:
                return lambda source: self._change_tags(source, add={wanted})
            case BulkAction.REMOVE_TAG:
                return lambda source: self._change_tags(source, remove={wanted})
            case BulkAction.IMPORT:
                return lambda source: report.imports.extend(self._start(source))
            case BulkAction.REMOVE:
                return self._feeds.remove
            case BulkAction.ENABLE | BulkAction.DISABLE:
                changes = {"enabled": action is BulkAction.ENABLE}
                return lambda source: self._feeds.change(source, changes)

    def _change_tags(
        self, source: str, *, add: Set[str] = frozenset(), remove: Set[str] = frozenset()
    ) -> None:
        tags = set(self._feeds.get(source).tags)
        self._feeds.change(source, {"tags": sorted((tags | add) - remove)})

    def _start(self, source: str) -> list[Import]:
        return self._starter.start_sources([source], trigger=Trigger.API)
