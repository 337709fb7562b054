"""The auditor's rest, and what ends it."""

from datetime import UTC, datetime

from server.importing.enqueueing import AuditRequests
from tests.fakes import FakeClock


def rested_s(requests: AuditRequests) -> float:
    """Rest for a second at most; return for how long it was."""
    clock = FakeClock(datetime(2026, 11, 28, tzinfo=UTC))
    before_s = clock.monotonic_s()
    requests.rest(clock, 1.0)
    return clock.monotonic_s() - before_s


def test_a_commit_ends_one_rest() -> None:
    requests = AuditRequests()
    assert rested_s(requests) == 1.0
    requests.note_committed()
    assert [rested_s(requests), rested_s(requests)] == [0.0, 1.0]


def test_items_in_flight_end_the_rest_and_mark_their_import_until_its_audit() -> None:
    requests = AuditRequests()
    requests.note_busy("i1")
    requests.note_busy("i2")
    assert rested_s(requests) == 0.0
    assert requests.read_busy() == {"i1", "i2"}
    requests.take_busy("i1")
    requests.forget_busy(["i2", "i3"])
    assert requests.read_busy() == set()
