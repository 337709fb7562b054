"""Reads what the rounds of indexers go by: few round trips, for however many indexers."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from server.feeds.pulls import pull_import_id
from server.feeds.rounds import BackFillLimits, Conditions
from shared.clock import Clock
from shared.errors import UnreadableDocument
from shared.store import Feed, Import, Stores
from shared.store.imports import BEFORE_COMMIT
from shared.store.intervals import IndexerState
from shared.urls import hosts_of


@dataclass(frozen=True, slots=True)
class ReadConditions:
    """Indexers with the conditions of their rounds, and those whose feed cannot be read."""

    found: Sequence[tuple[IndexerState, Conditions]]
    unreadable: Sequence[tuple[IndexerState, UnreadableDocument]]


@dataclass(frozen=True, slots=True)
class _Record:
    """What the record says that matters to some indexers."""

    feeds: Mapping[str, Feed | None]
    imports: Mapping[str, Import]
    blocked: Mapping[str, datetime]


class ConditionReader:
    """Reads feeds, imports of open intervals, and the pauses of hosts."""

    def __init__(self, stores: Stores, limits: BackFillLimits, clock: Clock) -> None:
        self._stores = stores
        self._limits = limits
        self._clock = clock

    def read(self, states: Sequence[IndexerState], *, is_asked: bool = False) -> ReadConditions:
        """Return what the next rounds of these indexers go by, as they were read before.

        Raises:
            StoreUnavailable: MongoDB is away.
        """
        feeds, unreadable = self._read_feeds({state.source for state in states})
        known = [state for state in states if state.source in feeds]
        there = [feed for feed in feeds.values() if feed is not None]
        running = {feed.running_import for feed in there if feed.running_import is not None}
        hosts = hosts_of(url for feed in there for url in feed.urls)
        now = self._clock.now()
        record = _Record(
            feeds,
            self._stores.imports.read_many({*ids_of_open(known), *running}),
            self._stores.hosts.read_blocked(hosts, now) if hosts else {},
        )
        return ReadConditions(
            [
                (state, self._conditions_of(state, record, now, is_asked=is_asked))
                for state in known
            ],
            [(state, unreadable[state.source]) for state in states if state.source in unreadable],
        )

    def _read_feeds(
        self, sources: set[str]
    ) -> tuple[dict[str, Feed | None], dict[str, UnreadableDocument]]:
        """Return feeds by source, None for those that are not there; and why some are neither."""
        feeds: dict[str, Feed | None] = dict(self._stores.feeds.read_many(sources))
        unreadable: dict[str, UnreadableDocument] = {}
        for source in sorted(sources - feeds.keys()):
            try:
                # Left out above also if it cannot be read: that must not end its window.
                feeds[source] = self._stores.feeds.get(source)
            except UnreadableDocument as exc:
                unreadable[source] = exc
        return feeds, unreadable

    def _conditions_of(
        self, state: IndexerState, record: _Record, now: datetime, *, is_asked: bool
    ) -> Conditions:
        feed = record.feeds[state.source]
        ids = ids_of_open([state])
        return Conditions(
            feed=feed,
            imports={name: record.imports[name] for name in ids if name in record.imports},
            now=now,
            backfills=self._limits,
            blocked_until=_find_pause(feed, record.blocked),
            is_reparsing=_is_reparsing(feed, record.imports),
            is_asked=is_asked,
        )


def ids_of_open(states: Iterable[IndexerState]) -> list[str]:
    """Return the ids of the imports of all open intervals."""
    return [pull_import_id(state.name, one) for state in states for one in state.open]


def _find_pause(feed: Feed | None, blocked: Mapping[str, datetime]) -> datetime | None:
    """Return until when none of a feed's hosts may be asked; None when one may be."""
    hosts = hosts_of(feed.urls) if feed is not None else set()
    pauses = [blocked[host] for host in hosts if host in blocked]
    return min(pauses) if pauses and len(pauses) == len(hosts) else None


def _is_reparsing(feed: Feed | None, imports: Mapping[str, Import]) -> bool:
    running = imports.get(feed.running_import or "") if feed is not None else None
    return (
        running is not None and running.bodies_since is not None and running.state in BEFORE_COMMIT
    )
