"""How a simulation and its grade are shown, to people and to programs. Pure."""

from collections.abc import Iterator
from typing import Any

from server.politeness.grading import HOW_GRADED, MAX_POINTS, Fault, Grade, Result
from server.politeness.simulation import Simulated
from shared.models import format_time

_SHOWN_FAULTS = 3


def report_lines(simulated: Simulated, grade: Grade) -> Iterator[str]:
    """Yield the lines of the report: what was simulated, each criterion, the grade."""
    counts = describe(simulated)
    yield "Simulated: " + ", ".join(
        f"{counts[name]} {name.replace('_', ' ')}"
        for name in ("weeks", "feeds", "requests", "imports", "restarts", "manual_rounds")
    )
    yield ""
    width = max(len(result.criterion.title) for result in grade.results)
    for result in grade.results:
        yield _result_line(result, width)
        yield from (f"      {_fault_text(fault)}" for fault in result.faults[:_SHOWN_FAULTS])
        hidden = len(result.faults) - _SHOWN_FAULTS
        if hidden > 0:
            yield f"      and {hidden} more"
    yield ""
    yield f"Grade: {grade.letter} {grade.score}/100"
    yield f"({HOW_GRADED})"


def report_document(simulated: Simulated, grade: Grade) -> dict[str, Any]:
    """Return the report for programs, with every fault."""
    return {
        "grade": grade.letter,
        "score": grade.score,
        "is_full": grade.is_full,
        "simulated": describe(simulated),
        "criteria": [_result_document(result) for result in grade.results],
    }


def describe(simulated: Simulated) -> dict[str, Any]:
    """Return how much was simulated."""
    return {
        "weeks": simulated.weeks,
        "feeds": simulated.feeds,
        "requests": len(simulated.log.exchanges),
        "imports": simulated.imports,
        "restarts": simulated.restarts,
        "manual_rounds": simulated.manual_rounds,
        "interval_s": int(simulated.log.interval.total_seconds()),
    }


def _result_line(result: Result, width: int) -> str:
    title = result.criterion.title.ljust(width)
    checks = f"{result.checks} checks" if result.checks else "nothing to check"
    faults = f", {len(result.faults)} failed" if result.faults else ""
    head = f"{result.criterion.number:>2}  {title}  {result.points:>2}/{MAX_POINTS}"
    return f"{head}  {checks}{faults}"


def _fault_text(fault: Fault) -> str:
    exchange = fault.exchange
    return f"{exchange.at:%Y-%m-%d %H:%M:%S}  {exchange.place}  {fault.reason}"


def _result_document(result: Result) -> dict[str, Any]:
    return {
        "number": result.criterion.number,
        "title": result.criterion.title,
        "points": result.points,
        "max_points": MAX_POINTS,
        "checks": result.checks,
        "faults": [
            {
                "at": format_time(fault.exchange.at),
                "request": f"{fault.exchange.method} {fault.exchange.place}",
                "reason": fault.reason,
            }
            for fault in result.faults
        ],
    }
