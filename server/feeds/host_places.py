"""Which due feeds may be claimed now, so that no host is asked too much. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from shared.host_names import hosts_of
from shared.models import format_time
from shared.store import Deferral, Feed
from shared.store.feeds import WAITS_FOR_HOST

# Between feeds of a host that asked to be left alone: not all may come at the second it named.
DEFERRAL_GAP = timedelta(seconds=2)


def explain_hold(host: str, until: datetime) -> str:
    """Return why a host is not asked now, as errors and reasons say it."""
    return f"{host} {WAITS_FOR_HOST} {format_time(until)}"


@dataclass(slots=True)
class Choice:
    """Due feeds, sorted: to claim, or to move to a later time; of full hosts they stay due."""

    to_claim: list[Feed] = field(default_factory=list)
    to_defer: list[Deferral] = field(default_factory=list)


class HostPlaces:
    """What one tick knows of hosts: how many places each has left, and which ask to be left alone.

    ``running`` is how many feeds of each host are queued or fetching already.
    """

    def __init__(self, max_per_host: int, running: Mapping[str, int]) -> None:
        self._max_per_host = max_per_host
        self._taken = dict(running)
        self._blocked: dict[str, datetime] = {}
        self._deferred: dict[str, int] = {}

    @property
    def closed(self) -> set[str]:
        """Return the hosts whose feeds cannot be claimed."""
        full = {host for host, taken in self._taken.items() if taken >= self._max_per_host}
        return full | set(self._blocked)

    def choose(self, due: Iterable[Feed], blocked: Mapping[str, datetime], limit: int) -> Choice:
        """Sort due feeds, at most ``limit`` to claim; what is chosen has its place from then on.

        ``blocked`` says until when hosts are not to be asked. A feed is deferred only when that
        holds for all hosts of its URLs, until the first of them may be asked.
        """
        self._blocked |= blocked
        choice = Choice()
        for feed in due:
            wish = self._first_wish(feed)
            if wish is not None:
                choice.to_defer.append(self._defer(feed, *wish))
            elif len(choice.to_claim) < limit and self._take(feed.host):
                choice.to_claim.append(feed)
        return choice

    def _first_wish(self, feed: Feed) -> tuple[datetime, str] | None:
        """Return until when no host of a feed may be asked, and which one will be the first."""
        hosts = hosts_of(feed.urls)
        wishes = [(self._blocked[host], host) for host in hosts if host in self._blocked]
        return min(wishes) if wishes and len(wishes) == len(hosts) else None

    def _defer(self, feed: Feed, until: datetime, host: str) -> Deferral:
        place = self._deferred.get(host, 0)
        self._deferred[host] = place + 1
        return Deferral(feed, until + place * DEFERRAL_GAP, explain_hold(host, until))

    def _take(self, host: str | None) -> bool:
        if host is None:
            return True
        taken = self._taken.get(host, 0)
        if taken >= self._max_per_host:
            return False
        self._taken[host] = taken + 1
        return True
