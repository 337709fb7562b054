"""Places at hosts: never too many, all or none, and a moment of his own for whoever has to wait."""

from contextlib import ExitStack

import pytest

from server.fetching.host_slots import FIRST_GUESS_S, MAX_DELAY_S, HostSlots
from shared.errors import Postponed
from tests.fakes import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def slots(clock: FakeClock) -> HostSlots:
    return HostSlots(2, clock, draw=lambda: 0.0)


def delay_s(slots: HostSlots, *hosts: str) -> float:
    """Ask for places that are not there; return in how many seconds to come again."""
    with pytest.raises(Postponed) as refused, slots.hold(hosts):
        pass
    return refused.value.delay_ms / 1000


def fetch(slots: HostSlots, clock: FakeClock, host: str, seconds: float) -> None:
    with slots.hold([host]):
        clock.advance(seconds=seconds)


def test_a_host_has_as_many_places_as_allowed(slots: HostSlots) -> None:
    with slots.hold(["a"]), slots.hold(["a"]):
        delay_s(slots, "a")
    with slots.hold(["a"]), slots.hold(["a"]):
        pass


def test_a_full_host_holds_up_no_other(slots: HostSlots) -> None:
    with slots.hold(["a"]), slots.hold(["a"]), slots.hold(["b"]), slots.hold([]):
        pass


def test_places_at_several_hosts_are_taken_together_or_not_at_all(slots: HostSlots) -> None:
    with slots.hold(["a"]), slots.hold(["a"]):
        delay_s(slots, "b", "a")
        with slots.hold(["b"]), slots.hold(["b"]):
            pass


def test_a_place_is_free_again_when_its_fetch_failed(slots: HostSlots) -> None:
    for _ in range(3):
        with pytest.raises(ValueError, match="broken"), slots.hold(["a"]):
            raise ValueError("broken")
    with slots.hold(["a"]), slots.hold(["a"]):
        pass


def test_everyone_sent_away_is_given_a_moment_of_his_own(slots: HostSlots) -> None:
    with slots.hold(["a"]), slots.hold(["a"]):
        delays = [delay_s(slots, "a") for _ in range(4)]
    gap_s = FIRST_GUESS_S / 2
    assert delays == [gap_s, 2 * gap_s, 3 * gap_s, 4 * gap_s]


def test_the_line_of_a_slow_host_moves_at_its_own_pace(slots: HostSlots, clock: FakeClock) -> None:
    for _ in range(30):
        fetch(slots, clock, "a", 8.0)
    with slots.hold(["a"]), slots.hold(["a"]):
        assert [round(delay_s(slots, "a"), 1) for _ in range(3)] == [4.0, 8.0, 12.0]


def test_the_line_starts_anew_when_its_time_has_passed(slots: HostSlots, clock: FakeClock) -> None:
    with slots.hold(["a"]):
        with slots.hold(["a"]):
            first = delay_s(slots, "a")
            clock.advance(seconds=FIRST_GUESS_S)
        clock.advance(seconds=60)
        with slots.hold(["a"]):
            assert delay_s(slots, "a") == first


@pytest.mark.parametrize("waiting", [1, 20])
def test_while_no_fetch_of_a_host_ends_nobody_comes_in_vain_again_and_again(
    slots: HostSlots, clock: FakeClock, waiting: int
) -> None:
    with slots.hold(["a"]), slots.hold(["a"]):
        due_s = [clock.monotonic_s()] * waiting
        ends_s = clock.monotonic_s() + 240
        asked = 0
        while min(due_s) < ends_s:
            clock.advance(seconds=max(min(due_s) - clock.monotonic_s(), 0))
            due_s[due_s.index(min(due_s))] = clock.monotonic_s() + delay_s(slots, "a")
            asked += 1
    # Without a pace that slows down it is 1,920, eight a second.
    assert asked <= 20 * waiting
    assert max(due_s) - ends_s < MAX_DELAY_S


def test_a_quick_place_beside_a_stuck_one_keeps_the_line_moving(
    slots: HostSlots, clock: FakeClock
) -> None:
    with slots.hold(["a"]):
        clock.advance(seconds=200)
        fetch(slots, clock, "a", 0.2)
        with slots.hold(["a"]):
            assert delay_s(slots, "a") < 1


def test_one_slow_fetch_does_not_send_all_others_far_away(
    slots: HostSlots, clock: FakeClock
) -> None:
    fetch(slots, clock, "a", 240.0)
    with slots.hold(["a"]), slots.hold(["a"]):
        assert delay_s(slots, "a") < 1


def test_a_place_that_is_never_given_back_is_free_again_after_its_lease(clock: FakeClock) -> None:
    slots = HostSlots(1, clock, lease_s=300)
    with slots.hold(["a"]):
        clock.advance(seconds=301)
        with slots.hold(["a"]):
            delay_s(slots, "a")
    # What ended late gave back nothing of anybody else's.
    with slots.hold(["a"]):
        delay_s(slots, "a")


def test_the_end_of_a_very_long_line_is_sent_away_for_a_while_only(clock: FakeClock) -> None:
    slots = HostSlots(1, clock, draw=lambda: 0.5)
    for _ in range(30):
        fetch(slots, clock, "a", 30.0)
    with slots.hold(["a"]):
        delays = [delay_s(slots, "a") for _ in range(1000)]
    assert max(delays) <= MAX_DELAY_S
    assert delays[-1] == MAX_DELAY_S * 0.75


def test_hosts_that_nobody_asks_any_more_are_forgotten(slots: HostSlots, clock: FakeClock) -> None:
    with ExitStack() as held:
        held.enter_context(slots.hold(["busy"]))
        for number in range(20_000):
            fetch(slots, clock, f"h{number}", 0.01)
        assert len(slots._hosts) < 2_000
        assert "busy" in slots._hosts
