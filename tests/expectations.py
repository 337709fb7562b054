"""feedparser's expectations of its own test inputs, read and judged against what we parsed.

Each file carries a Python expression over feedparser's result in a comment. Its parts that are
about ids, links, titles and dates are evaluated here, node by node, over a view of our result in
feedparser's shape. Nothing of a file is ever executed.
"""

import ast
import operator
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from html import escape
from typing import Any

from server.parsing import ParsedEntry, ParsedFeed
from server.parsing.detection import decode_document
from shared.models import HTML, FeedItem
from shared.plain_text import to_plain_text

# The keys that make a part of an expectation one about ids, links, titles or dates.
_DATES = ("published", "updated", "created", "expired", "issued", "modified", "date")
SUBJECTS = frozenset(
    {"id", "guid", "guidislink", "link", "links", "enclosures", "title", "title_detail"}
    | set(_DATES)
    | {f"{name}_parsed" for name in _DATES}
)
_EXPECTATION = re.compile(r"Expect:\s*(.*?)\s*(?:-->|\n)")
_COMPARISONS: Mapping[type[ast.cmpop], Callable[[Any, Any], Any]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Is: operator.is_,
    ast.In: lambda item, container: item in container,
    ast.NotIn: lambda item, container: item not in container,
}
_CALLS: Mapping[str, Callable[..., Any]] = {
    "len": len,
    "get": lambda mapping, key: mapping.get(key),
    "has_key": lambda mapping, key: key in mapping,
}


class WrittenDate:
    """A moment of ours, equal to a date as a feed writes it when both name the same second."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, moment: datetime) -> None:
        self._moment = moment.replace(microsecond=0)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, str) and _read_date(other) == self._moment


class ShownTitle:
    """A title of ours as plain text, equal to HTML and to text that shows the same."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, text: str) -> None:
        self._text = text

    def __eq__(self, other: object) -> bool:
        if isinstance(other, ShownTitle):
            return other._text == self._text
        if not isinstance(other, str):
            return False
        return other == self._text or to_plain_text(other) == to_plain_text(escape(self._text))

    def __contains__(self, part: str) -> bool:
        return part in self._text


class _Addressed(dict[str, str]):
    """A link whose address has two names, one of which is no key of its own."""

    def __missing__(self, key: str) -> str:
        if key == "url":
            return self["href"]
        raise KeyError(key)


def read_clauses(body: bytes) -> list[ast.expr]:
    """Return those parts of a file's expectation that are about ids, links, titles or dates.

    Raises:
        ValueError: the file carries no expectation.
    """
    found = _EXPECTATION.search(decode_document(body, None)[0])
    if found is None:
        raise ValueError("the file carries no expectation")
    return [clause for clause in _split(ast.parse(found[1], mode="eval").body) if _is_ours(clause)]


def holds(clause: ast.expr, view: Mapping[str, Any]) -> bool:
    """Return whether a part of an expectation is true of a view; what the view lacks is false."""
    try:
        return bool(_evaluate(clause, view))
    except (KeyError, IndexError):
        return False


def view_feed(feed: ParsedFeed | None) -> dict[str, Any]:
    """Return our result, or that there is none, in the shape of feedparser's."""
    if feed is None:
        return {"bozo": True, "entries": [], "feed": {}}
    return {
        "bozo": any(warning.startswith("not well-formed") for warning in feed.warnings),
        "entries": [_view_entry(entry) for entry in feed.entries],
        "feed": _present(_view_title(feed.title)),
    }


def _view_entry(entry: ParsedEntry) -> dict[str, Any]:
    item = entry.item
    identity = item.guid if entry.guid_rung == "guid" else None
    is_link = identity is not None and not entry.written_link and item.link is not None
    enclosures = [
        _Addressed(_present({"href": file.url, "type": file.type, "length": _digits(file.length)}))
        for file in item.enclosures
    ]
    return _present(
        {
            "id": identity,
            "guid": identity,
            "guidislink": is_link,
            "link": item.link,
            "links": [*_view_links(entry), *({**file, "rel": "enclosure"} for file in enclosures)],
            "enclosures": enclosures or None,
            **_view_title(shown_title(item)),
            **_view_dates(entry),
        }
    )


