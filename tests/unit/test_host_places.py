"""Which due feeds are claimed: fair to every host, and none of a host that wants to rest."""

from datetime import timedelta
from typing import Any

from server.feeds.host_places import DEFERRAL_GAP, HostPlaces
from shared.store import Feed
from tests.factories import NOON

LATER = NOON + timedelta(hours=1)


def make_feed(source: str, *hosts: str, **fields: Any) -> Feed:
    urls = [f"https://{host}/{source}.xml" for host in hosts]
    return Feed(source=source, urls=urls, created_at=NOON, next_fetch_at=NOON, **fields)


def sources(feeds: list[Feed]) -> list[str]:
    return [feed.source for feed in feeds]


def test_no_host_is_given_more_than_its_places() -> None:
    due = [make_feed("a1", "a"), make_feed("a2", "a"), make_feed("a3", "a"), make_feed("b1", "b")]
    places = HostPlaces(2, {})
    assert sources(places.choose(due, {}, 500).to_claim) == ["a1", "a2", "b1"]
    assert places.closed == {"a"}


def test_what_runs_already_takes_places() -> None:
    due = [make_feed("a1", "a"), make_feed("a2", "a"), make_feed("b1", "b")]
    places = HostPlaces(2, {"a": 1, "b": 7})
    assert sources(places.choose(due, {}, 500).to_claim) == ["a1"]
    assert places.closed == {"a", "b"}


def test_a_place_taken_in_one_round_is_taken_in_the_next() -> None:
    places = HostPlaces(1, {})
    places.choose([make_feed("a1", "a")], {}, 500)
    assert places.choose([make_feed("a2", "a")], {}, 500).to_claim == []


def test_no_more_are_chosen_than_asked_for() -> None:
    due = [make_feed(f"s{n}", f"h{n}") for n in range(5)]
    places = HostPlaces(2, {})
    assert sources(places.choose(due, {}, 3).to_claim) == ["s0", "s1", "s2"]
    assert places.closed == set()


def test_a_feed_without_url_is_bound_to_no_host() -> None:
    due = [make_feed("d1"), make_feed("d2")]
    assert sources(HostPlaces(1, {}).choose(due, {}, 500).to_claim) == ["d1", "d2"]


def test_feeds_of_a_host_that_wants_to_rest_come_one_after_the_other() -> None:
    due = [make_feed(f"a{n}", "a.example") for n in range(3)]
    places = HostPlaces(2, {})
    choice = places.choose(due, {"a.example": LATER}, 500)
    assert choice.to_claim == []
    assert [deferral.next_fetch_at for deferral in choice.to_defer] == [
        LATER,
        LATER + DEFERRAL_GAP,
        LATER + 2 * DEFERRAL_GAP,
    ]
    assert {deferral.reason for deferral in choice.to_defer} == {
        "a.example asked not to be asked again before 2026-11-01T13:00:00.000Z"
    }
    assert places.closed == {"a.example"}


def test_a_feed_of_several_hosts_is_put_off_only_when_all_of_them_want_to_rest() -> None:
    feed = make_feed("ab", "a", "b")
    half = HostPlaces(2, {}).choose([feed], {"a": LATER}, 500)
    assert (sources(half.to_claim), half.to_defer) == (["ab"], [])
    wishes = {"a": LATER + timedelta(hours=1), "b": LATER}
    [deferral] = HostPlaces(2, {}).choose([feed], wishes, 500).to_defer
    assert (deferral.next_fetch_at, deferral.reason.split()[0]) == (LATER, "b")
