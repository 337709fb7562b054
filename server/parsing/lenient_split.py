"""Find the items of a damaged document again: where each begins and ends, and the frame around it.

Only the items' own tags are looked at, outside comments and CDATA. A comment or CDATA that was
never closed is known by another one that opens behind the edge of an item, or by no end at all.
"""

import bisect
import re
from dataclasses import dataclass

from server.parsing.parsed import check_items
from server.parsing.xml_source import (
    START_TAG,
    find_root,
    is_empty,
    read_attributes,
    write_start_tag,
)
from server.parsing.xml_tree import ROOT_NAMES, is_core

_EDGE = re.compile(
    r"<(?:(?P<verbatim>!--|!\[CDATA\[)"
    r"|(?P<end>/)(?:(?P<end_prefix>[\w.-]+):)?(?P<end_name>item|entry|channel|rss|feed|rdf)\s*>"
    r"|(?:(?P<prefix>[\w.-]+):)?(?P<name>item|entry|channel)(?=[\s/>]))",
    re.IGNORECASE,
)
_ITEM_EDGE = re.compile(r"</?(?:[\w.-]+:)?(?:item|entry)[\s/>]", re.IGNORECASE)
_LAST_TAG = re.compile(r"<(/?)[^\W\d][^<>]*?(/?)>[^<>]*\Z")
_ENDS = {"<!--": "-->", "<![CDATA[": "]]>"}
_PREFIX = "xmlns:"


@dataclass(frozen=True, slots=True)
class Fragment:
    """One item as it stands in the document: ``text`` from its start tag on, and its line.

    ``end_tag`` is None where it is there; else it is missing, and how it has to be. ``is_cut``
    marks an item in which the document ends. ``frame`` are the start tags around it.
    """

    text: str
    line: int
    frame: str
    frame_end: str
    end_tag: str | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Split:
    """A document taken apart: its items, and what is left of it without them.

    ``rest`` are the pieces around the items, the root and the channel's start tags left out;
    ``frame`` and ``frame_end`` are those tags, repaired. ``is_ended`` tells whether the root's end
    tag was seen.
    """

    frame: str
    frame_end: str
    rest: str
    rest_line: int
    fragments: tuple[Fragment, ...]
    is_ended: bool


@dataclass(frozen=True, slots=True)
class _Edge:
    """A tag of an item (``start``, ``empty``, ``end``) or the end of what is around (``outer``)."""

    kind: str
    start: int
    end: int
    tag: str = ""


@dataclass(frozen=True, slots=True)
class _Span:
    start: int
    end: int
    end_tag: str | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class _Frame:
    root: str
    root_name: str
    root_end: int
    channel: str
    channel_name: str
    channel_start: int
    channel_end: int
    prefixes: frozenset[str]

    def around(self, *, in_channel: bool) -> tuple[str, str]:
        """Return the start tags and the end tags around an item."""
        if in_channel and self.channel:
            return self.root + self.channel, f"</{self.channel_name}></{self.root_name}>"
        return self.root, f"</{self.root_name}>" if self.root else ""


def split_document(text: str) -> Split | None:
    """Take a document without prolog apart; None where its root element is not a feed's.

    Raises:
        ParseError: ``limits``, for too many items.
    """
    frame = _read_frame(text)
    if frame is None:
        return None
    edges = _read_edges(text, frame)
    spans = _item_spans(edges, text)
    check_items(len(spans))
    lines = _Lines(text)
    outer = [edge for edge in edges if edge.kind == "outer"]
    channel_ends = [e.start for e in outer if e.tag == frame.channel_name]
    channel_end = channel_ends[-1] if channel_ends else len(text)
    fragments = []
    for span in spans:
        around = frame.around(in_channel=frame.channel_start < span.start < channel_end)
        piece, line = text[span.start : span.end], lines.line_of(span.start)
        fragments.append(Fragment(piece, line, *around, span.end_tag, span.is_cut))
    around = frame.around(in_channel=True)
    is_ended = any(edge.tag == frame.root_name for edge in outer) or not frame.root
    rest = _rest(text, frame, [(span.start, span.end) for span in spans])
    rest_line = lines.line_of(max(frame.root_end, 0))
    return Split(*around, rest, rest_line, tuple(fragments), is_ended)