def _view_links(entry: ParsedEntry) -> Iterator[dict[str, str]]:
    if entry.item.link is not None:
        yield {"rel": "alternate", "href": entry.item.link}
    for field in entry.item.extra:
        if field.name == "link":
            yield {"rel": "alternate", "href": field.value, **field.attributes}


def _view_dates(entry: ParsedEntry) -> dict[str, Any]:
    published, updated = entry.item.published_at, entry.item.updated_at
    dates: dict[str, Any] = {}
    for name, moment in (("published", published), ("created", published), ("updated", updated)):
        if moment is not None:
            dates[name] = WrittenDate(moment)
            dates[f"{name}_parsed"] = tuple(moment.utctimetuple())
    for field in entry.item.extra:
        if field.name == "expirationdate":
            dates["expired"] = field.value
    return dates


def _digits(length: int | None) -> str | None:
    return None if length is None else str(length)


def shown_title(item: FeedItem) -> str | None:
    """Return an item's title as its document has it."""
    is_html = item.title is not None and item.formats.get("title") == HTML
    return to_plain_text(item.title or "") if is_html else item.title


def _view_title(title: str | None) -> dict[str, Any]:
    if title is None:
        return {}
    return {"title": ShownTitle(title), "title_detail": {"value": ShownTitle(title)}}


def _present(fields: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _read_date(written: str) -> datetime | None:
    try:
        moment = datetime.fromisoformat(written)
    except ValueError:
        moment = parsedate_to_datetime(written)
    return moment.astimezone(UTC)


def _split(expression: ast.expr) -> Iterator[ast.expr]:
    if isinstance(expression, ast.BoolOp) and isinstance(expression.op, ast.And):
        for value in expression.values:
            yield from _split(value)
    else:
        yield expression


def _is_ours(clause: ast.expr) -> bool:
    nodes = list(ast.walk(clause))
    names = {node.id for node in nodes if isinstance(node, ast.Name)}
    keys = {node.value for node in nodes if isinstance(node, ast.Constant)}
    keys |= {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    return bool(names & {"entries", "feed"}) and not keys.isdisjoint(SUBJECTS)


def _evaluate(node: ast.expr, view: Mapping[str, Any]) -> Any:
    match node:
        case ast.Constant():
            return node.value
        case ast.Name():
            return view[node.id]
        case ast.Tuple():
            return tuple(_evaluate(each, view) for each in node.elts)
        case ast.Dict():
            keys = [_evaluate(key, view) for key in node.keys if key is not None]
            return dict(zip(keys, (_evaluate(each, view) for each in node.values), strict=True))
        case ast.Subscript():
            return _evaluate(node.value, view)[_evaluate(node.slice, view)]
        case ast.Attribute():
            return _evaluate(node.value, view)[node.attr]
        case ast.UnaryOp(op=ast.Not()):
            return not _evaluate(node.operand, view)
        case ast.BinOp(op=ast.Add()):
            return _evaluate(node.left, view) + _evaluate(node.right, view)
        case ast.BoolOp():
            choose = any if isinstance(node.op, ast.Or) else all
            return choose(holds(each, view) for each in node.values)
        case ast.Compare():
            return _compare(node, view)
        case ast.Call():
            return _call(node, view)
    raise NotImplementedError(ast.unparse(node))


def _compare(node: ast.Compare, view: Mapping[str, Any]) -> bool:
    values = [_evaluate(each, view) for each in (node.left, *node.comparators)]
    pairs = zip(node.ops, values, values[1:], strict=False)
    return all(_COMPARISONS[type(sign)](left, right) for sign, left, right in pairs)


def _call(node: ast.Call, view: Mapping[str, Any]) -> Any:
    arguments = [_evaluate(each, view) for each in node.args]
    if isinstance(node.func, ast.Attribute):
        return _CALLS[node.func.attr](_evaluate(node.func.value, view), *arguments)
    assert isinstance(node.func, ast.Name)
    return _CALLS[node.func.id](*arguments)
