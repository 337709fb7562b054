"""What commands print: text, tables, JSON, times in words; questions and exit codes.

Nothing that a feed contains can steer the terminal.
"""

import json
import re
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, tzinfo
from typing import Any

import typer
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from shared.errors import InvalidRequestError, ServiceError
from shared.models import format_time, parse_time

# Exit codes; 0 is success.
FAILED = 1
WRONG_USAGE = 2
# In a table's cell.
NOTHING = "-"
_UNITS = ((86_400, "d"), (3600, "h"), (60, "min"))
_TYPED_UNITS_MS = {"ms": 1, "s": 1000, "m": 60_000, "min": 60_000, "h": 3_600_000, "d": 86_400_000}
_TYPED_SPAN = re.compile(r"([0-9]{1,9})\s*([a-z]+)")
# Fewer of a unit than these are given in the next smaller one.
_FEW = 2
# Beside a first column: a time and a few words.
_LEAST_ROOM = 36
# Columns that break their lines need so much together.
_LEAST_REST = 12
_GAP = 2


def print_text(console: Console, text: str, *, style: str | None = None) -> None:
    """Print text as it is: no markup, no wrapping, and no control characters of a feed's."""
    console.print(Text(_printable(text), style=style or ""), soft_wrap=True)


def print_paragraph(console: Console, text: str) -> None:
    """Print text as ``print_text`` does, but break its lines between words on a terminal."""
    if console.is_terminal:
        console.print(Text(_printable(text)), overflow="fold")
    else:
        print_text(console, text)


def messages() -> Console:
    """Return the console for what is not the command's answer: progress, hints, errors."""
    return Console(stderr=True)


def print_json(console: Console, document: Any) -> None:
    """Print a JSON document, readable, and readable by programs whatever their encoding."""
    print_text(console, json.dumps(document, indent=2, ensure_ascii=True))


