"""The simulated publisher answers as its feeds promise, and logs what it saw."""

import http.client
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import pytest

from server.parsing import ParsedFeed, parse_feed
from tests.fakes import FakeClock
from tests.politeness.log import DAY, HOUR, Tags
from tests.politeness.publisher import LOOPBACK, Publisher, Reply, Script, Visit
from tests.politeness.scenarios import SHARED_FEEDS, BusyHost, Scenarios, make_scenarios
from tests.politeness.versions import Span, odd_version, plain_version

BEGAN_AT = datetime(2026, 11, 2, tzinfo=UTC)
SPAN = Span(BEGAN_AT, BEGAN_AT + timedelta(days=14))


@pytest.fixture(scope="module")
def scenarios() -> Scenarios:
    return make_scenarios(SPAN)


def visit(hours: float, **headers: str) -> Visit:
    sent = {name.replace("_", "-"): value for name, value in headers.items()}
    return Visit(BEGAN_AT + hours * HOUR, sent)


def tags_of(reply: Reply) -> Tags:
    return Tags(reply.headers.get("ETag"), reply.headers.get("Last-Modified"))


def test_every_document_is_a_feed_with_items(scenarios: Scenarios) -> None:
    for place, script in scenarios.scripts.items():
        reply = script(visit(0))
        if reply.status == 301:
            continue
        parsed = parse_feed(reply.body, content_type=None, url=None, now=BEGAN_AT)
        assert parsed.entries, place
        assert not parsed.warnings, place


def test_documents_ask_for_what_the_log_holds_against_a_reader(scenarios: Scenarios) -> None:
    def parse(place: str) -> ParsedFeed:
        body = scenarios.scripts[place](visit(0)).body
        return parse_feed(body, content_type=None, url=None, now=BEGAN_AT)

    ttl, skips = parse("slow.example/ttl.xml"), parse("slow.example/skips.xml")
    assert ttl.ttl_s == 12 * 3600
    assert skips.skip_hours == frozenset(range(1, 22))
    assert skips.skip_days == {"saturday", "sunday"}


def test_every_feed_but_the_ones_redirected_to_is_subscribed(scenarios: Scenarios) -> None:
    assert len(scenarios.subscriptions) == 10 + SHARED_FEEDS
    left = set(scenarios.scripts) - set(scenarios.subscriptions.values())
    assert left == {"moved.example/new.xml", "moved.example/newer.xml"}


def test_sending_back_what_was_given_is_answered_with_304(scenarios: Scenarios) -> None:
    script = scenarios.scripts["plain.example/feed.xml"]
    given = tags_of(script(visit(0)))
    assert given.etag is not None
    assert given.last_modified is not None
    known = visit(1, if_none_match=given.etag, if_modified_since=given.last_modified)
    assert script(known).status == 304
    assert script(visit(1, if_none_match='"other"')).status == 200
    assert script(visit(1, if_modified_since=given.last_modified)).status == 304


def test_a_day_of_the_plain_feed_has_a_change_a_touch_and_a_new_etag_alone() -> None:
    first, touched, retagged, second = (
        plain_version(SPAN, BEGAN_AT + hours * HOUR) for hours in (0, 8, 16, 24)
    )
    assert first.numbers == touched.numbers == retagged.numbers != second.numbers
    assert first.tags.last_modified != touched.tags.last_modified == retagged.tags.last_modified
    assert len({each.tags.etag for each in (first, touched, retagged, second)}) == 4


def test_the_odd_feed_shows_each_spelling_and_each_lack_within_a_week() -> None:
    tags = [odd_version(SPAN, BEGAN_AT + n * 8 * HOUR).tags for n in range(21)]
    etags = {each.etag for each in tags}
    assert {None, 'W/"odd-0"', '"odd-1-gzip"', "odd-2", '""'} <= etags
    assert Tags(None, None) in tags
    assert any(each.etag is None and each.last_modified is not None for each in tags)
    assert any(each.etag is not None and each.last_modified is None for each in tags)
    assert "Mon, 2 Nov 2026 8:00:00 GMT" in {each.last_modified for each in tags}


def test_a_304_of_the_odd_feed_names_a_date_that_was_never_given(scenarios: Scenarios) -> None:
    script = scenarios.scripts["odd.example/feed.xml"]
    given = tags_of(script(visit(0)))
    assert given.etag is not None
    reply = script(visit(1.5, if_none_match=given.etag))
    assert reply.status == 304
    assert tags_of(reply).last_modified not in (None, given.last_modified)


