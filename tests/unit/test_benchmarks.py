"""What the benchmarks show of what they measured: goals, tables, curves."""

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks.feed import ITEM_BYTES, make_feed
from benchmarks.plot import draw_growth
from benchmarks.processes import cpu_s
from benchmarks.report import failed_ratios, lines_of, put_table, table_of
from benchmarks.results import Results, collect, read_results, write_results
from benchmarks.rows import ROWS, Missing, Sample, series_key, series_points


def make_results(*samples: Sample | Missing, **fields: Any) -> Results:
    return collect(samples, {"now": "abc"}, **({"is_full": True} | fields))


def samples_of(key: str, *values: float, column: str = "now") -> list[Sample]:
    return [Sample(key, column, value) for value in values]


def passing_ratios() -> list[Sample]:
    return [
        Sample(row.key, "now", row.smoke.limit) for row in ROWS.values() if row.smoke is not None
    ]


@pytest.mark.parametrize(
    ("values", "verdict"),
    [([29_000.0, 31_000.0, 40_000.0], "reached"), ([1.0, 29_999.0, 40_000.0], "NOT reached")],
)
def test_the_median_of_the_repeats_decides_about_a_goal(values: list[float], verdict: str) -> None:
    [goal] = [
        line for line in lines_of(make_results(*samples_of("drain", *values))) if "goal" in line
    ]
    assert goal.split("  ")[-1].strip() == verdict


def test_a_run_with_less_of_everything_gives_no_verdict() -> None:
    shown = "\n".join(lines_of(make_results(*samples_of("drain", 99_999.0), is_full=False)))
    assert "reached" not in shown


def test_the_table_has_before_now_and_peers_side_by_side() -> None:
    samples = [
        *samples_of("drain", 20_000.0, column="before"),
        *samples_of("drain", 40_000.0),
        *samples_of("drain", 15_000.0, column="Node BullMQ"),
        Missing("huey", "no network"),
    ]
    table = list(table_of(make_results(*samples)))
    assert table[2] == (
        "| claim and complete with an empty handler, jobs/s | ≥ 30,000 | 20,000 | 40,000 "
        "| Node BullMQ 15,000 |"
    )
    assert table[-1] == "\nhuey: not measured (no network)"


def test_the_table_of_a_page_is_exchanged_and_its_text_stays() -> None:
    results = make_results(*samples_of("drain", 40_000.0))
    page = put_table("Before.\n<!-- figures -->\nold\n<!-- end of figures -->\nAfter.", results)
    again = put_table(page, results)
    assert "old" not in page
    assert "| 40,000 |" in page
    assert page.startswith("Before.\n")
    assert page.endswith("\nAfter.")
    assert again == page


def test_ratios_at_their_limits_pass_the_short_run() -> None:
    assert failed_ratios(make_results(*passing_ratios())) == []


def test_a_ratio_that_was_not_measured_fails_the_short_run() -> None:
    without = [sample for sample in passing_ratios() if sample.key != "settle.ratio"]
    [failed] = failed_ratios(make_results(*without))
    assert failed.startswith("the same: most others / none: –")


def test_results_are_read_as_they_were_written(tmp_path: Path) -> None:
    results = make_results(*samples_of("add", 1.0, 2.0), Missing("huey", "no network"))
    write_results(results, tmp_path / "results" / "run.json")
    assert read_results(tmp_path / "results" / "run.json") == results


def test_points_of_a_series_are_medians_in_order_of_size() -> None:
    samples = [*samples_of(series_key("feeds", 1_000), 3.0, 1.0, 2.0)]
    samples += samples_of(series_key("feeds", 0), 1.0)
    values = make_results(*samples).values
    assert series_points(values, "feeds", "now") == [(0.0, 1.0), (1_000.0, 2.0)]
    assert series_points(values, "feeds", "before") == []


def test_growth_is_drawn_as_one_picture_also_where_a_value_is_zero() -> None:
    samples = [Sample(series_key("feeds", size), "now", float(size)) for size in (0, 10, 100_000)]
    root = ElementTree.fromstring(draw_growth(make_results(*samples)))
    assert len(root.findall(".//{*}circle")) == 3


def test_items_of_the_measured_feed_have_one_size_and_another_note_changes_none() -> None:
    body, other = make_feed(3), make_feed(3, note="another")
    items = [line for line in body.decode().splitlines(keepends=True) if line.startswith("<item>")]
    assert {len(item) for item in items} == {ITEM_BYTES}
    assert body != other
    assert all(item in other.decode() for item in items)


def test_a_process_that_is_gone_has_used_nothing() -> None:
    assert cpu_s(2**22 + 1) == 0
