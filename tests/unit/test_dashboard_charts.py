"""Charts: samples become points, points become geometry."""

import pytest

from server.api.queue_status import QueueAnswer
from server.dashboard.charts import (
    HEIGHT,
    MAX_SAMPLES,
    SPAN_S,
    WIDTH,
    Point,
    Samples,
    Series,
    choose_span_s,
    choose_top,
    choose_top_s,
    draw_chart,
)
from shared.queue import JobState
from tests.fakes import FakeClock


def answer(
    name: str = "items", completed: int = 0, waiting: int = 0, age_ms: int = 0
) -> QueueAnswer:
    return QueueAnswer(
        name=name,
        is_paused=False,
        counts=dict.fromkeys(JobState, 0) | {JobState.WAITING: waiting},
        totals={"completed": completed, "failed": 0, "retried": 0},
        rate_per_s=None,
        oldest_waiting_ms=age_ms or None,
        rate_limit=None,
        limited_by=None,
        limited_by_text="nothing waits",
    )


def take_samples(count: int, every_s: float = 2.0, per_s: int = 5) -> tuple[Samples, FakeClock]:
    clock = FakeClock()
    samples = Samples(clock)
    for number in range(count):
        if number:
            clock.advance(seconds=every_s)
        done = int(number * every_s * per_s)
        samples.add([answer(completed=done, waiting=number, age_ms=number * 1000)])
    return samples, clock


def test_rate_is_what_was_done_between_buckets_of_ten_seconds() -> None:
    samples, _ = take_samples(30)
    assert [point.value for point in samples.rates(["items"])] == [5.0] * 5
    assert [point.ago_s for point in samples.rates(["items"])] == [40, 30, 20, 10, 0]


def test_rates_of_several_queues_are_added() -> None:
    clock = FakeClock()
    samples = Samples(clock)
    samples.add([answer("a", 0), answer("b", 0)])
    clock.advance(seconds=10)
    samples.add([answer("a", 10), answer("b", 30)])
    assert samples.rates(["a", "b"]) == [Point(0.0, 4.0)]
    assert samples.rates(["b", "gone"]) == [Point(0.0, 3.0)]


def test_depth_and_age_are_the_highest_of_each_bucket() -> None:
    samples, _ = take_samples(10)
    assert samples.depths("items") == [Point(10.0, 4), Point(0.0, 9)]
    assert samples.ages("items") == [Point(10.0, 4.0), Point(0.0, 9.0)]


def test_nothing_is_known_across_lost_counters_and_outages() -> None:
    clock = FakeClock()
    samples = Samples(clock)
    for completed, pause_s in ((500, 10), (0, 10), (20, 300), (9000, 10), (9010, 0)):
        samples.add([answer(completed=completed)])
        clock.advance(seconds=pause_s)
    assert [point.value for point in samples.rates(["items"])] == [2.0, 1.0]


def test_samples_are_bounded_in_time_and_number() -> None:
    samples, clock = take_samples(2 * MAX_SAMPLES)
    assert len(samples._samples) <= MAX_SAMPLES
    assert samples.depths("items")[0].ago_s <= SPAN_S
    clock.advance(seconds=SPAN_S + 1)
    samples.add([answer()])
    assert len(samples._samples) == 1


@pytest.mark.parametrize(
    ("highest", "top"),
    [(0, 2), (1.5, 2), (2.1, 5), (5, 5), (5.01, 10), (99, 100), (101, 200), (9500, 10000)],
)
def test_axis_ends_at_a_round_number(highest: float, top: float) -> None:
    assert choose_top(highest) == top


@pytest.mark.parametrize(
    ("highest_s", "top_s"),
    [(0, 2), (3, 10), (61, 120), (3601, 7200), (86_000, 86_400), (90_000, 172_800)],
)
def test_axis_of_time_ends_at_a_round_time(highest_s: float, top_s: float) -> None:
    assert choose_top_s(highest_s) == top_s


@pytest.mark.parametrize(("oldest_s", "span_s"), [(0, 300), (301, 900), (1000, 1800), (9e9, 1800)])
def test_axis_of_a_young_server_is_short(oldest_s: float, span_s: float) -> None:
    assert choose_span_s(oldest_s) == span_s


def test_line_is_drawn_within_its_field_and_broken_where_nothing_is_known() -> None:
    points = [Point(300, 10), Point(290, 5), Point(20, 0), Point(10, 10), Point(0, 4)]
    chart = draw_chart("Waiting", [Series("items", points)], lambda v: f"{v:g}", headline=sum)
    [line] = chart.lines
    assert line.runs == [
        "0.0,0.0 20.0,60.0",
        f"560.0,{HEIGHT} 580.0,0.0 {WIDTH},72.0",
    ]
    assert line.areas[0] == "0.0,120.0 0.0,0.0 20.0,60.0 20.0,120.0"
    assert chart.y_labels == ["10", "5", "0"]
    assert chart.x_labels == ["5 min ago", "now"]
    assert chart.latest == "4"
    assert chart.description == "Waiting over the last 5 min: now 4, at most 10."


def test_headline_is_made_of_the_latest_of_all_series() -> None:
    series = [Series("a", [Point(0, 3)]), Series("b", [Point(0, 4)]), Series("c", [])]
    assert draw_chart("x", series, "{:g}".format, headline=sum).latest == "7"
    assert draw_chart("x", series, "{:g}".format, headline=max).latest == "4"


def test_chart_of_nothing_says_so() -> None:
    chart = draw_chart("Rate", [Series("items", [])], lambda v: f"{v:g}", headline=sum)
    assert chart.description == "Rate: nothing is known yet."
    assert (chart.latest, chart.lines[0].runs) == ("0", [])
