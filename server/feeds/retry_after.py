"""What hosts asked for with Retry-After: kept for all their feeds, and across restarts."""

from collections.abc import Sequence
from datetime import datetime, timedelta

from server.feeds.host_places import explain_hold
from shared.clock import Clock
from shared.errors import ErrorKind, FetchError
from shared.host_names import host_of, hosts_of
from shared.store import HostStore


class RetryAfter:
    """Remembers hosts that asked to be left alone, and holds back what would ask them. Safe for
    threads; all servers share what it remembers.
    """

    def __init__(self, hosts: HostStore, clock: Clock) -> None:
        self._hosts = hosts
        self._clock = clock

    def check(self, url: str) -> None:
        """Refuse to ask a host again before the time that it named, for whichever feed it did.

        What a redirect leads to is not looked at: its host will say so again.

        Raises:
            FetchError: ``rate_limited``, without an HTTP status, for nobody was asked.
        """
        host, now = host_of(url), self._clock.now()
        until = self._hosts.blocked_until(host, now)
        if until is not None:
            raise FetchError(
                url,
                ErrorKind.RATE_LIMITED,
                explain_hold(host, until),
                retry_after_s=(until - now).total_seconds(),
            )

    def find_hold(self, urls: Sequence[str]) -> tuple[datetime, str] | None:
        """Return until when none of some URLs may be asked, and why; None when one may be."""
        hosts = hosts_of(urls)
        blocked = self._hosts.read_blocked(hosts, self._clock.now())
        if not hosts or len(blocked) < len(hosts):
            return None
        until, host = min((moment, host) for host, moment in blocked.items())
        return until, explain_hold(host, until)

    def note(self, answer: FetchError) -> None:
        """Remember what the host that answered asks for, if it asks for anything."""
        if answer.host is not None and answer.retry_after_s:
            until = self._clock.now() + timedelta(seconds=answer.retry_after_s)
            self._hosts.block(answer.host, until)
