"""When a feed is fetched next, why, and whether ever again. Pure.

Every way out of an import comes here, and every scheduled feed leaves with a time and a reason:

- *It answered*: after its interval, a little longer by chance so that feeds do not move in step, or
  exactly by its crontab line. What the publisher asks for (max-age or Expires, ttl, skipHours and
  skipDays, Retry-After) only ever lengthens that, by seven days at most; a feed with a crontab line
  goes to its first time that suits that.
- *It failed*: later with each failure in a row, up to once a day, and so for ever. Whoever refuses
  us is left alone for 4 hours at least.
- *410*: asked again after a day at the soonest; a second one then disables the feed.
- *We are cut off*: again in some minutes; no feed is blamed.
- *It was asked by hand*: the schedule stays, but a success ends a back-off, a Retry-After puts it
  off, and a feed that was due meanwhile is not asked a second time for it. A failure is one more in
  a row to whoever looks, but no later failure waits longer for it.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from server.feeds.history import MAX_WAIT, FeedHistory, Response
from server.feeds.schedules import Random, cron_time, fit, share, show_duration, small_part
from shared.error_kinds import ErrorKind
from shared.models import format_time
from shared.store import Feed

NOT_SCHEDULED = "manual only: it has no schedule"
MAX_BACKOFF = timedelta(days=1)
# A host that refuses us on purpose is not persuaded by being asked often.
MIN_REFUSED = timedelta(hours=4)
REFUSALS = frozenset({ErrorKind.BLOCKED, ErrorKind.WAF_CHALLENGE})
# One mistake in a publisher's set-up may answer 410 for hours.
GONE_PATIENCE = timedelta(days=1)
OUTAGE_PAUSE = timedelta(minutes=5)
# So that all feeds do not come back in the same second when the line does.
OUTAGE_SPREAD = timedelta(minutes=1)
_BACK_OFF_ENDED = "a manual import succeeded and ended the back-off"


@dataclass(frozen=True, slots=True)
class Schedule:
    """What a feed's own settings say, and where its schedule stands before this response."""

    interval_s: int | None
    cron: str | None
    next_fetch_at: datetime | None
    next_fetch_reason: str
    consecutive_failures: int

    @property
    def is_scheduled(self) -> bool:
        """Whether the feed is fetched by itself."""
        return self.interval_s is not None or self.cron is not None

    def is_due(self, now: datetime) -> bool:
        """Return whether the feed ought to have been fetched already."""
        return self.is_scheduled and self.next_fetch_at is not None and self.next_fetch_at < now


@dataclass(frozen=True, slots=True)
class NextFetch:
    """``at`` is None for a feed that is not scheduled, and for one to be disabled.

    ``failures_by_hand``: so many of the failures in a row count for no back-off.
    """

    at: datetime | None
    reason: str
    consecutive_failures: int
    is_disabled: bool = False
    failures_by_hand: int = 0


@dataclass(frozen=True, slots=True)
class _Failures:
    """The failures in a row, and how many of them came of imports by hand."""

    in_a_row: int
    by_hand: int

    @property
    def that_count(self) -> int:
        """How many a back-off goes by."""
        return self.in_a_row - self.by_hand


@dataclass(frozen=True, slots=True)
class _NotBefore:
    """Not before ``at``, because of ``why``."""

    at: datetime
    why: str


def schedule_of(feed: Feed) -> Schedule:
    """Return the part of a feed that decides."""
    return Schedule(
        interval_s=feed.interval_s,
        cron=feed.cron,
        next_fetch_at=feed.next_fetch_at,
        next_fetch_reason=feed.next_fetch_reason,
        consecutive_failures=feed.consecutive_failures,
    )


def next_fetch(
    now: datetime, schedule: Schedule, history: FeedHistory, response: Response, random: Random
) -> NextFetch:
    """Return when to fetch next and why; ``history`` is as :func:`remember` left it."""
    failures = _count_failures(now, schedule, history, response)
    since = history.gone_since
    if response.is_gone and since is not None and now - since >= GONE_PATIENCE:
        return _decided(None, _explain_gone(since, now), failures, is_disabled=True)
    if response.is_explicit:
        at, reason = _after_explicit(now, schedule, history, response, failures, random)
    elif schedule.is_scheduled:
        at, reason = _plan(now, schedule, history, response, failures, random)
    else:
        at, reason = None, NOT_SCHEDULED
    return _decided(at, reason, failures)


