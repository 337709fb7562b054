"""When a feed is fetched next, and what is said about it."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.feeds.history import MAX_WAIT, FeedHistory, Response, UrlHistory, remember
from server.feeds.next_fetch import MAX_BACKOFF, NextFetch, Schedule, next_fetch
from server.feeds.schedules import cron_time, show_duration

# A Sunday.
NOW = datetime(2026, 11, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def schedule(interval_s: int | None = 3600, cron: str | None = None, failures: int = 0) -> Schedule:
    return Schedule(
        interval_s=None if cron else interval_s,
        cron=cron,
        next_fetch_at=NOW,
        next_fetch_reason="as before",
        consecutive_failures=failures,
    )


def failed(*kinds: str, **fields: Any) -> Response:
    return Response(error_kinds=frozenset(kinds or {"timeout"}), **fields)


def decide(
    response: Response | None = None,
    planned: Schedule | None = None,
    history: FeedHistory | None = None,
    *,
    chance: float = 0.0,
    now: datetime = NOW,
) -> NextFetch:
    response = response or Response()
    learnt = remember(history or FeedHistory(), response, now)
    return next_fetch(now, planned or schedule(), learnt, response, lambda: chance)


def wait(decided: NextFetch) -> timedelta:
    assert decided.at is not None
    return decided.at - NOW


def asking(**fields: Any) -> FeedHistory:
    return FeedHistory(urls={"https://a.example/": UrlHistory(**fields)})


# After an answer


def test_an_interval_counts_from_now() -> None:
    assert decide() == NextFetch(NOW + HOUR, "every 3600 s", 0)


@pytest.mark.parametrize(
    ("interval_s", "longest"),
    [(60, timedelta(seconds=3)), (3600, timedelta(minutes=3)), (86400, timedelta(minutes=5))],
)
def test_chance_lengthens_an_interval_a_little(interval_s: int, longest: timedelta) -> None:
    late = wait(decide(planned=schedule(interval_s), chance=0.999999))
    assert timedelta() < late - timedelta(seconds=interval_s) <= longest


def test_a_crontab_line_is_kept_exactly() -> None:
    decided = decide(planned=schedule(cron="30 * * * *"), chance=0.9)
    assert decided == NextFetch(NOW + HOUR / 2, "by cron '30 * * * *'", 0)


def test_a_feed_without_a_schedule_has_no_next_fetch() -> None:
    assert decide(planned=schedule(None)) == NextFetch(None, "manual only: it has no schedule", 0)
    assert decide(failed(), schedule(None)) == NextFetch(None, "manual only: it has no schedule", 1)


@pytest.mark.parametrize(
    ("response", "history", "expected", "reason"),
    [
        (
            Response(max_age_s=7200),
            FeedHistory(),
            2 * HOUR,
            "every 3600 s, but the publisher's max-age or Expires asks for 2 h",
        ),
        (Response(max_age_s=60), FeedHistory(), HOUR, "every 3600 s"),
        (Response(max_age_s=0), FeedHistory(), HOUR, "every 3600 s"),
        (
            Response(),
            asking(ttl_s=5400),
            1.5 * HOUR,
            "every 3600 s, but the feed's ttl or updatePeriod asks for 1 h 30 min",
        ),
        (
            Response(max_age_s=7200),
            asking(ttl_s=86400),
            DAY,
            "every 3600 s, but the feed's ttl or updatePeriod asks for 1 day",
        ),
        (
            Response(),
            asking(ttl_s=30 * 86400),
            MAX_WAIT,
            "every 3600 s, but the feed's ttl or updatePeriod asks for 7 days",
        ),
    ],
)
def test_the_publishers_hints_only_lengthen(
    response: Response, history: FeedHistory, expected: timedelta, reason: str
) -> None:
    decided = decide(response, history=history)
    assert (wait(decided), decided.reason) == (expected, reason)


def test_of_several_urls_the_longest_ttl_counts() -> None:
    urls = {"https://a.example/": UrlHistory(ttl_s=7200), "https://b.example/": UrlHistory(ttl_s=9)}
    assert wait(decide(history=FeedHistory(urls=urls))) == 2 * HOUR


def test_a_crontab_line_goes_to_its_first_time_at_or_after_a_hint() -> None:
    planned = schedule(cron="0 * * * *")
    assert wait(decide(Response(max_age_s=7200), planned)) == 2 * HOUR
    assert wait(decide(Response(max_age_s=9000), planned)) == 3 * HOUR


@pytest.mark.parametrize(
    ("cron", "gap"), [("0 * * * *", HOUR), ("0 12 * * *", DAY), ("0 12 * * 0", 7 * DAY)]
)
def test_a_hint_as_long_as_the_gap_of_a_crontab_line_skips_none_of_its_times(
    cron: str, gap: timedelta
) -> None:
    planned, just_after = schedule(cron=cron), NOW + timedelta(seconds=20)
    asked_s = gap.total_seconds()
    for decided in (
        decide(Response(max_age_s=asked_s), planned, now=just_after),
        decide(planned=planned, history=asking(ttl_s=asked_s), now=just_after),
    ):
        assert (wait(decided), decided.reason) == (gap, f"by cron {cron!r}")


@pytest.mark.parametrize(
    ("asked", "planned", "expected"),
    [
        ({"skip_hours": frozenset({13, 14})}, schedule(), 3 * HOUR),
        ({"skip_hours": frozenset({15})}, schedule(), HOUR),
        ({"skip_days": frozenset({"sunday"})}, schedule(), 12 * HOUR),
        ({"skip_days": frozenset({"sunday"}), "skip_hours": {0}}, schedule(), 13 * HOUR),
        ({"skip_hours": frozenset({13})}, schedule(cron="30 * * * *"), HOUR / 2),
        ({"skip_hours": frozenset({12, 13})}, schedule(cron="30 * * * *"), 2.5 * HOUR),
    ],
)
def test_skipped_hours_and_days_are_left_alone(
    asked: dict[str, Any], planned: Schedule, expected: timedelta
) -> None:
    decided = decide(planned=planned, history=asking(**asked))
    assert wait(decided) == expected
    is_moved = expected not in (HOUR, HOUR / 2)
    assert ("moved out of the feed's skipHours" in decided.reason) == is_moved


@pytest.mark.parametrize("planned", [schedule(), schedule(cron="0 13 * * *")])
def test_a_feed_that_skips_all_its_times_is_fetched_all_the_same(planned: Schedule) -> None:
    everything = asking(skip_hours=frozenset(range(24)))
    assert wait(decide(planned=planned, history=everything)) == HOUR


def test_skipped_days_move_a_crontab_line_by_a_week_at_most() -> None:
    on_the_first = schedule(cron="0 12 1 * *")
    decided = decide(planned=on_the_first, history=asking(skip_days=frozenset({"tuesday"})))
    assert decided == NextFetch(NOW + 30 * DAY, "by cron '0 12 1 * *'", 0)


def test_a_crontab_line_that_only_knows_skipped_hours_is_kept() -> None:
    decided = decide(
        planned=schedule(cron="0 13 * * *"), history=asking(skip_hours=frozenset({13}))
    )
    assert decided == NextFetch(NOW + HOUR, "by cron '0 13 * * *'", 0)


def test_chance_does_not_push_a_moved_fetch_into_a_skipped_hour() -> None:
    history = asking(skip_hours=frozenset({13, 15}))
    decided = decide(planned=schedule(86400 // 2 - 1), history=history, chance=0.999)
    assert decided.at is not None
    assert not history.skips(decided.at)


@pytest.mark.parametrize("cron", ["0 0 30 2 *", "no crontab line"])
def test_a_crontab_line_that_never_comes_is_asked_for_once_a_day(cron: str) -> None:
    assert wait(decide(planned=schedule(cron=cron))) == DAY


# After a failure


@pytest.mark.parametrize(
    ("failures", "expected", "reason"),
    [
        (0, HOUR, "backing off after 1 failure in a row: next in 1 h"),
        (1, 2 * HOUR, "backing off after 2 failures in a row: next in 2 h"),
        (4, 16 * HOUR, "backing off after 5 failures in a row: next in 16 h"),
        (5, DAY, "backing off after 6 failures in a row: next in 1 day"),
        (5000, DAY, "backing off after 5001 failures in a row: next in 1 day"),
    ],
)
def test_a_feed_that_fails_is_asked_less_and_less_and_never_given_up(
    failures: int, expected: timedelta, reason: str
) -> None:
    decided = decide(failed(), schedule(failures=failures))
    assert decided == NextFetch(NOW + expected, reason, failures + 1)


def test_chance_spreads_failing_feeds_within_the_day() -> None:
    assert wait(decide(failed(), schedule(failures=1), chance=0.5)) == timedelta(minutes=122.5)
    assert wait(decide(failed(), schedule(failures=9), chance=0.5)) == MAX_BACKOFF


def test_a_weekly_feed_that_fails_is_not_asked_sooner_for_it() -> None:
    assert wait(decide(failed(), schedule(7 * 86400))) == 7 * DAY


@pytest.mark.parametrize(
    ("cron", "failures", "expected"),
    [
        ("*/15 * * * *", 0, timedelta(minutes=15)),
        ("*/15 * * * *", 2, timedelta(minutes=60)),
        ("0 12 * * *", 0, DAY),
        ("0 12 * * *", 9, DAY),
        ("0 12 * * 0", 9, 7 * DAY),
    ],
)
def test_a_failing_feed_with_a_crontab_line_skips_times(
    cron: str, failures: int, expected: timedelta
) -> None:
    just_after = NOW + timedelta(seconds=20)
    decided = decide(failed(), schedule(cron=cron, failures=failures), now=just_after)
    assert wait(decided) == expected


@pytest.mark.parametrize("kind", ["blocked", "waf_challenge"])
def test_whoever_refuses_us_is_left_alone_for_four_hours(kind: str) -> None:
    decided = decide(failed(kind, "timeout"), schedule(60))
    assert wait(decided) == 4 * HOUR
    assert decided.reason == (
        f"backing off after 1 failure in a row; the publisher refuses us ({kind}): at least 4 h: "
        "next in 4 h"
    )
    assert wait(decide(failed(kind), schedule(3600, failures=3))) == 8 * HOUR


def test_retry_after_is_a_lower_bound() -> None:
    decided = decide(failed("rate_limited", retry_after_s=7200.0))
    assert wait(decided) == 2 * HOUR
    assert "the host's Retry-After asks for 2 h: next in 2 h" in decided.reason
    assert wait(decide(failed("rate_limited", retry_after_s=60.0))) == HOUR
    assert wait(decide(Response(retry_after_s=7200.0))) == 2 * HOUR


def test_retry_after_of_zero_means_our_own_back_off() -> None:
    decided = decide(failed("rate_limited", retry_after_s=0.0), schedule(failures=1))
    assert decided.reason == "backing off after 2 failures in a row: next in 2 h"


def test_retry_after_counts_for_a_week_at_most() -> None:
    assert wait(decide(failed("rate_limited", retry_after_s=1e8))) == MAX_WAIT


def test_a_fetch_that_was_held_back_is_no_failure() -> None:
    held = failed("rate_limited", was_paused=True, retry_after_s=7200.0)
    decided = decide(held, schedule(failures=2))
    assert (wait(decided), decided.consecutive_failures) == (2 * HOUR, 2)
    assert decided.reason == "every 3600 s, but the host's Retry-After asks for 2 h"


# 410


def test_a_first_410_is_remembered_and_asked_again_after_a_day() -> None:
    assert remember(FeedHistory(), failed("gone"), NOW).gone_since == NOW
    decided = decide(failed("gone"))
    assert (wait(decided), decided.is_disabled) == (DAY, False)
    assert "gone (410) at 2026-11-01T12:00:00.000Z: fetched again after 1 day" in decided.reason


def test_a_second_410_within_a_day_does_not_count() -> None:
    history = FeedHistory(gone_since=NOW - 23 * HOUR)
    assert remember(history, failed("gone"), NOW).gone_since == NOW - 23 * HOUR
    decided = decide(failed("gone"), history=history)
    assert (wait(decided), decided.is_disabled) == (HOUR, False)
    assert not decide(failed("gone", is_explicit=True), history=history).is_disabled


@pytest.mark.parametrize("is_explicit", [False, True])
def test_a_second_410_a_day_later_disables_the_feed(is_explicit: bool) -> None:
    history = FeedHistory(gone_since=NOW - DAY)
    decided = decide(failed("gone", is_explicit=is_explicit), history=history)
    assert decided == NextFetch(
        None,
        "gone: the publisher answered 410 twice, at 2026-10-31T12:00:00.000Z and "
        "2026-11-01T12:00:00.000Z; enable the feed to try again",
        1,
        is_disabled=True,
        failures_by_hand=int(is_explicit),
    )


@pytest.mark.parametrize(
    "response", [Response(), failed("timeout"), failed("gone", "http_status"), failed("dns")]
)
def test_anything_but_410_forgets_the_first_one(response: Response) -> None:
    history = FeedHistory(gone_since=NOW - 2 * DAY)
    assert remember(history, response, NOW).gone_since is None
    assert not decide(response, history=history).is_disabled


@pytest.mark.parametrize(
    "response", [failed("dns", is_outage=True), failed("rate_limited", was_paused=True)]
)
def test_what_says_nothing_about_the_publisher_does_not_forget_a_410(response: Response) -> None:
    history = FeedHistory(gone_since=NOW - HOUR)
    assert remember(history, response, NOW).gone_since == NOW - HOUR


# Our own line


@pytest.mark.parametrize("planned", [schedule(failures=3), schedule(cron="0 6 * * 1", failures=3)])
def test_no_feed_is_blamed_while_we_are_cut_off(planned: Schedule) -> None:
    decided = decide(failed("dns", is_outage=True), planned)
    assert decided == NextFetch(
        NOW + timedelta(minutes=5),
        "this server seems to be offline: no host can be reached: next try in 5 min",
        3,
    )


def test_feeds_come_back_one_after_the_other_when_we_were_cut_off() -> None:
    decided = decide(failed("connect", is_outage=True), chance=0.5)
    assert wait(decided) == timedelta(minutes=5, seconds=30)


def test_an_outage_does_not_shorten_what_the_host_asked_for() -> None:
    waiting = FeedHistory(retry_after_until=NOW + 2 * HOUR)
    decided = decide(failed("dns", is_outage=True), history=waiting)
    assert wait(decided) == 2 * HOUR
    assert "the host's Retry-After asks for 2 h" in decided.reason
    gone = FeedHistory(gone_since=NOW - HOUR)
    assert wait(decide(failed("dns", is_outage=True), history=gone)) == 23 * HOUR


# Asked by hand


@pytest.mark.parametrize("response", [Response(is_explicit=True), failed(is_explicit=True)])
def test_an_import_by_hand_leaves_the_schedule_alone(response: Response) -> None:
    decided = decide(response)
    assert (decided.at, decided.reason) == (NOW, "as before")
    assert decided.consecutive_failures == len(response.error_kinds)


def test_a_success_by_hand_ends_a_back_off() -> None:
    planned = Schedule(3600, None, NOW + DAY, "backing off", 7)
    assert decide(Response(is_explicit=True, max_age_s=7200), planned) == NextFetch(
        NOW + 2 * HOUR,
        "a manual import succeeded and ended the back-off: every 3600 s, but the publisher's "
        "max-age or Expires asks for 2 h",
        0,
    )


def test_a_success_by_hand_makes_nothing_later() -> None:
    planned = Schedule(3600, None, NOW + HOUR / 2, "backing off", 7)
    assert decide(Response(is_explicit=True), planned) == NextFetch(
        NOW + HOUR / 2,
        "a manual import succeeded and ended the back-off: at the time set before, for that is "
        "earlier than the regular one (every 3600 s)",
        0,
    )


def test_after_an_import_by_hand_the_host_is_not_asked_before_it_allows_it() -> None:
    planned = Schedule(3600, None, NOW + HOUR / 2, "every 3600 s", 0)
    told = failed("rate_limited", retry_after_s=7200, is_explicit=True)
    held = failed("rate_limited", retry_after_s=7200, is_explicit=True, was_paused=True)
    for response in (told, held):
        decided = decide(response, planned)
        assert wait(decided) == 2 * HOUR
        assert decided.reason == "every 3600 s, but the host's Retry-After asks for 2 h"
    assert decide(told, Schedule(3600, None, NOW + 3 * HOUR, "cron", 0)).reason == "cron"
    by_hand_only = Schedule(None, None, None, "manual only: it has no schedule", 0)
    assert decide(told, by_hand_only) == NextFetch(
        None, "manual only: it has no schedule", 1, failures_by_hand=1
    )


def test_failures_by_hand_end_with_a_success_and_make_it_end_no_back_off() -> None:
    planned = Schedule(3600, None, NOW + HOUR / 2, "every 3600 s", 3)
    by_hand = FeedHistory(failures_by_hand=3)
    decided = decide(Response(is_explicit=True), planned, by_hand)
    assert decided == NextFetch(NOW + HOUR / 2, "every 3600 s", 0)


def test_more_failures_by_hand_than_failures_lengthen_nothing() -> None:
    spoilt = FeedHistory(failures_by_hand=9)
    assert wait(decide(failed(), schedule(failures=2), spoilt)) == HOUR


def test_what_was_due_while_an_import_by_hand_ran_is_done() -> None:
    due = Schedule(3600, None, NOW - HOUR / 60, "new feed", 0)
    assert decide(Response(is_explicit=True), due) == NextFetch(NOW + HOUR, "every 3600 s", 0)
    failing = decide(failed(is_explicit=True), due)
    assert (wait(failing), failing.consecutive_failures) == (HOUR, 1)
    assert failing.failures_by_hand == 0


# Whatever happens

KINDS = ("timeout", "dns", "blocked", "waf_challenge", "gone", "rate_limited", "html")
SECONDS = st.none() | st.floats(0, 1e9)
SCHEDULES = st.builds(
    schedule,
    st.integers(1, 366 * 86400),
    st.none() | st.sampled_from(["*/7 * * * *", "0 6 * * 1-5", "59 23 31 12 *"]),
    st.integers(0, 10_000),
)
RESPONSES = st.builds(
    Response,
    error_kinds=st.frozensets(st.sampled_from(KINDS), max_size=3),
    max_age_s=SECONDS,
    retry_after_s=st.none() | st.floats(0, 7 * 86400),
)
HISTORIES = st.builds(
    FeedHistory,
    gone_since=st.none()
    | st.datetimes(datetime(2026, 9, 1), datetime(2026, 10, 31)).map(
        lambda moment: moment.replace(tzinfo=UTC)
    ),
    failures_by_hand=st.integers(0, 10_000),
    urls=st.dictionaries(
        st.sampled_from("ab"),
        st.builds(
            UrlHistory,
            ttl_s=SECONDS,
            skip_hours=st.frozensets(st.integers(0, 23)),
            skip_days=st.frozensets(st.sampled_from(["sunday", "monday", "friday"])),
        ),
    ),
)
FRACTIONS = st.floats(0, 1, exclude_max=True)


@given(SCHEDULES, RESPONSES, HISTORIES, FRACTIONS)
def test_a_scheduled_feed_always_has_a_time_and_a_reason(
    planned: Schedule, response: Response, history: FeedHistory, chance: float
) -> None:
    decided = decide(response, planned, history, chance=chance)
    assert decided.reason
    assert (decided.at is None) == decided.is_disabled
    assert not decided.is_disabled or response.is_gone


@given(SCHEDULES, RESPONSES, HISTORIES, FRACTIONS)
def test_nothing_makes_the_next_fetch_earlier_than_it_should_be(
    planned: Schedule, response: Response, history: FeedHistory, chance: float
) -> None:
    decided = decide(response, planned, history, chance=chance)
    if decided.at is None:
        return
    if response.retry_after_s:
        assert wait(decided) >= timedelta(seconds=response.retry_after_s)
    interval = timedelta(seconds=planned.interval_s or 0)
    regular = cron_time(planned.cron, NOW) if planned.cron is not None else NOW + interval
    assert decided.at >= (regular or NOW)
    if response.error_kinds & {"blocked", "waf_challenge"}:
        assert wait(decided) >= 4 * HOUR


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (45, "45 s"),
        (11520, "3 h 12 min"),
        (86400, "1 day"),
        (90061.4, "1 day 1 h"),
        (3605, "1 h"),
        (180_000, "2 days 2 h"),
    ],
)
def test_a_duration_is_shown_by_its_two_largest_units(seconds: float, text: str) -> None:
    assert show_duration(timedelta(seconds=seconds)) == text


# The history as stored


def test_a_history_comes_back_as_it_was_stored() -> None:
    history = FeedHistory(
        retry_after_until=NOW,
        gone_since=NOW,
        failures_by_hand=2,
        urls={
            "https://a.example/": UrlHistory(
                3600, frozenset({1, 2}), frozenset({"sunday"}), "https://b.example/", True
            )
        },
    )
    assert FeedHistory.read(history.write()) == history


def test_a_history_that_knows_nothing_is_an_empty_document() -> None:
    assert FeedHistory(urls={"https://a.example/": UrlHistory()}).write() == {}
    assert FeedHistory.read({}) == FeedHistory()
