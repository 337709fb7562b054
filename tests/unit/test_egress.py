"""Is it the publishers, or is it our own line?"""

import pytest

from server.fetching.egress import Egress
from shared.errors import FetchError
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def egress(clock: FakeClock) -> Egress:
    return Egress(clock)


def lose(egress: Egress, *hosts: str, kind: str = "dns") -> None:
    for host in hosts:
        egress.note_end(f"https://{host}/feed", FetchError("", kind, "no way", retryable=True))


def test_five_hosts_out_of_reach_and_none_in_reach_are_an_outage(egress: Egress) -> None:
    lose(egress, *"abcd")
    lose(egress, *"abcd", kind="connect")
    assert not egress.is_out()
    lose(egress, "e", kind="connect")
    assert egress.is_out()


@pytest.mark.parametrize("error", [None, FetchError("", "http_status", "404", http_status=404)])
def test_any_answer_of_any_host_proves_the_line(egress: Egress, error: FetchError | None) -> None:
    lose(egress, *"abcde")
    egress.note_end("https://f/", error)
    assert not egress.is_out()


def test_a_redirect_to_a_host_out_of_reach_proves_the_line(egress: Egress) -> None:
    lost = FetchError("", "dns", "no way", host="dead.example")
    for host in "abcde":
        egress.note_end(f"https://{host}/feed", lost)
    assert not egress.is_out()


def test_an_answer_before_the_last_minute_proves_nothing(egress: Egress, clock: FakeClock) -> None:
    egress.note_end("https://f/", None)
    clock.advance(seconds=30)
    lose(egress, *"abcde")
    assert not egress.is_out()
    clock.advance(seconds=31)
    assert egress.is_out()


def test_failures_before_the_last_minute_do_not_count(egress: Egress, clock: FakeClock) -> None:
    lose(egress, *"abcd")
    clock.advance(seconds=61)
    lose(egress, "e")
    assert not egress.is_out()


@pytest.mark.parametrize("kind", ["timeout", "tls", "refused_address", "rate_limited"])
def test_what_is_no_failure_to_connect_does_not_count(egress: Egress, kind: str) -> None:
    lose(egress, *"abcdefgh", kind=kind)
    assert not egress.is_out()
