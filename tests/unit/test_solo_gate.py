"""Which partition may claim while a job of one of them must run alone."""

import threading
from typing import cast

import pytest

from shared.queue import Admission, HeldLocks, JobQueue, Met, RedisConnection, SoloGate
from tests.factories import make_claimed
from tests.fakes import FakeClock

REFUSED, AMONG_OTHERS, ALONE = Admission.REFUSED, Admission.AMONG_OTHERS, Admission.ALONE
JOB = make_claimed("{}")


@pytest.fixture
def queue() -> JobQueue:
    # Only its name is asked for.
    return JobQueue(cast("RedisConnection", None), "items", clock=FakeClock())


@pytest.fixture
def first() -> HeldLocks:
    return HeldLocks(FakeClock())


@pytest.fixture
def second() -> HeldLocks:
    return HeldLocks(FakeClock())


@pytest.fixture
def gate(first: HeldLocks, second: HeldLocks) -> SoloGate:
    return SoloGate([first, second])


def meet_solo(gate: SoloGate, held: HeldLocks) -> None:
    """Let a consumer claim and find that a job has to run alone."""
    assert gate.enter(held) is AMONG_OTHERS
    gate.leave(held, Met.SOLO_WAITS)


def test_consumers_claim_beside_one_another(
    gate: SoloGate, first: HeldLocks, second: HeldLocks
) -> None:
    assert [gate.enter(each) for each in (first, second)] == [AMONG_OTHERS] * 2


def test_who_meets_a_solo_job_claims_it_when_nobody_holds_or_claims_anything(
    gate: SoloGate, first: HeldLocks, second: HeldLocks, queue: JobQueue
) -> None:
    assert gate.enter(second) is AMONG_OTHERS
    meet_solo(gate, first)
    assert gate.enter(first) is REFUSED
    second.add(queue, [JOB])
    gate.leave(second, Met.NO_SOLO)
    assert gate.enter(first) is REFUSED
    second.remove(queue, [JOB.lock])
    assert gate.enter(first) is ALONE


def test_nobody_else_claims_until_the_solo_job_has_ended(
    gate: SoloGate, first: HeldLocks, second: HeldLocks, queue: JobQueue
) -> None:
    meet_solo(gate, first)
    assert gate.enter(first) is ALONE
    assert gate.enter(second) is REFUSED
    first.add(queue, [JOB])
    gate.leave(first, Met.SOLO_HELD)
    assert [gate.enter(each) for each in (first, second)] == [REFUSED] * 2
    first.remove(queue, [JOB.lock])
    assert [gate.enter(each) for each in (first, second)] == [AMONG_OTHERS] * 2


def test_a_solo_job_that_is_gone_opens_the_gate(
    gate: SoloGate, first: HeldLocks, second: HeldLocks
) -> None:
    meet_solo(gate, first)
    assert gate.enter(first) is ALONE
    gate.leave(first, Met.NO_SOLO)
    assert gate.enter(second) is AMONG_OTHERS


def test_a_claim_without_an_answer_is_repeated_before_anybody_else_claims(
    gate: SoloGate, first: HeldLocks, second: HeldLocks
) -> None:
    meet_solo(gate, first)
    assert gate.enter(first) is ALONE
    gate.leave(first, Met.UNKNOWN)
    assert gate.enter(second) is REFUSED
    assert gate.enter(first) is ALONE


def test_two_that_both_met_a_solo_job_have_their_turns_one_after_the_other(
    gate: SoloGate, first: HeldLocks, second: HeldLocks
) -> None:
    assert gate.enter(second) is AMONG_OTHERS
    meet_solo(gate, first)
    gate.leave(second, Met.SOLO_WAITS)
    assert gate.enter(second) is REFUSED
    assert gate.enter(first) is ALONE
    gate.leave(first, Met.SOLO_HELD)
    # Its job has ended already.
    assert gate.enter(first) is AMONG_OTHERS
    gate.leave(first, Met.NO_SOLO)
    meet_solo(gate, second)
    assert gate.enter(second) is ALONE


def test_who_waits_is_woken_when_the_gate_opens(
    gate: SoloGate, first: HeldLocks, second: HeldLocks
) -> None:
    meet_solo(gate, first)
    assert gate.enter(second) is REFUSED
    waiting = threading.Thread(target=gate.wait_until_open, args=(60,), daemon=True)
    waiting.start()
    assert gate.enter(first) is ALONE
    gate.leave(first, Met.NO_SOLO)
    waiting.join(10)
    assert not waiting.is_alive()


def test_the_only_consumer_claims_a_solo_job_at_once_when_it_holds_none(
    first: HeldLocks, queue: JobQueue
) -> None:
    gate = SoloGate([first])
    assert gate.enter(first) is ALONE
    gate.leave(first, Met.NO_SOLO)
    first.add(queue, [JOB])
    assert gate.enter(first) is AMONG_OTHERS
    gate.leave(first, Met.SOLO_WAITS)
    assert gate.enter(first) is REFUSED
    first.remove(queue, [JOB.lock])
    assert gate.enter(first) is ALONE
