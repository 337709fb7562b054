"""The parts of a run, by the name under which they can be asked for."""

from collections.abc import Mapping

from benchmarks.context import Part
from benchmarks.parts.growth import measure_growth
from benchmarks.parts.idle import measure_idle
from benchmarks.parts.imports import measure_imports
from benchmarks.parts.lists import measure_lists
from benchmarks.parts.own import measure_own
from benchmarks.parts.queue import measure_queue

PARTS: Mapping[str, Part] = {
    "queue": measure_queue,
    "own": measure_own,
    "imports": measure_imports,
    "idle": measure_idle,
    "lists": measure_lists,
    "growth": measure_growth,
}
# Measured once a run: many points make up for repeats.
ONCE = {"growth"}
# Those whose ratios mean the same on every machine, and that take a few seconds.
SMOKE_PARTS = ["queue", "imports"]
