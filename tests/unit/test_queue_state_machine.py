"""The state machine is drawn in three places, and they say the same."""

import importlib
import pkgutil
import re
from pathlib import Path
from types import ModuleType

import pytest

import shared.queue
from shared.queue import TRANSITIONS, JobQueue, transitions
from shared.queue.connection import parts_of, read_lua, script_names, script_text

ARROW = re.compile(r"^(?:-- |    )(\w+): ([\w|-]+) -> ([\w|-]+)$")
LUA = Path(*shared.queue.__path__) / "lua"
# Scripts that let no job change its state; `probe` belongs to no queue alone.
NO_ARROW = {
    "pause",
    "resume",
    "probe",
    "update_progress",
    "update_data",
    "append_log",
    "limit_groups",
    "limit_rate",
}

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


def modules() -> list[ModuleType]:
    names = [found.name for found in pkgutil.iter_modules(shared.queue.__path__)]
    return [importlib.import_module(f"shared.queue.{name}") for name in names]


def functions_in(lua: str) -> set[str]:
    return set(re.findall(r"^local function (\w+)", lua, re.MULTILINE))


def test_the_arrows_in_full_are_every_transition() -> None:
    drawn = {read_arrow(text) for text in (transitions.__doc__ or "").splitlines()} - {None}
    assert drawn == arrows_in_code()


def test_the_first_line_of_each_script_is_its_transition() -> None:
    headed = {read_arrow(read_lua(name).splitlines()[0]) for name in script_names()} - {None}
    assert headed == arrows_in_code()


def test_there_is_one_script_for_each_transition() -> None:
    assert set(script_names()) == set(TRANSITIONS) | NO_ARROW


@pytest.mark.parametrize("name", [*TRANSITIONS, *sorted(NO_ARROW - {"probe"})])
def test_each_script_has_a_method_or_a_function_of_its_name(name: str) -> None:
    names = (name, f"{name}_many", f"{name}s")
    owners = (JobQueue, *modules())
    assert any(callable(getattr(owner, each, None)) for owner in owners for each in names)


@pytest.mark.parametrize("name", script_names())
def test_each_script_names_the_shared_parts_that_it_uses_and_no_others(name: str) -> None:
    parts = {path.stem for path in LUA.glob("*.lua")} - set(script_names())
    needed, left = {"layout"}, [name]
    while left:
        words = set(re.findall(r"\w+", read_lua(left.pop())))
        found = {part for part in parts - needed if functions_in(read_lua(part)) & words}
        needed |= found
        left += found
    assert set(parts_of(name)) == needed


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
