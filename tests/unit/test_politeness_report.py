"""The politeness report says what was simulated, what broke a criterion, and the grade."""

from datetime import UTC, datetime

import pytest

from tests.politeness.grading import Criterion, Fault, Grade, Result, report_document, report_lines
from tests.politeness.log import Exchange, Log
from tests.politeness.simulation import Simulated

AT = datetime(2026, 11, 2, 8, 30, tzinfo=UTC)
REQUEST = Exchange(at=AT, host="a.example", target="/feed.xml")
SIMULATED = Simulated(
    log=Log([REQUEST], AT), weeks=2, feeds=18, restarts=11, manual_rounds=4, imports=1200
)


def result(points: int, faults: int = 0) -> Result:
    """Return a result of ten checks a fault, or of all ten failed but ``points``."""
    criterion = Criterion(3, "both validators replaced", lambda _: iter(()))
    return Result(criterion, 10, [Fault(REQUEST, "sent too soon")] * (faults or 10 - points))


@pytest.mark.parametrize(
    ("points", "letter", "score"),
    [
        ([10, 10], "A+", 100),
        ([10, 9], "A", 95),
        ([10, 7], "B", 85),
        ([10, 5], "C", 75),
        ([10, 2], "D", 60),
        ([1, 2], "F", 15),
    ],
)
def test_the_grade_is_the_share_of_all_points(points: list[int], letter: str, score: int) -> None:
    grade = Grade([result(each) for each in points])
    assert (grade.letter, grade.score, grade.is_full) == (letter, score, letter == "A+")


def test_report_shows_what_was_simulated_and_the_evidence() -> None:
    text = "\n".join(report_lines(SIMULATED, Grade([result(10), result(5)])))
    assert "2 weeks, 18 feeds, 1 requests, 1200 imports, 11 restarts, 4 manual rounds" in text
    assert " 3  both validators replaced  10/10  10 checks" in text
    assert " 3  both validators replaced   5/10  10 checks, 5 failed" in text
    assert "2026-11-02 08:30:00  a.example/feed.xml  sent too soon" in text
    assert "and 2 more" in text
    assert "Grade: C 75/100" in text
    assert "points times the share of its checks" in text


def test_report_for_programs_has_every_fault() -> None:
    document = report_document(SIMULATED, Grade([result(5)]))
    [criterion] = document["criteria"]
    assert (document["grade"], document["score"], document["is_full"]) == ("F", 50, False)
    assert document["simulated"]["requests"] == 1
    assert (criterion["points"], criterion["max_points"], criterion["checks"]) == (5, 10, 10)
    assert (
        criterion["faults"]
        == [
            {
                "at": "2026-11-02T08:30:00.000Z",
                "request": "GET a.example/feed.xml",
                "reason": "sent too soon",
            }
        ]
        * 5
    )
