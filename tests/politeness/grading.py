"""What is asked of a polite reader, the points for it, and the report of both. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from shared.models import format_time
from tests.politeness.log import Fault, Log
from tests.politeness.request_rules import (
    judge_agent,
    judge_compression,
    judge_conditionality,
    judge_exactness,
    judge_privacy,
    judge_redirected,
    judge_replacement,
    judge_scope,
    judge_targets,
)
from tests.politeness.simulation import Simulated
from tests.politeness.timing_rules import (
    judge_backoff,
    judge_gaps,
    judge_hints,
    judge_parallel,
    judge_retry_after,
)

MAX_POINTS = 10
_GRADES = ((100, "A+"), (90, "A"), (80, "B"), (70, "C"), (60, "D"))
HOW_GRADED = (
    f"each criterion gives {MAX_POINTS} points times the share of its checks that passed, rounded "
    "down, none without checks; the score is the share of all points, and A+ is all of them"
)
_SHOWN_FAULTS = 3

Judge = Callable[[Log], Iterator[Fault | None]]


@dataclass(frozen=True, slots=True)
class Criterion:
    """What is expected of a reader. ``judge`` yields one answer a check: None, or what is wrong."""

    number: int
    title: str
    judge: Judge

    def apply(self, log: Log) -> "Result":
        """Judge a log."""
        answers = list(self.judge(log))
        return Result(self, len(answers), [fault for fault in answers if fault is not None])


@dataclass(frozen=True, slots=True)
class Result:
    """How a log fared under one criterion."""

    criterion: Criterion
    checks: int
    faults: Sequence[Fault]

    @property
    def points(self) -> int:
        """Points out of ten; none where nothing could be checked."""
        if self.checks == 0:
            return 0
        return MAX_POINTS * (self.checks - len(self.faults)) // self.checks


@dataclass(frozen=True, slots=True)
class Grade:
    """All results together."""

    results: Sequence[Result]

    @property
    def score(self) -> int:
        """Percent of all points, rounded down."""
        return (
            sum(result.points for result in self.results) * 100 // (MAX_POINTS * len(self.results))
        )

    @property
    def letter(self) -> str:
        """From A+ (nothing lost) to F."""
        return next((letter for least, letter in _GRADES if self.score >= least), "F")

    @property
    def is_full(self) -> bool:
        """Whether every criterion got all its points."""
        return all(result.points == MAX_POINTS for result in self.results)


# Numbered as in the checklist that 1 to 12 come from.
CRITERIA = (
    Criterion(1, "first request unconditional, later ones conditional", judge_conditionality),
    Criterion(2, "validators exactly as last received", judge_exactness),
    Criterion(3, "both validators replaced on every 200", judge_replacement),
    Criterion(4, "one poll an hour, one a day without conditions", judge_gaps),
    Criterion(5, "Cache-Control, Expires, ttl, skipHours, skipDays", judge_hints),
    Criterion(6, "Retry-After of 429 and 503, for the whole host", judge_retry_after),
    Criterion(7, "no cookies, referrer or added query", judge_privacy),
    Criterion(8, "informative User-Agent", judge_agent),
    Criterion(9, "gzip accepted", judge_compression),
    Criterion(10, "redirects followed and reported; 410 stops", judge_targets),
    Criterion(11, "validators not carried across a redirect", judge_redirected),
    Criterion(12, "no requests but for the feeds", judge_scope),
    Criterion(13, "back-off grows, and never gives up", judge_backoff),
    Criterion(14, "few requests at a time to one host, spread", judge_parallel),
)


def grade(log: Log) -> Grade:
    """Judge a log by all criteria."""
    return Grade([criterion.apply(log) for criterion in CRITERIA])


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
