"""Each criterion of our politeness bites: a polite log gets all points, a rude one loses some."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.politeness.grading import CRITERIA, Result, grade
from tests.politeness.log import DAY, HOUR, Exchange, Log

BEGAN_AT = datetime(2026, 11, 2, tzinfo=UTC)
AGENT = "Feedmill/1.0 (imports feeds into the database of its operator)"
POLITE = {"user-agent": AGENT, "accept-encoding": "gzip, deflate"}
GIVEN = {"etag": '"1"', "last-modified": "Mon, 02 Nov 2026 00:00:00 GMT"}
SENT = {"if-none-match": '"1"', "if-modified-since": "Mon, 02 Nov 2026 00:00:00 GMT"}
NEWER = {"etag": '"2"', "last-modified": "Mon, 02 Nov 2026 08:00:00 GMT"}
SENT_NEWER = {"if-none-match": '"2"', "if-modified-since": "Mon, 02 Nov 2026 08:00:00 GMT"}
PLACES = frozenset({"a.example/feed.xml", "a.example/new.xml"} | {f"a.example/{n}" for n in "1234"})


def ask(hours: float, sent: dict[str, str] | None = None, **fields: Any) -> Exchange:
    """Return a polite request so many hours after the beginning, with these headers too."""
    chosen = {"host": "a.example", "target": "/feed.xml", "answered": GIVEN} | fields
    return Exchange(at=BEGAN_AT + timedelta(hours=hours), headers=POLITE | (sent or {}), **chosen)


def judge(number: int, *exchanges: Exchange, **fields: Any) -> Result:
    """Apply one criterion to a log of a week."""
    chosen = {"ended_at": BEGAN_AT + 7 * DAY, "places": PLACES} | fields
    [criterion] = [each for each in CRITERIA if each.number == number]
    return criterion.apply(Log(exchanges, **chosen))


def reasons(result: Result) -> str:
    return "\n".join(fault.reason for fault in result.faults)


def assert_bites(result: Result, reason: str, breaker: Exchange | None = None) -> None:
    """Points are lost, and the evidence says why and names the request."""
    assert result.points < 10
    assert reason in reasons(result)
    if breaker is not None:
        assert breaker in [fault.exchange for fault in result.faults]


def assert_full(result: Result) -> None:
    assert result.checks > 0
    assert (result.points, reasons(result)) == (10, "")


def test_criteria_are_numbered_without_a_gap() -> None:
    assert [criterion.number for criterion in CRITERIA] == list(range(1, 15))


def test_nothing_checked_gives_no_points() -> None:
    assert {result.points for result in grade(Log([], BEGAN_AT)).results} == {0}
    assert grade(Log([], BEGAN_AT)).letter == "F"


def test_one_fault_in_a_thousand_costs_the_full_marks() -> None:
    log = [ask(hour, SENT if hour else None, status=304 if hour else 200) for hour in range(1000)]
    log[500] = replace(log[500], headers={**POLITE, **SENT, "cookie": "id=1"})
    assert judge(7, *log).points == 9


# 1: conditional


def test_polls_after_the_first_are_conditional() -> None:
    assert_full(judge(1, ask(0), ask(1, SENT, status=304), ask(2, SENT, status=304)))


def test_an_unconditional_poll_of_a_known_feed_is_found() -> None:
    rude = ask(2)
    assert_bites(judge(1, ask(0), ask(1, SENT, status=304), rude), "unconditional", rude)


def test_a_first_request_with_a_condition_is_found() -> None:
    rude = ask(0, SENT)
    assert_bites(judge(1, rude), "before anything was given", rude)


def test_a_feed_without_validators_may_be_asked_unconditionally() -> None:
    assert judge(1, ask(0, answered={}), ask(1, answered={})).faults == []


# 2: exactly as received


@pytest.mark.parametrize(
    ("sent", "reason"),
    [
        ({**SENT, "if-modified-since": "Mon, 02 Nov 2026 00:59:00 GMT"}, "invented"),
        ({**SENT, "if-none-match": "1"}, "If-None-Match invented"),
        ({**SENT, "if-none-match": 'W/"1"'}, "If-None-Match invented"),
        ({"if-none-match": '"1"'}, "If-Modified-Since left out"),
        ({"if-modified-since": SENT["if-modified-since"]}, "If-None-Match left out"),
    ],
)
def test_a_validator_that_is_not_as_received_is_found(sent: dict[str, str], reason: str) -> None:
    rude = ask(1, sent)
    assert_bites(judge(2, ask(0), rude), reason, rude)


def test_a_validator_of_an_earlier_answer_is_out_of_sequence() -> None:
    rude = ask(2, SENT)
    log = [ask(0), ask(1, SENT, answered=NEWER), rude]
    assert_bites(judge(2, *log), "out of sequence", rude)


def test_a_date_where_none_was_given_is_invented() -> None:
    rude = ask(1, SENT)
    assert_bites(judge(2, ask(0, answered={"etag": '"1"'}), rude), "given none", rude)


def test_validators_as_received_are_exact() -> None:
    log = [ask(0), ask(1, SENT, answered=NEWER), ask(2, SENT_NEWER, status=304)]
    assert_full(judge(2, *log))


def test_what_a_304_says_is_not_to_be_sent() -> None:
    log = [ask(0), ask(1, SENT, status=304, answered=NEWER)]
    assert_full(judge(2, *log, ask(2, SENT, status=304)))
    assert_bites(judge(2, *log, ask(2, SENT_NEWER, status=304)), "invented")


# 3: replaced on every 200


def test_validators_replaced_after_each_200_are_polite() -> None:
    assert_full(judge(3, ask(0), ask(1, SENT, answered=NEWER), ask(2, SENT_NEWER)))


def test_validators_kept_over_a_touch_are_found() -> None:
    rude = ask(2, SENT)
    assert_bites(judge(3, ask(0), ask(1, SENT, answered=NEWER), rude), "had given", rude)


def test_an_etag_change_alone_has_to_be_followed() -> None:
    changed = {**GIVEN, "etag": '"2"'}
    log = [ask(0), ask(1, SENT, answered=changed)]
    assert_full(judge(3, *log, ask(2, {**SENT, "if-none-match": '"2"'})))
    assert_bites(judge(3, *log, ask(2, SENT)), '"2"')


# 4: pace


def test_an_hour_between_polls_is_polite() -> None:
    assert_full(judge(4, *[ask(hour, SENT if hour else None) for hour in range(5)]))


def test_a_poll_after_thirty_minutes_is_found() -> None:
    rude = ask(0.5, SENT)
    assert_bites(judge(4, ask(0), rude), "0:30:00", rude)


def test_an_unconditional_poll_a_second_time_a_day_is_found() -> None:
    rude = ask(3)
    assert_bites(judge(4, ask(0), rude), "1 day", rude)
    assert_full(judge(4, ask(0), ask(24)))


def test_what_an_operator_asks_for_is_no_poll() -> None:
    log = [ask(0), ask(0.6, SENT, is_manual=True), ask(1.02, SENT)]
    assert_full(judge(4, *log))


def test_a_manual_fetch_that_moves_the_schedule_is_found() -> None:
    rude = ask(1.6, SENT)
    log = [ask(0), ask(0.6, SENT, is_manual=True), rude]
    assert_bites(judge(4, *log), "put the poll off", rude)


def test_tries_after_a_server_error_are_one_poll() -> None:
    tries = [ask(1 + second / 3600, SENT, status=500, answered={}) for second in (0, 1, 3)]
    assert_full(judge(4, ask(0), *tries, ask(2.5, SENT)))


def test_tries_that_go_on_after_a_server_error_are_found() -> None:
    rude = ask(1.1, SENT, status=500, answered={})
    log = [ask(0), ask(1, SENT, status=500, answered={}), rude]
    assert_bites(judge(4, *log), "0:06:00", rude)


# 5: hints


def quiet(hours: float, until: float, sent: dict[str, str] | None = None) -> Exchange:
    return ask(hours, sent, quiet_until=BEGAN_AT + until * HOUR)


def test_a_hint_that_is_honoured_is_polite() -> None:
    assert_full(judge(5, quiet(0, 6), quiet(6.1, 12.1, SENT), quiet(12.2, 18.2, SENT)))


def test_a_poll_before_the_hint_is_over_is_found() -> None:
    rude = quiet(1, 7, SENT)
    assert_bites(judge(5, quiet(0, 6), rude), "to wait until 2026-11-02 06:00:00", rude)


def test_a_short_hint_hurries_nobody() -> None:
    rude = quiet(0.2, 0.3, SENT)
    assert_bites(judge(5, quiet(0, 0.1), rude), "to wait until 2026-11-02 01:00:00", rude)


def test_an_operator_may_ask_before_a_hint_is_over() -> None:
    asked = replace(quiet(1, 7, SENT), is_manual=True)
    assert_full(judge(5, quiet(0, 6), asked, quiet(6.1, 12.1, SENT)))


# 6: Retry-After


def refuse(hours: float, until: float, **fields: Any) -> Exchange:
    answered = {"retry-after": str(int((until - hours) * 3600))}
    until_at = BEGAN_AT + until * HOUR
    return ask(hours, status=429, answered=answered, host_quiet_until=until_at, **fields)


def test_a_host_that_is_left_alone_until_it_said_is_content() -> None:
    assert_full(judge(6, refuse(0, 5), ask(5.1), ask(6, target="/1")))


@pytest.mark.parametrize("is_manual", [False, True])
def test_any_request_to_a_host_during_its_retry_after_is_found(is_manual: bool) -> None:
    rude = ask(4, target="/1", is_manual=is_manual)
    result = judge(6, refuse(0, 5), rude)
    assert_bites(result, "a.example/feed.xml had answered 429 with Retry-After: 18000", rude)


def test_other_hosts_may_be_asked_during_a_retry_after() -> None:
    assert_full(judge(6, refuse(0, 5), ask(4, host="b.example"), ask(5.1)))


# 7 to 9: what a request says


@pytest.mark.parametrize(
    ("number", "header", "value"),
    [
        (7, "cookie", "id=42"),
        (7, "referer", "http://a.example/"),
        (8, "user-agent", "python-requests/2.32"),
        (8, "user-agent", "Mozilla/5.0 (X11)"),
        (8, "user-agent", "Feedmill (imports feeds into the database of its operator)"),
        (8, "user-agent", ""),
        (9, "accept-encoding", "identity"),
        (9, "accept-encoding", "gzip;q=0"),
        (9, "accept-encoding", ""),
    ],
)
def test_a_header_that_is_out_of_place_is_found(number: int, header: str, value: str) -> None:
    rude = ask(1, {**SENT, header: value})
    assert_bites(judge(number, ask(0), rude), value, rude)


@pytest.mark.parametrize(
    ("number", "header", "value"),
    [
        (8, "user-agent", "Reader/2 (+https://reader.example/about)"),
        (8, "user-agent", "Reader/2 (me@reader.example)"),
        (9, "accept-encoding", "br, GZIP;q=0.5"),
    ],
)
def test_a_header_as_it_should_be_is_polite(number: int, header: str, value: str) -> None:
    assert_full(judge(number, ask(0, {header: value})))


def test_an_added_query_is_found() -> None:
    rude = ask(1, SENT, target="/feed.xml?t=1762045200")
    assert_bites(judge(7, ask(0), rude), "adds a query", rude)
    assert_full(judge(7, ask(0, target="/feed?format=rss"), places={"a.example/feed?format=rss"}))


# 10: endings


def moved(hours: float, target: str = "/new.xml") -> Exchange:
    return ask(hours, status=301, answered={"location": target, "etag": '"moved"'})


def test_a_move_that_is_followed_and_reported_is_polite() -> None:
    said = ["http://a.example/feed.xml has moved to http://a.example/new.xml"]
    assert_full(judge(10, moved(0), ask(0, target="/new.xml"), reported=said))


def test_a_move_that_is_not_followed_is_found() -> None:
    assert_bites(judge(10, moved(0), moved(1), reported=["/new.xml"]), "not followed")


def test_a_move_that_nobody_is_told_of_is_found() -> None:
    assert_bites(judge(10, moved(0), ask(0, target="/new.xml")), "not reported")


def gone(*hours: float) -> Result:
    return judge(10, *[ask(hour, status=410, answered={}) for hour in hours])


def test_410_confirmed_a_day_later_is_the_end() -> None:
    assert_full(gone(0, 24.1))


@pytest.mark.parametrize(
    ("hours", "reason"),
    [
        ((0, 5), "less than a day"),
        ((0, 24.1, 48.2), "asked again after 410"),
        ((0,), "never confirmed"),
    ],
)
def test_410_that_is_not_taken_for_an_end_is_found(hours: Sequence[float], reason: str) -> None:
    assert_bites(gone(*hours), reason)


# 11: redirects


def test_validators_that_stay_at_their_place_are_polite() -> None:
    new = ask(0, target="/new.xml")
    assert_full(judge(11, moved(0), new, moved(1), ask(1, SENT, target="/new.xml")))


def test_validators_carried_across_a_redirect_are_found() -> None:
    rude = replace(moved(1), headers=POLITE | SENT)
    log = [moved(0), ask(0, target="/new.xml"), rude]
    assert_bites(judge(11, *log), "of a.example/new.xml", rude)


def test_validators_of_the_redirect_itself_are_found_at_its_target() -> None:
    rude = ask(0, {"if-none-match": '"moved"'}, target="/new.xml")
    assert_bites(judge(11, moved(0), rude), "of a.example/feed.xml", rude)


# 12: scope


@pytest.mark.parametrize("target", ["/favicon.ico", "/robots.txt", "/", "/items/1", "/hub"])
def test_a_request_for_anything_else_is_found(target: str) -> None:
    rude = ask(0, target=target)
    assert_bites(judge(12, ask(0), rude), "is no feed", rude)


def test_a_request_that_is_no_get_is_found() -> None:
    rude = ask(0, method="HEAD")
    assert_bites(judge(12, rude, ask(0)), "HEAD", rude)


# 13: back-off


def failing(*hours: float, ended_at: float | None = None) -> Result:
    log = [ask(hour, status=404, answered={}) for hour in hours]
    last = hours[-1] if ended_at is None else ended_at
    return judge(13, *log, ended_at=BEGAN_AT + (last + 1) * HOUR)


def test_waits_that_grow_to_a_day_are_polite() -> None:
    assert_full(failing(0, 1, 3, 7, 15, 31, 55, 79, 102))


@pytest.mark.parametrize(
    ("hours", "reason"),
    [
        (range(12), "have not grown"),
        ((0, 1, 3, 7, 8), "must not shrink"),
        ((0, 1, 3, 7, 15, 31, 100), "stayed away"),
    ],
)
def test_waits_that_do_not_grow_or_grow_too_long_are_found(
    hours: Sequence[float], reason: str
) -> None:
    assert_bites(failing(*hours), reason)


def test_giving_up_is_found() -> None:
    assert_bites(failing(0, 1, 3, ended_at=100), "stayed away")


def test_coming_back_ends_a_row_of_failures() -> None:
    failures = [ask(hour, status=404, answered={}) for hour in (0, 1, 3, 7)]
    assert_full(judge(13, *failures, ask(15), ask(16, SENT)))


# 14: feeds of one host


def poll_host(hour: float, *offsets_s: float, **fields: Any) -> list[Exchange]:
    """Return one request to each of a host's feeds, at these seconds of an hour."""
    return [
        ask(hour + offset_s / 3600, target=f"/{number}", **fields)
        for number, offset_s in enumerate(offsets_s, 1)
    ]


def test_feeds_of_one_host_polled_one_by_one_are_polite() -> None:
    assert_full(judge(14, *poll_host(0, 0, 0, 0, 0), *poll_host(1, 5, 60, 200, 90)))


def test_feeds_of_one_host_polled_in_one_second_are_found() -> None:
    result = judge(14, *poll_host(0, 0, 0, 0, 0), *poll_host(1, 5, 5, 5, 90))
    assert_bites(result, "3 of the host's 4 feeds")


def test_more_requests_at_a_time_than_allowed_are_found() -> None:
    rude = poll_host(2, 0, 0, 0, 0, in_flight=3)
    result = judge(14, *poll_host(0, 0, 0, 0, 0), *poll_host(1, 5, 60, 200, 90), *rude)
    assert_bites(result, "3 requests to one host at a time", rude[0])


def test_as_many_requests_at_a_time_as_allowed_are_polite() -> None:
    asked = poll_host(2, 0, 0, 0, 0, in_flight=3, is_manual=True)
    log = [*poll_host(0, 0, 0, 0, 0), *poll_host(1, 5, 60, 200, 90), *asked]
    assert_full(judge(14, *log, max_per_host=3))
