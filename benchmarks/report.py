"""Shows results: lines for a terminal, and the table of docs/performance.md."""

from collections.abc import Iterable, Iterator

from benchmarks.results import Results
from benchmarks.rows import ROWS, SERIES, Goal, Row, Series, series_points

NOW, BEFORE = "now", "before"
# The picture of growth, beside the page.
PICTURE = "growth.svg"
# What stands around the table in docs/performance.md.
BEGIN, END = "<!-- figures -->", "<!-- end of figures -->"


def lines_of(results: Results) -> Iterator[str]:
    """Yield a run's figures, each beside its goal and beside what others need."""
    for row in _measured(results):
        shown = [f"{row.title} ({row.unit})"]
        shown += [
            f"    {column:<24}{_with_spread(results, row, column)}"
            for column in results.columns(row.key)
        ]
        if row.goal is not None:
            shown.append(f"    {'goal':<24}{_goal(row.goal)}  {_verdict(results, row)}")
        yield from shown
    for series in SERIES.values():
        yield from _series_lines(results, series)
    for column, reason in results.missing.items():
        yield f"not measured: {column}: {reason}"


def table_of(results: Results) -> Iterator[str]:
    """Yield a Markdown table: the goal, the state before, the state now, the peers."""
    yield "| work | goal | before | now | beside it |"
    yield "| --- | --- | --- | --- | --- |"
    for row in _measured(results):
        goal = _goal(row.goal) if row.goal is not None else "–"
        cells = [f"{row.title}, {row.unit}", goal]
        cells += [_median(results, row, BEFORE), _median(results, row, NOW), _peers(results, row)]
        yield f"| {' | '.join(cells)} |"
    for column, reason in results.missing.items():
        yield f"\n{column}: not measured ({reason})"


def put_table(page: str, results: Results) -> str:
    """Return a Markdown page with its table of figures, between two comments, exchanged."""
    begin, end = page.index(BEGIN) + len(BEGIN), page.index(END)
    machine = results.machine
    trees = ", ".join(f"{name}: {commit}" for name, commit in results.trees.items())
    about = (
        f"{results.measured_at}; {machine['processor']}, {machine['cores']} cores, "
        f"{machine['system']}, Python {machine['python']}; {trees}. Medians."
    )
    return "\n".join([page[:begin], *table_of(results), "", about, *_picture(results), page[end:]])


def _picture(results: Results) -> list[str]:
    has_growth = any(series_points(results.values, key, NOW) for key in SERIES)
    return [
        "",
        f"![Cost by waiting and active jobs, sources, workers, feeds]({PICTURE})",
    ] * has_growth


def failed_ratios(results: Results) -> list[str]:
    """Return the ratios of this checkout that miss the short run's goal, or were not measured."""
    return [
        f"{row.title}: {_median(results, row, NOW)}, wanted {_goal(row.smoke)}"
        for row in ROWS.values()
        if row.smoke is not None and not _is_reached(results, row, row.smoke)
    ]


def shorten(value: float) -> str:
    """Write a number with three digits that count."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.3g}"


def _series_lines(results: Results, series: Series) -> Iterator[str]:
    for column in (BEFORE, NOW):
        points = series_points(results.values, series.key, column)
        if points:
            shown = ", ".join(f"{shorten(y)} at {x:,.0f}" for x, y in points)
            yield f"{series.title} ({series.unit}) by {series.x_label}, {column}: {shown}"


def _measured(results: Results) -> Iterable[Row]:
    return (row for key, row in ROWS.items() if key in results.values)


def _median(results: Results, row: Row, column: str) -> str:
    value = results.median(row.key, column)
    return "–" if value is None else shorten(value)


def _with_spread(results: Results, row: Row, column: str) -> str:
    least, most = results.spread(row.key, column)
    return f"{_median(results, row, column):>10}   ({shorten(least)} to {shorten(most)})"


def _peers(results: Results, row: Row) -> str:
    peers = [name for name in results.columns(row.key) if name not in (NOW, BEFORE)]
    return "; ".join(f"{name} {_median(results, row, name)}" for name in peers)


def _goal(goal: Goal) -> str:
    return f"{goal.bound} {shorten(goal.limit)}"


def _verdict(results: Results, row: Row) -> str:
    if row.goal is None or not results.is_full or results.median(row.key, NOW) is None:
        return ""
    return "reached" if _is_reached(results, row, row.goal) else "NOT reached"


def _is_reached(results: Results, row: Row, goal: Goal) -> bool:
    value = results.median(row.key, NOW)
    return value is not None and goal.is_reached(value)