def _decided(
    at: datetime | None, reason: str, failures: _Failures, *, is_disabled: bool = False
) -> NextFetch:
    return NextFetch(at, reason, failures.in_a_row, is_disabled, failures.by_hand)


def _failures_before(schedule: Schedule, history: FeedHistory) -> _Failures:
    in_a_row = schedule.consecutive_failures
    return _Failures(in_a_row, min(history.failures_by_hand, in_a_row))


def _count_failures(
    now: datetime, schedule: Schedule, history: FeedHistory, response: Response
) -> _Failures:
    before = _failures_before(schedule, history)
    if not response.is_of_publisher:
        return before
    if not response.has_failed:
        return _Failures(0, 0)
    # What was due while it ran counts as fetched by schedule.
    is_by_hand = response.is_explicit and not schedule.is_due(now)
    return _Failures(before.in_a_row + 1, before.by_hand + is_by_hand)


def _plan(
    now: datetime,
    schedule: Schedule,
    history: FeedHistory,
    response: Response,
    failures: _Failures,
    random: Random,
) -> tuple[datetime, str]:
    if response.is_outage:
        return _after_outage(now, history, random)
    if response.has_failed and response.is_of_publisher:
        return _after_failure(now, schedule, history, response, failures, random)
    return _after_answer(now, schedule, history, response, random)


def _after_answer(
    now: datetime, schedule: Schedule, history: FeedHistory, response: Response, random: Random
) -> tuple[datetime, str]:
    regular = _regular(schedule, now)
    hints = _hints(now, schedule, history, response)
    latest = _latest([regular, *hints, *_retry_after(now, history)])
    at, is_moved = fit(latest.at, regular.at - now, schedule.cron, history, random)
    reason = regular.why if latest is regular else f"{regular.why}, but {latest.why}"
    return at, _explain_moved(reason, is_moved)


def _after_failure(
    now: datetime,
    schedule: Schedule,
    history: FeedHistory,
    response: Response,
    failures: _Failures,
    random: Random,
) -> tuple[datetime, str]:
    backing_off = _back_off(schedule, now, failures)
    latest = _latest([backing_off, *_demands(now, history, response), *_retry_after(now, history)])
    wait = latest.at - now
    at, is_moved = fit(latest.at, wait, schedule.cron, history, random, cap=now + MAX_BACKOFF)
    why = backing_off.why if latest is backing_off else f"{backing_off.why}; {latest.why}"
    return at, _explain_moved(f"{why}: next in {show_duration(at - now)}", is_moved)


def _after_outage(now: datetime, history: FeedHistory, random: Random) -> tuple[datetime, str]:
    """Return the next try, crontab line or not: a daily feed would lose a day through our fault."""
    pause = _NotBefore(
        now + OUTAGE_PAUSE + share(OUTAGE_SPREAD, random),
        "this server seems to be offline: no host can be reached",
    )
    latest = _latest([pause, *_retry_after(now, history), *_gone_again(history)])
    why = pause.why if latest is pause else f"{pause.why}; {latest.why}"
    return latest.at, f"{why}: next try in {show_duration(latest.at - now)}"


def _after_explicit(
    now: datetime,
    schedule: Schedule,
    history: FeedHistory,
    response: Response,
    failures: _Failures,
    random: Random,
) -> tuple[datetime | None, str]:
    """Return the schedule as it stands; a success of a feed that backs off ends that.

    But not before the host may be asked; and what was due while this import ran, it has done.
    """
    planned_at, planned_why = schedule.next_fetch_at, schedule.next_fetch_reason
    if schedule.is_due(now):
        return _plan(now, schedule, history, response, failures, random)
    for pause in _retry_after(now, history):
        if planned_at is not None and planned_at < pause.at:
            at, is_moved = fit(pause.at, pause.at - now, schedule.cron, history, random)
            return at, _explain_moved(f"{planned_why}, but {pause.why}", is_moved)
    is_backing_off = schedule.is_scheduled and _failures_before(schedule, history).that_count > 0
    if response.has_failed or not is_backing_off:
        return planned_at, planned_why
    regular_at, why = _after_answer(now, schedule, history, response, random)
    if planned_at is not None and planned_at <= regular_at:
        why = f"at the time set before, for that is earlier than the regular one ({why})"
        return planned_at, f"{_BACK_OFF_ENDED}: {why}"
    return regular_at, f"{_BACK_OFF_ENDED}: {why}"


