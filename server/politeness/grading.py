"""Points and grades. Pure."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from server.politeness.log import Exchange, Log

MAX_POINTS = 10
_GRADES = ((100, "A+"), (90, "A"), (80, "B"), (70, "C"), (60, "D"))
HOW_GRADED = (
    f"each criterion gives {MAX_POINTS} points times the share of its checks that passed, rounded "
    "down, none without checks; the score is the share of all points, and A+ is all of them"
)


@dataclass(frozen=True, slots=True)
class Fault:
    """Why a check did not pass, and the request that broke it."""

    exchange: Exchange
    reason: str


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
