"""What hosts asked for with Retry-After: kept for all their feeds, and across restarts."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from shared.clock import Clock
from shared.error_kinds import ErrorKind
from shared.errors import FetchError, NotFoundError
from shared.models import format_time
from shared.store import Stores
from shared.store.feeds import RATE_LIMITED_BY
from shared.urls import host_of, hosts_of

MAX_SHOWN = 500
LIFTED = "the host's rate limit was cleared"


@dataclass(frozen=True, slots=True)
class Pause:
    """A host is not asked before ``until``; ``feeds`` have their first URL there."""

    host: str
    until: datetime
    feeds: int


class RetryAfter:
    """Remembers the pauses that hosts asked for, and refuses what would ask them meanwhile.

    Safe for threads; all servers share what it remembers.
    """

    def __init__(self, stores: Stores, clock: Clock) -> None:
        self._feeds = stores.feeds
        self._hosts = stores.hosts
        self._clock = clock

    def check(self, url: str) -> None:
        """Refuse to ask a host again before the time that it named, for whichever feed it did.

        What a redirect leads to is not looked at: its host will answer so again.

        Raises:
            FetchError: ``rate_limited``, without an HTTP status, for nobody was asked.
        """
        host, now = host_of(url), self._clock.now()
        until = self._hosts.blocked_until(host, now)
        if until is not None:
            raise FetchError(
                url,
                ErrorKind.RATE_LIMITED,
                explain_pause(host, until),
                retry_after_s=(until - now).total_seconds(),
            )

    def find_pause(self, urls: Sequence[str]) -> tuple[datetime, str] | None:
        """Return until when none of some URLs may be asked, and why; None when one may be."""
        hosts = hosts_of(urls)
        blocked = self._hosts.read_blocked(hosts, self._clock.now())
        if not hosts or len(blocked) < len(hosts):
            return None
        until, host = min((moment, host) for host, moment in blocked.items())
        return until, explain_pause(host, until)

    def note(self, answer: FetchError) -> None:
        """Remember what the host that answered asks for, if it asks for anything."""
        if answer.host is not None and answer.retry_after_s:
            until = self._clock.now() + timedelta(seconds=answer.retry_after_s)
            self._hosts.block(answer.host, until)

    def list_pauses(self) -> list[Pause]:
        """Return the hosts that limit the rate now, longest first, at most 500."""
        blocked = self._hosts.find_blocked(self._clock.now(), MAX_SHOWN)
        counts = self._feeds.count_by_host(blocked)
        return [Pause(host, until, counts.get(host, 0)) for host, until in blocked.items()]

    def lift(self, host: str) -> int:
        """Let a host be asked again; its feeds that waited for it are due now.

        Returns how many those are. The next Retry-After of the host counts again.

        Raises:
            NotFoundError: the host is not rate-limited.
        """
        now = self._clock.now()
        if self._hosts.blocked_until(host, now) is None:
            raise NotFoundError(f"host {host[:200]!r} is not rate-limited")
        self._hosts.release(host)
        return self._feeds.release_host(host, now, LIFTED)


def explain_pause(host: str, until: datetime) -> str:
    """Return why a host is not asked now, as errors and reasons of feeds word it."""
    return f"{RATE_LIMITED_BY} {host} until {format_time(until)}"