def print_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header. A terminal's lines are folded, a file's or a pipe's are not."""
    cells = [[_printable(cell).replace("\n", " ") for cell in row] for row in rows]
    if console.is_terminal:
        console.print(_fold(header, cells))
        return
    lines = [header, *cells]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        print_text(console, "  ".join(padded).rstrip())


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table for a terminal; shown where the first one leaves so many characters.

    One that ``is_whole`` is as wide as its longest cell; the others share what is left, and break
    their lines between words.
    """

    name: str
    from_width: int = 0
    is_whole: bool = False


def print_fitting_table(
    console: Console, columns: Sequence[Column], rows: Sequence[Sequence[str]]
) -> None:
    """Print those columns that a terminal has room for; to a file or a pipe all of them.

    Where the first column or all whole ones leave no room for the others, these stand in a line
    below.
    """
    if not console.is_terminal or not rows:
        print_table(console, [column.name for column in columns], rows)
        return
    room = console.width - max(len(row[0]) for row in rows)
    shown = [n for n, column in enumerate(columns) if column.from_width <= room or not n]
    whole = sum(_width(columns[n], n, rows) for n in shown if columns[n].is_whole)
    if room < _LEAST_ROOM or console.width - whole < _LEAST_REST:
        for row in rows:
            console.print(_cell(row[0]), soft_wrap=True)
            below = (f"{columns[n].name} {_cell(row[n]).plain}" for n in shown[1:])
            console.print(Padding(Text(", ".join(below)), (0, 0, 0, 2)))
        return
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0))
    for n in shown:
        table.add_column(columns[n].name, no_wrap=columns[n].is_whole, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(row[n]) for n in shown))
    console.print(table)


def _width(column: Column, n: int, rows: Sequence[Sequence[str]]) -> int:
    """Return how wide a column is that is whole, with the gap behind it."""
    return max(len(column.name), *(len(row[n]) for row in rows)) + _GAP


def _cell(text: str) -> Text:
    return Text(_printable(text).replace("\n", " "))


def print_entry(console: Console, title: str, lines: Sequence[str]) -> None:
    """Print a title and what belongs to it, indented. Only a word longer than a line is broken."""
    console.print(Text(_printable(title), style="bold"), overflow="fold")
    for line in lines:
        console.print(Padding(_cell(line), (0, 0, 0, 2)), overflow="fold")


def _fold(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)


def act_on_each(
    names: Sequence[str], act: Callable[[str], object], *, done: str, kind: str, as_json: bool
) -> None:
    """Call ``act`` with each name once, and report which it worked for; exits with 1 if one failed.

    ``done`` is what has happened to them then ("removed"), ``kind`` what a name is ("source").
    """
    succeeded: list[str] = []
    errors: list[dict[str, str]] = []
    for name in dict.fromkeys(names):
        try:
            act(name)
            succeeded.append(name)
        except ServiceError as exc:
            errors.append({kind: name, "error": str(exc)})
    if as_json:
        print_json(Console(), {done: succeeded, "errors": errors})
    for name in [] if as_json else succeeded:
        print_text(Console(), f"{name}: {done}")
    for each in errors:
        print_text(messages(), f"feedmill: {each[kind]}: {each['error']}", style="red")
    if errors:
        sys.exit(FAILED)


def confirm(question: str, *, is_sure: bool, refusal: str | None = None) -> None:
    """Ask on a terminal, unless the caller is sure; a no exits with 1.

    Raises:
        InvalidRequestError: there is no terminal, and ``refusal`` says what that needs.
    """
    if not is_sure and refusal is not None and not sys.stdin.isatty():
        raise InvalidRequestError(refusal)
    if not is_sure and sys.stdin.isatty():
        typer.confirm(question, abort=True, err=True)


def describe_time(text: str, now: datetime, zone: tzinfo | None = None) -> str:
    """Return an RFC 3339 time in the viewer's zone, and how far off it is: ``… (in 12 min)``.

    ``zone`` None is the zone of this machine.
    """
    time = parse_time(text)
    local = time.astimezone(zone).strftime("%Y-%m-%d %H:%M")
    return f"{local} ({describe_distance(time, now)})"


def show_position(position: str | int, now: datetime) -> str:
    """Return where an interval begins or ends: a time as ``describe_time`` has it, or a page."""
    return f"page {position}" if isinstance(position, int) else describe_time(position, now)


def describe_distance(time: datetime, now: datetime) -> str:
    """Return ``in 12 min``, ``12 min ago`` or ``now``."""
    seconds = round((time - now).total_seconds())
    if seconds == 0:
        return "now"
    span = describe_span(abs(seconds))
    return f"in {span}" if seconds > 0 else f"{span} ago"


def describe_span(seconds: int) -> str:
    """Return a span in its largest sensible unit, rounded: ``90 s``, ``12 min``, ``36 h``."""
    for size, unit in _UNITS:
        if seconds >= size * _FEW:
            return f"{round(seconds / size)} {unit}"
    return f"{seconds} s"


def describe_interval(seconds: int) -> str:
    """Return a span exactly, in the largest unit that it is a multiple of: ``1 h``, ``90 min``."""
    for size, unit in _UNITS:
        if seconds % size == 0:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def parse_span_ms(text: str) -> int:
    """Return a span that a person typed, as ``90s``, ``15m``, ``1h`` or ``7d``, in milliseconds.

    Raises:
        InvalidRequestError: it is none.
    """
    typed = _TYPED_SPAN.fullmatch(text.strip().lower())
    if typed is None or typed[2] not in _TYPED_UNITS_MS:
        raise InvalidRequestError(f"{text!r} is not a duration: write 90s, 15m, 1h or 7d")
    return int(typed[1]) * _TYPED_UNITS_MS[typed[2]]


def read_moment(text: str, option: str) -> str:
    """Return a time that a person typed as RFC 3339; a day is its midnight, UTC where no zone is.

    Raises:
        InvalidRequestError: it is none.
    """
    try:
        return format_time(parse_time(text.strip()))
    except ValueError as exc:
        raise InvalidRequestError(
            f"{option} {text!r} is not a time: write 2026-11-01 or 2026-11-01T12:00:00Z"
        ) from exc
