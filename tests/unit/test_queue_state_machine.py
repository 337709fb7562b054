"""The state machine is drawn in three places, and they say the same."""

import re

import pytest

import shared.queue
from shared.queue import TRANSITIONS, JobQueue
from shared.queue.scripts import read_lua, script_names, script_text

ARROW = re.compile(r"^(?:-- |    )(\w+): ([\w|-]+) -> ([\w|-]+)$")
# Scripts that let no job change its state; the last one belongs to no queue alone.
NO_ARROW = {"pause", "resume", "probe"}

Arrow = tuple[str, frozenset[str], frozenset[str]]


def read_arrow(text: str) -> Arrow | None:
    found = ARROW.match(text)
    if found is None:
        return None
    name, sources, targets = found.groups()
    return name, frozenset(sources.split("|")), frozenset(targets.split("|"))


def arrows_in_code() -> set[Arrow]:
    return {(name, frozenset(map(str, a)), frozenset(map(str, b))) for name, (a, b) in
            TRANSITIONS.items()}  # fmt: skip


def test_the_picture_shows_every_transition() -> None:
    drawn = {read_arrow(text) for text in (shared.queue.__doc__ or "").splitlines()} - {None}
    assert drawn == arrows_in_code()


def test_the_first_line_of_each_script_is_its_transition() -> None:
    headed = {read_arrow(read_lua(name).splitlines()[0]) for name in script_names()} - {None}
    assert headed == arrows_in_code()


def test_there_is_one_script_for_each_transition() -> None:
    assert set(script_names()) == set(TRANSITIONS) | NO_ARROW


@pytest.mark.parametrize("name", [*TRANSITIONS, *sorted(NO_ARROW - {"probe"})])
def test_each_script_has_a_method_of_its_name(name: str) -> None:
    names = (name, f"{name}_many", f"{name}s")
    assert any(callable(getattr(JobQueue, candidate, None)) for candidate in names)


@pytest.mark.parametrize("name", script_names())
def test_each_script_says_what_it_takes_and_returns(name: str) -> None:
    text = read_lua(name)
    assert text.startswith(f"-- {name}: ")
    assert "-- KEYS[1] base of the queue's keys" in text
    assert "\n-- Returns " in text
    assert ("ARGV" in text.split("local queue")[0]) == ("ARGV" in text.split("local queue", 1)[1])


@pytest.mark.parametrize("name", script_names())
def test_no_script_is_bound_to_flags_that_a_full_redis_would_judge_by(name: str) -> None:
    assert not script_text(name).startswith("#!")
