"""How values look on a page: numbers, sizes, spans of time. Pure."""

import re
from datetime import UTC, datetime, timedelta
from urllib.parse import quote

import orjson
from starlette.datastructures import URL

from server.api.values import show_value
from server.feeds import schedules
from shared.models import parse_time

# Zero-width characters and those that change the direction of what follows.
_UNSEEN = re.compile("[\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff]")
_SIZES = ("B", "KB", "MB", "GB", "TB")


def show_count(number: float | None) -> str:
    """Return a number with thin groups: ``12 345``; a dash for none."""
    if number is None:
        return "–"
    text = f"{number:,}" if isinstance(number, int) else f"{number:,.1f}"
    return text.replace(",", "\u202f")


def show_rate(per_s: float) -> str:
    """Return a number a second, as exact as it matters: ``0``, ``0.4``, ``98``."""
    return show_count(round(per_s) if per_s >= 10 or per_s == round(per_s) else per_s)


def show_bytes(size: float | None) -> str:
    """Return a size: ``1.5 MB``."""
    if size is None:
        return "–"
    for unit in _SIZES:
        if size < 1000 or unit == _SIZES[-1]:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return ""


def show_duration(seconds: float | None) -> str:
    """Return a span of time in its two largest units: ``3 min 20 s``."""
    if seconds is None:
        return "–"
    if seconds == 0:
        return "0 s"
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    if seconds < 10:
        return f"{seconds:.1f} s".replace(".0 ", " ")
    return schedules.show_duration(timedelta(seconds=seconds))


def show_sentence(text: str) -> str:
    """Return a text with a capital at its beginning: errors and limits have none."""
    return text[:1].upper() + text[1:]


def read_moment(moment: datetime | str | None) -> datetime | None:
    """Return a time of the store, or one that the API shows as text, aware and in UTC.

    None without one, and for what another program has stored in the place of one.
    """
    if isinstance(moment, str):
        try:
            return parse_time(moment)
        except ValueError:
            return None
    if not isinstance(moment, datetime):
        return None
    return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)


def show_moment(moment: datetime | str | None) -> str:
    """Return a time as people write it, in UTC; the page's script turns it into their zone."""
    read = read_moment(moment)
    return "–" if read is None else f"{read:%Y-%m-%d %H:%M:%S} UTC"


def show_span(start: datetime | str | None, end: datetime | str | None) -> str:
    """Return how long something took; a dash while an end is missing."""
    first, last = read_moment(start), read_moment(end)
    return "–" if first is None or last is None else show_duration((last - first).total_seconds())


def show_document(value: object) -> str:
    """Return a stored value as indented JSON, or as it is where it is text.

    What is invisible, or turns the line around, is shown by its number: ``\\u202e``.
    """
    text = value if isinstance(value, str) else _indent(value)
    return _UNSEEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _indent(value: object) -> str:
    try:
        return orjson.dumps(show_value(value), option=orjson.OPT_INDENT_2).decode()
    except (TypeError, RecursionError):
        return "(It is nested too deep to be shown here; the API has it.)"


def safe_link(url: object) -> str | None:
    """Return a link of feed text if following it runs nothing: http and https only."""
    text = str(url).strip()
    return text if text.lower().startswith(("http://", "https://")) else None


def quote_segment(text: object) -> str:
    """Return text as one segment of a path, or a value in a query, whatever it holds."""
    return quote(str(text), safe="")


def own_url(url: URL) -> str:
    """Return a request's URL without its host, as links within this site are written.

    Its path is quoted anew: that of a request is decoded, and may hold the ``#`` or ``?`` of an id.
    """
    path = quote(url.path)
    return f"{path}?{url.query}" if url.query else path
