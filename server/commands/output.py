"""What commands print: text, tables, JSON. Nothing that a feed says can steer the terminal."""

import json
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text


def say(console: Console, text: str, *, style: str | None = None) -> None:
    """Print text as it is: no markup, no wrapping, and no control characters of a feed's."""
    console.print(Text(_printable(text), style=style or ""), soft_wrap=True)


def messages() -> Console:
    """Return the console for what is not the command's answer: progress, hints, errors."""
    return Console(stderr=True)


def say_json(console: Console, document: Any) -> None:
    """Print a JSON document, readable, and readable by programs whatever their encoding."""
    say(console, json.dumps(document, indent=2, ensure_ascii=True))


def say_table(console: Console, header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print rows under a header. A terminal's lines are folded, a file's or a pipe's are not."""
    cells = [[_printable(cell).replace("\n", " ") for cell in row] for row in rows]
    if console.is_terminal:
        console.print(_fold(header, cells))
        return
    lines = [header, *cells]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for line in lines:
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        say(console, "  ".join(padded).rstrip())


def _fold(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in header:
        table.add_column(name, overflow="fold")
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() or c == "\n" else " " for c in text)