def _read_frame(text: str) -> _Frame | None:
    found = find_root(text)
    if found is None:
        return None
    local = found[0].lstrip("<").rpartition(":")[2].lower()
    if local in ("item", "entry"):
        return _Frame("", "", found.start(), "", "", -1, -1, frozenset())
    tag = START_TAG.match(text, found.start())
    if tag is None or local not in ROOT_NAMES or is_empty(tag):
        return None
    prefixes = _core_prefixes(tag)
    channel = _find_channel(text, tag.end()) if local != "channel" else None
    root = (write_start_tag(tag), tag["name"], tag.end())
    if channel is None:
        return _Frame(*root, "", "", -1, -1, prefixes)
    prefixes |= _core_prefixes(channel)
    return _Frame(
        *root, write_start_tag(channel), channel["name"], channel.start(), channel.end(), prefixes
    )


def _core_prefixes(tag: re.Match[str]) -> frozenset[str]:
    """Return the prefixes that a tag uses or declares for RSS or Atom themselves."""
    own = tag["name"].rpartition(":")[0]
    declared = {
        name.removeprefix(_PREFIX)
        for name, address in read_attributes(tag).items()
        if name.startswith(_PREFIX) and is_core(address)
    }
    return frozenset({own, *declared})


def _find_channel(text: str, position: int) -> re.Match[str] | None:
    """Return the channel's start tag, if it stands before the first item."""
    for edge in _Edges(text, position):
        if edge["name"] is not None:
            is_channel = edge["name"].lower() == "channel"
            tag = START_TAG.match(text, edge.start()) if is_channel else None
            return None if tag is None or is_empty(tag) else tag
    return None


class _Edges:
    """The matches of ``_EDGE`` outside comments and CDATA, in order."""

    def __init__(self, text: str, position: int) -> None:
        self._text = text
        self._position = position
        # Where the next end of a comment and of CDATA stands, looked for once.
        self._ends = {"<!--": -1, "<![CDATA[": -1}

    def __iter__(self) -> "_Edges":
        return self

    def __next__(self) -> re.Match[str]:
        while (edge := _EDGE.search(self._text, self._position)) is not None:
            if edge["verbatim"] is None:
                self._position = edge.end()
                return edge
            self._position = self._end_of(edge)
        raise StopIteration

    def _end_of(self, opening: re.Match[str]) -> int:
        """Return the end of a comment or CDATA; of one never closed, the end of its opening."""
        start, text = opening.end(), self._text
        end = self._next_end(opening[0].upper(), start)
        if end == len(text):
            return start
        item = _ITEM_EDGE.search(text, start, end)
        is_unclosed = item is not None and text.find(opening[0], item.end(), end) >= 0
        return start if is_unclosed else end + 3

    def _next_end(self, kind: str, start: int) -> int:
        if self._ends[kind] < start:
            found = self._text.find(_ENDS[kind], start)
            self._ends[kind] = found if found >= 0 else len(self._text)
        return self._ends[kind]


def _read_edges(text: str, frame: _Frame) -> list[_Edge]:
    edges = []
    names = set()
    for match in _Edges(text, frame.root_end):
        is_end = match["end"] is not None
        name = (match["end_name"] if is_end else match["name"]).lower()
        prefix = match["end_prefix"] if is_end else match["prefix"]
        if name in ("item", "entry"):
            if not prefix or prefix in frame.prefixes:
                names.add(name)
                edges.append(_item_edge(text, match, is_end=is_end))
        elif is_end:
            edges.append(_Edge("outer", match.start(), match.end(), match[0][2:-1].strip()))
    main = "entry" if frame.root_name.rpartition(":")[2].lower() == "feed" else "item"
    if main not in names:
        return edges
    # The other name means something else inside the items.
    return [e for e in edges if e.kind == "outer" or e.tag.rpartition(":")[2].lower() == main]