def test_skipped_hours_and_days_are_quiet_until_they_are_over(scenarios: Scenarios) -> None:
    script = scenarios.scripts["slow.example/skips.xml"]
    assert script(visit(0.5)).quiet_until == BEGAN_AT + 22 * HOUR
    assert script(visit(22.5)).quiet_until == BEGAN_AT + 23.5 * HOUR
    friday_night = 4 * 24 + 23.5
    assert script(visit(friday_night)).quiet_until == BEGAN_AT + 7 * DAY


def test_a_busy_host_refuses_in_four_ways_for_both_its_feeds() -> None:
    host = BusyHost(SPAN)
    refusals = []
    for day in range(4):
        assert host.answer_limited(visit(day * 25)).status == 200
        refusals.append(host.answer_limited(visit(day * 25 + 2)))
        assert host.answer_neighbour(visit(day * 25 + 3)).status == 429
        assert host.answer_neighbour(visit(day * 25 + 24)).status == 200
    assert [each.status for each in refusals] == [429, 503, 429, 503]
    asked = [each.headers["Retry-After"] for each in refusals]
    assert [text.isdecimal() for text in asked] == [True, False, False, True]
    assert parsedate_to_datetime(asked[1]) == refusals[1].host_quiet_until
    assert refusals[0].host_quiet_until == BEGAN_AT + 24 * HOUR


def test_the_shared_host_is_slow_only_when_an_operator_asks_for_all(scenarios: Scenarios) -> None:
    script = scenarios.scripts["shared.example/1.xml"]
    assert script(visit(0)).pause_s == 0
    assert script(Visit(BEGAN_AT, {}, is_manual=True)).pause_s > 0


def test_the_broken_feed_fails_in_two_ways_and_comes_back(scenarios: Scenarios) -> None:
    script = scenarios.scripts["broken.example/feed.xml"]
    days = [script(visit(day * 24)).status for day in range(14)]
    assert days == [200, *[500, 404] * 5, 200, 200, 200]


def test_the_feed_that_is_gone_was_there_for_a_day(scenarios: Scenarios) -> None:
    script = scenarios.scripts["gone.example/feed.xml"]
    assert [script(visit(hours)).status for hours in (0, 23, 24, 300)] == [200, 200, 410, 410]


# The server


class Knocking:
    """A publisher with one script, and a way to ask it."""

    def __init__(self, publisher: Publisher, clock: FakeClock) -> None:
        self.publisher = publisher
        self.clock = clock

    def ask(self, method: str, target: str, **headers: str) -> tuple[int, bytes]:
        connection = http.client.HTTPConnection(LOOPBACK, self.publisher.port, timeout=10)
        try:
            connection.request(method, target, headers={"Host": "a.example:81", **headers})
            response = connection.getresponse()
            return response.status, response.read()
        finally:
            connection.close()


@pytest.fixture
def knocking() -> Iterator[Knocking]:
    scripts: dict[str, Script] = {
        "a.example/feed.xml": lambda _: Reply(200, b"text", {"ETag": '"\xe9"'}),
    }
    clock = FakeClock()
    with Publisher(scripts, clock) as publisher:
        yield Knocking(publisher, clock)


def test_publisher_logs_whatever_is_asked_with_the_simulated_time(knocking: Knocking) -> None:
    assert knocking.ask("GET", "/feed.xml", Cookie="id=1") == (200, b"text")
    knocking.clock.advance(hours=1)
    knocking.publisher.is_manual = True
    assert knocking.ask("HEAD", "/favicon.ico?x") == (404, b"")
    first, second = knocking.publisher.exchanges
    assert (first.method, first.place, first.status) == ("GET", "a.example/feed.xml", 200)
    assert (first.headers["cookie"], first.given.etag) == ("id=1", '"\xe9"')
    assert (second.method, second.place) == ("HEAD", "a.example/favicon.ico?x")
    assert second.at - first.at == HOUR
    assert (first.is_manual, second.is_manual) == (False, True)


def test_publisher_compresses_for_whoever_accepts_it(knocking: Knocking) -> None:
    _, body = knocking.ask("GET", "/feed.xml", **{"Accept-Encoding": "gzip"})
    assert body.startswith(b"\x1f\x8b")


def test_publisher_counts_requests_that_are_under_way_together(knocking: Knocking) -> None:
    publisher, headers = knocking.publisher, {"host": "a.example:81"}
    for _ in range(3):
        publisher.arrive("GET", "/feed.xml", headers)
    publisher.arrive("GET", "/feed.xml", {"host": "b.example"})
    for _ in range(3):
        publisher.depart("a.example")
    assert knocking.ask("GET", "/feed.xml")[0] == 200
    counts = [exchange.in_flight for exchange in publisher.exchanges]
    assert counts == [1, 2, 3, 1, 1]