def _regular(schedule: Schedule, now: datetime) -> _NotBefore:
    """Return the time by the feed's own settings."""
    if schedule.cron is None:
        interval_s = schedule.interval_s or 0
        return _NotBefore(now + timedelta(seconds=interval_s), f"every {interval_s} s")
    # A line that never comes is asked for once a day: no feed is forgotten.
    return _NotBefore(
        cron_time(schedule.cron, now) or now + MAX_BACKOFF, f"by cron {schedule.cron!r}"
    )


def _hints(
    now: datetime, schedule: Schedule, history: FeedHistory, response: Response
) -> Iterable[_NotBefore]:
    """Return what the publisher says about how long an answer holds."""
    for asked_s, who in (
        (response.max_age_s, "the publisher's max-age or Expires"),
        (history.ttl_s, "the feed's ttl or updatePeriod"),
    ):
        if asked_s:
            wait = min(timedelta(seconds=asked_s), MAX_WAIT)
            at = now + wait - _delay_by_cron(schedule, wait)
            yield _NotBefore(at, f"{who} asks for {show_duration(wait)}")


def _retry_after(now: datetime, history: FeedHistory) -> Iterable[_NotBefore]:
    until = history.retry_after_until
    if until is not None and until > now:
        yield _NotBefore(until, f"the host's Retry-After asks for {show_duration(until - now)}")


def _demands(now: datetime, history: FeedHistory, response: Response) -> Iterable[_NotBefore]:
    """Return what certain failures demand."""
    refusals = sorted(response.error_kinds & REFUSALS)
    if refusals:
        wait = show_duration(MIN_REFUSED)
        yield _NotBefore(
            now + MIN_REFUSED, f"the publisher refuses us ({refusals[0]}): at least {wait}"
        )
    if response.is_gone:
        yield from _gone_again(history)


def _gone_again(history: FeedHistory) -> Iterable[_NotBefore]:
    if history.gone_since is not None:
        since = format_time(history.gone_since)
        wait = show_duration(GONE_PATIENCE)
        why = f"gone (410) at {since}: fetched again after {wait}, and disabled if it is 410 again"
        yield _NotBefore(history.gone_since + GONE_PATIENCE, why)


def _back_off(schedule: Schedule, now: datetime, failures: _Failures) -> _NotBefore:
    """Return the regular time, later with each failure; never earlier than the regular one."""
    regular_s = (_regular(schedule, now).at - now).total_seconds()
    grown_s = regular_s * 2 ** min(failures.that_count - 1, 30)
    delay = timedelta(seconds=max(regular_s, min(grown_s, MAX_BACKOFF.total_seconds())))
    plural = "" if failures.that_count == 1 else "s"
    others = f", not counting {failures.by_hand} by hand" if failures.by_hand else ""
    why = f"backing off after {failures.that_count} failure{plural} in a row{others}"
    return _NotBefore(now + delay - _delay_by_cron(schedule, delay), why)


def _delay_by_cron(schedule: Schedule, wait: timedelta) -> timedelta:
    """Return how late a fetch may have been for its crontab line.

    It is due a moment before it is answered or fails: a day later is today's time tomorrow.
    """
    return small_part(wait) if schedule.cron is not None else timedelta()


def _latest(bounds: Iterable[_NotBefore]) -> _NotBefore:
    return max(bounds, key=lambda bound: bound.at)


def _explain_moved(reason: str, is_moved: bool) -> str:
    return f"{reason}; moved out of the feed's skipHours and skipDays" if is_moved else reason


def _explain_gone(since: datetime, now: datetime) -> str:
    return (
        f"gone: the publisher answered 410 twice, at {format_time(since)} and {format_time(now)}; "
        "enable the feed to try again"
    )