def _item_edge(text: str, match: re.Match[str], *, is_end: bool) -> _Edge:
    if is_end:
        return _Edge("end", match.start(), match.end(), match[0][2:-1].strip())
    tag = START_TAG.match(text, match.start())
    kind = "empty" if tag is not None and is_empty(tag) else "start"
    end = tag.end() if tag is not None else match.end()
    return _Edge(kind, match.start(), end, match[0][1:])


def _item_spans(edges: list[_Edge], text: str) -> list[_Span]:
    stops = _stops(edges, text)
    spans: list[_Span] = []
    position = 0
    while position < len(edges):
        edge = edges[position]
        if edge.kind == "empty":
            spans.append(_Span(edge.start, edge.end))
        elif edge.kind == "start":
            stop = stops.get(position, position + 1)
            spans.append(_span(edge, edges[stop] if stop < len(edges) else None, len(text)))
            is_paired = stop < len(edges) and edges[stop].kind == "end"
            position = stop if is_paired else stop - 1
        position += 1
    return spans


def _span(start: _Edge, stop: _Edge | None, length: int) -> _Span:
    if stop is None:
        return _Span(start.start, length, f"</{start.tag}>", is_cut=True)
    if stop.kind == "end":
        return _Span(start.start, stop.end)
    return _Span(start.start, stop.start, f"</{start.tag}>")


def _stops(edges: list[_Edge], text: str) -> dict[int, int]:
    """Return the edge at which each item ends: its own end, or the start that shows there is none.

    Lists inside an item may have items of their own. One that stands directly in another item, not
    inside one of its elements, shows that the end tag before it is missing.
    """
    stops: dict[int, int] = {}
    open_starts: list[int] = []
    has_inner = has_lists = False
    for position, edge in enumerate(edges):
        if edge.kind == "end" and open_starts:
            stops[open_starts.pop()] = position
            has_lists = has_lists or (has_inner and not open_starts)
            has_inner = bool(open_starts)
        elif edge.kind == "start":
            if open_starts and _stands_directly(text, edges[position - 1], edge):
                stops.update(dict.fromkeys(open_starts, position))
                open_starts.clear()
            open_starts.append(position)
    if open_starts and has_lists:
        stops[open_starts[0]] = _first_outer(edges, open_starts[0])
    return stops


def _first_outer(edges: list[_Edge], position: int) -> int:
    later = range(position, len(edges))
    return next((number for number in later if edges[number].kind == "outer"), len(edges))


def _stands_directly(text: str, before: _Edge, start: _Edge) -> bool:
    """Return whether the last tag before an item's start ends an element."""
    piece = text[max(before.end, start.start - 1000) : start.start]
    if before.kind in ("end", "empty") and not piece.strip():
        return False
    last = _LAST_TAG.search(piece)
    return last is None or bool(last[1] or last[2])


def _rest(text: str, frame: _Frame, spans: list[tuple[int, int]]) -> str:
    cuts = [(frame.channel_start, frame.channel_end)] if frame.channel else []
    pieces = []
    position = frame.root_end if frame.root else len(text)
    for start, end in [*cuts, *spans]:
        pieces.append(text[position:start])
        position = end
    pieces.append(text[position:])
    return "".join(pieces)


class _Lines:
    """Numbers of lines by position, counted once."""

    def __init__(self, text: str) -> None:
        self._breaks = [match.start() for match in re.finditer("\n", text)]

    def line_of(self, position: int) -> int:
        return bisect.bisect_left(self._breaks, position) + 1
