"""Which due feeds are reserved: fair to every host, and none of a host that wants to rest."""

from datetime import timedelta
from typing import Any

from server.feeds.scheduler import DEFERRAL_GAP, HostLimits
from shared.store import Feed
from tests.factories import NOON

LATER = NOON + timedelta(hours=1)


def make_feed(source: str, *hosts: str, **fields: Any) -> Feed:
    urls = [f"https://{host}/{source}.xml" for host in hosts]
    return Feed(source=source, urls=urls, created_at=NOON, next_fetch_at=NOON, **fields)


def sources(feeds: list[Feed]) -> list[str]:
    return [feed.source for feed in feeds]


def test_no_host_is_given_more_than_its_limit() -> None:
    due = [make_feed("a1", "a"), make_feed("a2", "a"), make_feed("a3", "a"), make_feed("b1", "b")]
    limits = HostLimits(2, {})
    assert sources(limits.choose(due, {}, 500).to_reserve) == ["a1", "a2", "b1"]
    assert limits.closed == {"a"}


def test_what_runs_already_counts() -> None:
    due = [make_feed("a1", "a"), make_feed("a2", "a"), make_feed("b1", "b")]
    limits = HostLimits(2, {"a": 1, "b": 7})
    assert sources(limits.choose(due, {}, 500).to_reserve) == ["a1"]
    assert limits.closed == {"a", "b"}


def test_what_is_chosen_in_one_round_counts_in_the_next() -> None:
    limits = HostLimits(1, {})
    limits.choose([make_feed("a1", "a")], {}, 500)
    assert limits.choose([make_feed("a2", "a")], {}, 500).to_reserve == []


def test_no_more_are_chosen_than_asked_for() -> None:
    due = [make_feed(f"s{n}", f"h{n}") for n in range(5)]
    limits = HostLimits(2, {})
    assert sources(limits.choose(due, {}, 3).to_reserve) == ["s0", "s1", "s2"]
    assert limits.closed == set()


def test_a_feed_without_url_is_bound_to_no_host() -> None:
    due = [make_feed("d1"), make_feed("d2")]
    assert sources(HostLimits(1, {}).choose(due, {}, 500).to_reserve) == ["d1", "d2"]


def test_feeds_of_a_host_that_wants_to_rest_come_one_after_the_other() -> None:
    due = [make_feed(f"a{n}", "a.example") for n in range(3)]
    limits = HostLimits(2, {})
    choice = limits.choose(due, {"a.example": LATER}, 500)
    assert choice.to_reserve == []
    assert [deferral.next_fetch_at for deferral in choice.to_defer] == [
        LATER,
        LATER + DEFERRAL_GAP,
        LATER + 2 * DEFERRAL_GAP,
    ]
    assert {deferral.reason for deferral in choice.to_defer} == {
        "rate-limited by a.example until 2026-11-01T13:00:00.000Z"
    }
    assert limits.closed == {"a.example"}


def test_a_feed_of_several_hosts_is_put_off_only_when_all_of_them_want_to_rest() -> None:
    feed = make_feed("ab", "a", "b")
    half = HostLimits(2, {}).choose([feed], {"a": LATER}, 500)
    assert (sources(half.to_reserve), half.to_defer) == (["ab"], [])
    wishes = {"a": LATER + timedelta(hours=1), "b": LATER}
    [deferral] = HostLimits(2, {}).choose([feed], wishes, 500).to_defer
    assert (deferral.next_fetch_at, deferral.reason.split()[2]) == (LATER, "b")
