"""What operators are told about each kind of dead letter."""

import re
from pathlib import Path

import pytest

from server.dashboard.advice import ADVICE, find_advice
from server.importing.replayer import Obstacle
from worker.decoding import STALLED
from worker.storing import REJECTED

ROOT = Path(__file__).parents[2]


def error_types_in_code() -> set[str]:
    code = "".join(
        path.read_text()
        for package in ("server", "worker", "shared")
        for path in (ROOT / package).rglob("*.py")
    )
    return set(re.findall(r'ItemError\(\s*"(\w+)"', code)) | {
        STALLED,
        REJECTED,
        Obstacle.UNREADABLE,
    }


def test_there_is_advice_for_every_error_that_an_item_dies_of() -> None:
    assert error_types_in_code() == set(ADVICE)


@pytest.mark.parametrize(
    ("error_type", "word"),
    [
        ("too_large", "JOB_MAX_BYTES"),
        ("rejected_by_store", "validator"),
        ("stalled", "out of memory"),
        ("invalid", "another program"),
    ],
)
def test_advice_names_what_to_look_at(error_type: str, word: str) -> None:
    advice = find_advice(error_type)
    assert word in advice.meaning + advice.action


@pytest.mark.parametrize("error_type", ["unreadable", "undecodable"])
def test_what_a_replay_cannot_run_is_not_offered_for_one(error_type: str) -> None:
    assert not find_advice(error_type).is_replayable


def test_an_unheard_of_error_gets_advice_too() -> None:
    advice = find_advice("<b>novel</b>")
    assert advice.is_replayable
    assert "log" in advice.action
