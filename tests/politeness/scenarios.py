"""The feeds of the simulation: what each of them answers at which time.

Each is meant for some of the criteria. Where a criterion needs no poll an hour, the feed asks to be
left alone for longer, so that weeks pass quickly.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from itertools import cycle

from tests.politeness.log import DAY, HOUR, Tags
from tests.politeness.publisher import Reply, Script, Visit
from tests.politeness.versions import (
    Span,
    Version,
    daily_version,
    http_date,
    keep_fresh,
    odd_version,
    offer,
    plain_version,
    write_feed,
    write_skips,
    write_ttl,
)

SHARED_FEEDS = 8
_SHORT_AGE = HOUR / 12
_LONG_AGE = 12 * HOUR
_SOME_AGE = 4 * HOUR
_BLOCK = 22 * HOUR
_SKIPPED_HOURS = range(1, 22)
_SKIPPED_DAYS = {5: "Saturday", 6: "Sunday"}
_BREAKS_AFTER = DAY
_REPAIRED_BEFORE_END = 3 * DAY
# Long enough, in real time, for requests that are sent together to meet.
_SHARED_PAUSE_S = 0.25


@dataclass(frozen=True, slots=True)
class Scenarios:
    """Scripts by place (host and path), and which places are subscribed to, by source.

    What is not subscribed to is what others redirect to.
    """

    scripts: Mapping[str, Script]
    subscriptions: Mapping[str, str]


def make_scenarios(span: Span) -> Scenarios:
    """Return all that the publisher does in a simulation."""
    busy = BusyHost(span)
    subscribed: dict[str, Script] = {
        "plain.example/feed.xml": partial(answer_plain, span),
        "odd.example/feed.xml": partial(answer_odd, span),
        "cached.example/feed.xml": partial(answer_cached, span),
        "slow.example/ttl.xml": partial(answer_ttl, span),
        "slow.example/skips.xml": partial(answer_skips, span),
        "busy.example/limited.xml": busy.answer_limited,
        "busy.example/neighbour.xml": busy.answer_neighbour,
        "moved.example/old.xml": partial(answer_moved, span),
        "gone.example/feed.xml": partial(answer_gone, span),
        "broken.example/feed.xml": partial(answer_broken, span),
    }
    for number in range(SHARED_FEEDS):
        subscribed[f"shared.example/{number}.xml"] = partial(answer_shared, span, number)
    redirected: dict[str, Script] = {
        "moved.example/new.xml": partial(answer_target, span, "new"),
        "moved.example/newer.xml": partial(answer_target, span, "newer"),
    }
    sources = {_source_of(place): place for place in subscribed}
    return Scenarios(subscribed | redirected, sources)


def answer_plain(span: Span, visit: Visit) -> Reply:
    """Offer good validators, a cookie, and a short age that must not hurry anybody (1 to 4, 7)."""
    reply = _offer(visit, "plain", plain_version(span, visit.at), {"Set-Cookie": "id=42; Path=/"})
    return keep_fresh(reply, visit, _SHORT_AGE)


def answer_odd(span: Span, visit: Visit) -> Reply:
    """Offer odd validators, or none (1, 2). A 304 names another date, which changes nothing."""
    reply = keep_fresh(_offer(visit, "odd", odd_version(span, visit.at)), visit, _SOME_AGE)
    if reply.status == 304:
        return replace(reply, headers={**reply.headers, "Last-Modified": http_date(visit.at)})
    return reply


def answer_cached(span: Span, visit: Visit) -> Reply:
    """Ask to wait with Cache-Control on one day, with Expires on the next (5)."""
    reply = _offer_daily(span, visit, "cached")
    if span.count(visit.at, DAY) % 2 == 0:
        return keep_fresh(reply, visit, _LONG_AGE)
    until = visit.at + _LONG_AGE
    return replace(reply, headers={**reply.headers, "Expires": http_date(until)}, quiet_until=until)


def answer_ttl(span: Span, visit: Visit) -> Reply:
    """Ask to wait in the document (5)."""
    reply = _offer_daily(span, visit, "ttl", host="slow", extra=write_ttl(_LONG_AGE // (HOUR / 60)))
    return replace(reply, quiet_until=visit.at + _LONG_AGE)


def answer_skips(span: Span, visit: Visit) -> Reply:
    """Ask not to come at most hours, nor on some days (5)."""
    skips = write_skips(_SKIPPED_HOURS, list(_SKIPPED_DAYS.values()))
    reply = _offer_daily(span, visit, "skips", host="slow", extra=skips)
    earliest = visit.at + HOUR
    while earliest.hour in _SKIPPED_HOURS or earliest.weekday() in _SKIPPED_DAYS:
        earliest = earliest.replace(minute=0, second=0, microsecond=0) + HOUR
    return replace(reply, quiet_until=earliest)


class BusyHost:
    """Two feeds of a host that refuses now and then (6).

    ``limited`` answers every other visit with a refusal: 429 and 503, each with the wait in seconds
    and as a date. It holds for ``neighbour`` too.
    """

    def __init__(self, span: Span) -> None:
        self._span = span
        self._until = span.began_at
        self._is_patient = False
        self._refusals: Iterator[tuple[int, bool]] = cycle(
            [(429, False), (503, True), (429, True), (503, False)]
        )

    def answer_limited(self, visit: Visit) -> Reply:
        """Serve and refuse in turn."""
        if visit.at < self._until:
            return self._refuse(visit, 429, is_date=False)
        self._is_patient = not self._is_patient
        if self._is_patient:
            return keep_fresh(
                _offer_daily(self._span, visit, "limited", host="busy"), visit, _SOME_AGE
            )
        self._until = visit.at + _BLOCK
        status, is_date = next(self._refusals)
        return self._refuse(visit, status, is_date=is_date)

    def answer_neighbour(self, visit: Visit) -> Reply:
        """Serve, but not while the host refuses."""
        if visit.at < self._until:
            return self._refuse(visit, 429, is_date=False)
        return keep_fresh(
            _offer_daily(self._span, visit, "neighbour", host="busy"), visit, _SOME_AGE
        )

    def _refuse(self, visit: Visit, status: int, *, is_date: bool) -> Reply:
        wait_s = round((self._until - visit.at).total_seconds())
        asked = http_date(self._until) if is_date else str(wait_s)
        return Reply(
            status,
            headers={"Retry-After": asked, "Date": http_date(visit.at)},
            # A date has whole seconds.
            host_quiet_until=self._until.replace(microsecond=0),
        )


def answer_moved(span: Span, visit: Visit) -> Reply:
    """Say that the feed has moved for good, later to yet another place (10, 11)."""
    is_early = visit.at < span.began_at + (span.ended_at - span.began_at) / 2
    target = "/new.xml" if is_early else "/newer.xml"
    return Reply(301, headers={"Location": target, "ETag": '"moved"', "Date": http_date(visit.at)})


def answer_target(span: Span, name: str, visit: Visit) -> Reply:
    """Be what the moved feed redirects to (11)."""
    return keep_fresh(_offer_daily(span, visit, name, host="moved"), visit, _LONG_AGE)


def answer_gone(span: Span, visit: Visit) -> Reply:
    """Be gone after a day (10)."""
    if visit.at >= span.began_at + _BREAKS_AFTER:
        return Reply(410, headers={"Date": http_date(visit.at)})
    return keep_fresh(_offer_daily(span, visit, "gone"), visit, _LONG_AGE)


def answer_broken(span: Span, visit: Visit) -> Reply:
    """Fail from the second day on, with 404 or 500 day by day, and come back in the end (13)."""
    repaired_at = span.ended_at - _REPAIRED_BEFORE_END
    if span.began_at + _BREAKS_AFTER <= visit.at < repaired_at:
        return Reply(404 if span.count(visit.at, DAY) % 2 == 0 else 500)
    return keep_fresh(_offer_daily(span, visit, "broken"), visit, _LONG_AGE)


def answer_shared(span: Span, number: int, visit: Visit) -> Reply:
    """Be one of many on a host, slow when all are asked for, content with a poll a day (14)."""
    name = f"shared-{number}"
    version = Version((number,), Tags(f'"{name}"', http_date(span.began_at)))
    reply = keep_fresh(_offer(visit, name, version, host="shared"), visit, DAY)
    return replace(reply, pause_s=_SHARED_PAUSE_S if visit.is_manual else 0.0)


def _offer_daily(
    span: Span, visit: Visit, name: str, *, host: str | None = None, extra: str = ""
) -> Reply:
    return _offer(visit, name, daily_version(span, visit.at, name), host=host, extra=extra)


def _offer(
    visit: Visit,
    name: str,
    version: Version,
    headers: Mapping[str, str] | None = None,
    *,
    host: str | None = None,
    extra: str = "",
) -> Reply:
    document = write_feed(f"{host or name}.example", name, version.numbers, extra)
    return offer(visit, version.tags, document, headers or {})


def _source_of(place: str) -> str:
    return place.replace(".example/", "-").removesuffix(".xml")
