"""Politeness rules about when requests come: 4 to 6, 13 and 14. Pure."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import pairwise

from tests.politeness.log import DAY, HOUR, Exchange, Fault, Log, polls

# Clocks are compared to the second.
_SLACK = timedelta(seconds=1)
# What back-off may fall short of by jitter, and how long a reader may stay away at all.
_SHRINK = 0.75
_LONGEST_ABSENCE = 2 * DAY
_LEAST_GROWTH = 4
# A manual fetch in the second half of an interval that moved the schedule would pass this.
_LATEST = 1.5
_FEWEST_SHARING = 4


def judge_gaps(log: Log) -> Iterator[Fault | None]:
    """4: an hour between polls, a day between unconditional ones, whatever restarts or is asked."""
    for exchanges in log.by_place():
        for earlier, later in pairwise(polls(exchanges)):
            gap = later.at - earlier.at
            least = DAY if _is_needlessly_whole(earlier, later) else HOUR
            if gap < least - _SLACK:
                yield Fault(later, f"came {_spell(gap)} after the poll before, not {_spell(least)}")
            else:
                yield None
        yield from _judge_delays(exchanges, log)


def _is_needlessly_whole(earlier: Exchange, later: Exchange) -> bool:
    """Return whether a poll asked for everything although the one before had given validators."""
    return earlier.status in (200, 304) and bool(earlier.given) and not later.sent


def _judge_delays(exchanges: Sequence[Exchange], log: Log) -> Iterator[Fault | None]:
    """Demand that a manual fetch does not put off the scheduled one after it."""
    scheduled = polls(exchanges)
    asked_at = [exchange.at for exchange in exchanges if exchange.is_manual]
    for earlier, later in pairwise(scheduled):
        gap = later.at - earlier.at
        is_regular = earlier.status in (200, 304) and _due(earlier, log) <= log.interval
        if not is_regular or not any(earlier.at < at < later.at for at in asked_at):
            continue
        is_late = gap > log.interval * _LATEST
        reason = f"a manual fetch put the poll off to {_spell(gap)} after the one before"
        yield Fault(later, reason) if is_late else None


def _due(exchange: Exchange, log: Log) -> timedelta:
    return (exchange.quiet_until or exchange.at + log.interval) - exchange.at


def judge_hints(log: Log) -> Iterator[Fault | None]:
    """5: the publisher's hints about polling lengthen the wait, and never shorten it."""
    for exchanges in log.by_place():
        for earlier, later in pairwise(polls(exchanges)):
            if earlier.quiet_until is not None:
                until = max(earlier.quiet_until, earlier.at + HOUR)
                is_early = later.at < until - _SLACK
                reason = f"asked at {_time(earlier.at)} to wait until {_time(until)}"
                yield Fault(later, reason) if is_early else None


def judge_retry_after(log: Log) -> Iterator[Fault | None]:
    """6: after 429 or 503 with Retry-After nothing more is asked of the host until then."""
    for exchanges in log.by_host():
        for number, refusal in enumerate(exchanges):
            if refusal.host_quiet_until is not None:
                yield _judge_refusal(refusal, exchanges[number + 1 :])


def _judge_refusal(refusal: Exchange, later: Sequence[Exchange]) -> Fault | None:
    until = refusal.host_quiet_until
    assert until is not None
    for exchange in later:
        # What was on its way at the same moment could not know.
        if refusal.at + _SLACK < exchange.at < until - _SLACK:
            asked = refusal.answered.get("retry-after")
            return Fault(
                exchange,
                f"{refusal.place} had answered {refusal.status} with Retry-After: {asked} "
                f"at {_time(refusal.at)}",
            )
    return None


def judge_backoff(log: Log) -> Iterator[Fault | None]:
    """13: while a place fails the waits grow, but the reader never gives up."""
    for exchanges in log.by_place():
        for failing in _failing_runs(polls(exchanges)):
            yield from _judge_run(failing, log.ended_at)


def _failing_runs(scheduled: Sequence[Exchange]) -> Iterator[list[Exchange]]:
    """Yield runs of failed polls, each with the first one that came through, if there is one."""
    run: list[Exchange] = []
    for exchange in scheduled:
        if exchange.is_error:
            run.append(exchange)
        elif run:
            yield [*run, exchange]
            run = []
    if run:
        yield run


def _judge_run(run: Sequence[Exchange], ended_at: datetime) -> Iterator[Fault | None]:
    gaps = [later.at - earlier.at for earlier, later in pairwise(run)]
    for (before, gap), exchange in zip(pairwise(gaps), run[2:], strict=True):
        is_shorter = gap < before * _SHRINK
        reason = f"a wait of {_spell(gap)} after one of {_spell(before)}: back-off must not shrink"
        yield Fault(exchange, reason) if is_shorter else None
    if len(gaps) >= _LEAST_GROWTH and max(gaps) < gaps[0] * _LEAST_GROWTH:
        reason = f"{len(run)} failures in a row, and the waits have not grown beyond "
        yield Fault(run[-1], reason + _spell(max(gaps)))
    absence = max([*gaps, ended_at - run[-1].at] if run[-1].is_error else gaps)
    reason = f"stayed away for {_spell(absence)}: a feed that fails is tried daily, for ever"
    yield Fault(run[-1], reason) if absence > _LONGEST_ABSENCE else None


def judge_parallel(log: Log) -> Iterator[Fault | None]:
    """14: the feeds of one host are asked for few at a time, and not all in one second."""
    for exchanges in log.by_host():
        if len({exchange.place for exchange in exchanges}) < _FEWEST_SHARING:
            continue
        for exchange in exchanges:
            is_many = exchange.in_flight > log.max_per_host
            reason = f"{exchange.in_flight} requests to one host at a time"
            yield Fault(exchange, reason) if is_many else None
        yield from _judge_spread(exchanges)


def _judge_spread(exchanges: Sequence[Exchange]) -> Iterator[Fault | None]:
    """Demand that no second has more than half of a host's feeds, their first polls aside."""
    places = {exchange.place for exchange in exchanges}
    seen: set[str] = set()
    repeated: list[Exchange] = []
    for exchange in exchanges:
        if exchange.place in seen and not exchange.is_manual:
            repeated.append(exchange)
        seen.add(exchange.place)
    by_second = Counter(exchange.at.replace(microsecond=0) for exchange in repeated)
    for exchange in repeated:
        sharing = by_second[exchange.at.replace(microsecond=0)]
        reason = f"{sharing} of the host's {len(places)} feeds were polled in this second"
        yield Fault(exchange, reason) if sharing * 2 > len(places) else None


def _spell(span: timedelta) -> str:
    return str(span - timedelta(microseconds=span.microseconds))


def _time(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S}"
