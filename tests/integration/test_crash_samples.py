"""A fault at some of a role's calls to its stores; tests/chaos has it at every one."""

import pytest

from tests.crashes import SECOND, crash_and_heal, fail_and_go_on
from tests.harness import Harness

pytest_plugins = ["tests.harness_fixture"]


LONG = pytest.mark.long


@pytest.mark.parametrize("executed", [False, True], ids=["unsent", "reply lost"])
@pytest.mark.parametrize(
    ("scenario", "call"),
    [
        ("import on a server", 10),
        pytest.param("import on a server", 20, marks=LONG),
        ("import through a loss of Redis", 35),
        ("import on a worker", 4),
        pytest.param("import on a worker", 8, marks=LONG),
        ("replay", 5),
        ("removal of a job", 3),
    ],
)
def test_every_item_is_accounted_for_after_a_crash(
    harness: Harness, scenario: str, call: int, executed: bool
) -> None:
    assert len(SECOND) == 20
    assert crash_and_heal(harness, scenario, call=call, executed=executed)


@pytest.mark.parametrize("executed", [False, True], ids=["unsent", "reply lost"])
@pytest.mark.parametrize(
    ("scenario", "call"), [("import on a server", 18), ("import on a worker", 6)]
)
def test_every_item_is_accounted_for_after_a_lost_connection(
    harness: Harness, scenario: str, call: int, executed: bool
) -> None:
    assert fail_and_go_on(harness, scenario, call=call, executed=executed)
