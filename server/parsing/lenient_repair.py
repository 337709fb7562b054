"""Repair one damaged item, or what stands around the items, where only one meaning can be meant.

The result is the source of well-formed XML, read by the strict reader, so that it gives the id and
the hash that the publisher's own correction would give. What may mean several things is left out
and reported so.
"""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from server.parsing.xml_source import (
    HTML_NAMES,
    START_TAG,
    VOID_NAMES,
    is_empty,
    read_attributes,
    write_start_tag,
)
from server.parsing.xml_tree import MAX_DEPTH, TOO_DEEP, USUAL_ADDRESSES
from shared.errors import ItemError

# A piece with more markup or more faults is not worth repairing.
MAX_TOKENS = 20_000
MAX_BARE = 500

_CDATA = "<![CDATA["
_OPENING = re.compile(r"<(?:!--|!\[CDATA\[|\?|/|)", re.IGNORECASE)
_END_TAG = re.compile(r"</([^\W\d][\w.:-]*)[^<>]{0,200}(?:>|(?=<)|\Z)")
_IDENTITIES = frozenset({"guid", "id", "link", "author", "pubdate", "published", "updated"})
_TEXTS = _IDENTITIES | {
    "title", "description", "summary", "content", "subtitle", "tagline", "copyright", "rights",
    "comments", "category", "language", "generator", "content:encoded", "dc:creator", "dc:title",
    "dc:description", "dc:subject", "dc:date", "itunes:summary", "itunes:subtitle",
    "itunes:author", "media:title", "media:description",
}  # fmt: skip
# Elements of feeds that stand in no HTML: one in a text shows that its end tag was lost.
_FEED_ONLY = _IDENTITIES - {"link"} | {"description", "category", "comments", "enclosure", "item",
                                       "entry"}  # fmt: skip
CONTAINERS = frozenset({"author", "contributor", "source", "image", "textinput"})
MAX_STEPS = 2_000_000
_MAX_INNER_DEPTH = MAX_DEPTH - 3  # the item stands in the root and a channel
MAX_LENGTH = 1 << 20


@dataclass(frozen=True, slots=True)
class Token:
    """``kind`` is ``start``, ``empty``, ``end``, ``cdata``, ``bare`` (a ``<`` that opens nothing)
    or ``nothing`` (comments and instructions). ``name`` is in lower case; ``text`` is what CDATA
    holds. ``is_faulty`` marks CDATA that is nested or never closed."""

    kind: str
    start: int
    end: int
    name: str = ""
    tag: re.Match[str] | None = None
    text: str = ""
    is_faulty: bool = False


class Ends:
    """Where the next end of something stands, each looked for once: looking may be long."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._known: dict[str, int] = {}

    def find(self, pattern: str, start: int) -> int:
        """Return where the next match of a pattern begins, the text's length where none is."""
        if self._known.get(pattern, -1) < start:
            found = re.compile(pattern, re.IGNORECASE).search(self._text, start)
            self._known[pattern] = found.start() if found is not None else len(self._text)
        return self._known[pattern]


def read_tokens(text: str) -> list[Token]:
    """Return the tokens of a piece in order; what stands between them is text.

    Raises:
        ItemError: ``unreadable``, for more markup than an item has.
    """
    tokens: list[Token] = []
    ends = Ends(text)
    bare = position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        token = _read_token(text, opening, tokens, ends)
        tokens.append(token)
        bare += token.kind == "bare"
        if bare > MAX_BARE or len(tokens) > MAX_TOKENS:
            raise ItemError("unreadable", "the item is damaged in too many places")
        position = token.end
    return tokens


def _read_token(text: str, opening: re.Match[str], before: list[Token], ends: Ends) -> Token:
    kind, start = opening[0].upper(), opening.start()
    if kind == "<![CDATA[":
        return _read_cdata(text, opening, before, ends)
    if kind in ("<!--", "<?"):
        closing, length = ("-->", 3) if kind == "<!--" else ("[?]>", 2)
        end = ends.find(closing, opening.end())
        return Token("nothing", start, opening.end() if end == len(text) else end + length)
    if kind == "</":
        tag = _END_TAG.match(text, start)
        if tag is not None:
            return Token("end", start, tag.end(), tag[1].lower(), tag)
    else:
        tag = START_TAG.match(text, start)
        if tag is not None:
            kind = "empty" if is_empty(tag) else "start"
            return Token(kind, start, tag.end(), tag["name"].lower(), tag)
    return Token("bare", start, start + 1)


def _read_cdata(text: str, opening: re.Match[str], before: list[Token], ends: Ends) -> Token:
    """Return CDATA to its end: the outer one's if it is nested, its element's if unclosed."""
    start = opening.end()
    parent = before[-1].name if before and before[-1].kind == "start" else ""
    parent_end = ends.find(rf"</{re.escape(parent)}\s*>", start) if parent else len(text)
    end = ends.find("]]>", start)
    if end == len(text) or (parent_end < end and text.find(_CDATA, parent_end, end) >= 0):
        content = text[start:parent_end] if parent else ""
        return Token("cdata", opening.start(), start + len(content), text=content, is_faulty=True)
    if text.find(_CDATA, start, end) < 0:
        return Token("cdata", opening.start(), end + 3, text=text[start:end])
    last = text.rfind("]]>", start, parent_end if parent_end < len(text) else end + 3)
    last = max(last, end)
    content = text[start:last].replace(_CDATA, "").replace("]]>", "")
    return Token("cdata", opening.start(), last + 3, text=content, is_faulty=True)


@dataclass(slots=True)
class Steps:
    """What repairing one document may cost, in tokens looked at."""

    left: int = MAX_STEPS

    def take(self, count: int) -> None:
        """Use some up.

        Raises:
            ItemError: ``unreadable``, when none are left.
        """
        self.left -= count
        if self.left < 0:
            raise ItemError("unreadable", "the document is damaged in too many places")


@dataclass(slots=True)
class Repaired:
    """Well-formed children of an element, what was repaired, and what could not be."""

    pieces: list[str] = field(default_factory=list)
    faults: list[tuple[str, int]] = field(default_factory=list)
    unclear: list[tuple[str, int]] = field(default_factory=list)

    @property
    def source(self) -> str:
        return "".join(self.pieces)

    @property
    def first_fault(self) -> tuple[str, int] | None:
        """The first fault and its position in the piece."""
        return min([*self.unclear, *self.faults], key=lambda fault: fault[1], default=None)


def repair_children(text: str, steps: Steps) -> Repaired:
    """Return the elements that a damaged piece holds, each repaired if that can be done.

    Raises:
        ItemError: ``unreadable``, when the piece is too long or damaged in too many places.
    """
    if len(text) > MAX_LENGTH:
        raise ItemError("unreadable", f"the damaged item is longer than {MAX_LENGTH} characters")
    tokens = read_tokens(text)
    steps.take(len(tokens))
    repairer = _Repairer(text, tokens, steps)
    repairer.repair(0, len(tokens))
    return repairer.repaired


class _Unclear(ItemError):
    """Several things may be meant."""


class _Repairer:
    def __init__(self, text: str, tokens: list[Token], steps: Steps) -> None:
        self._text = text
        self._tokens = tokens
        self._steps = steps
        self._depth = 0
        self.repaired = Repaired()

    def repair(self, first: int, last: int) -> None:
        """Repair the elements among some tokens, which stand side by side."""
        position = first
        while position < last:
            token = self._tokens[position]
            if token.kind == "start":
                position = self._repair_element(position, last)
                continue
            if token.kind == "empty":
                self.repaired.pieces.append(_write(token))
            elif token.kind == "end":
                self._fault(f"</{token.name}> ends nothing", token)
            elif token.kind == "bare":
                self._unclear("a '<' between elements that opens none", token)
            position += 1

    def _repair_element(self, position: int, last: int) -> int:
        """Repair one element; return the token after it."""
        token = self._tokens[position]
        end = self._find_end(position, last)
        if end is None:
            stop, after = self._find_stop(position, last)
            self._fault(f"<{token.name}> is not closed", token)
        else:
            stop, after = end, end + 1
        content_start = token.end
        content_end = self._tokens[stop].start if stop < len(self._tokens) else len(self._text)
        try:
            self._emit_element(position, stop, content_start, content_end)
        except _Unclear as exc:
            self._unclear(str(exc), token)
        return after

    def _emit_element(self, position: int, stop: int, start: int, end: int) -> None:
        token, inner = self._tokens[position], self._tokens[position + 1 : stop]
        self._steps.take(len(inner))
        if self._is_sound(inner):
            content = self._write_all(inner, start, end)
        elif (token.name in _TEXTS - CONTAINERS) or _is_html(inner):
            content = self._repair_text(token, inner, start, end)
        else:
            self._emit_container(token, position + 1, stop)
            return
        self.repaired.pieces.extend([_write(token), content, f"</{_tag_name(token)}>"])

    def _emit_container(self, token: Token, first: int, stop: int) -> None:
        if self._depth + 1 >= _MAX_INNER_DEPTH:
            raise _Unclear("unreadable", TOO_DEEP)
        outer, self.repaired.pieces = self.repaired.pieces, []
        self._depth += 1
        self.repair(first, stop)
        self._depth -= 1
        inner, self.repaired.pieces = self.repaired.pieces, outer
        self.repaired.pieces.extend([_write(token), *inner, f"</{_tag_name(token)}>"])

    def _repair_text(self, token: Token, inner: list[Token], start: int, end: int) -> str:
        names = {part.name for part in inner if part.kind in ("start", "empty", "end")}
        if names & _FEED_ONLY or any(
            name.partition(":")[0] in USUAL_ADDRESSES for name in names if ":" in name
        ):
            raise _Unclear("unreadable", f"the elements inside <{token.name}> are crossed")
        faulty = next((part for part in inner if part.kind != "cdata" or part.is_faulty), token)
        self._fault(_describe(faulty, token), faulty)
        if token.tag is not None and read_attributes(token.tag).get("type") == "xhtml":
            return self._repair_xhtml(token, inner, start, end)
        if token.name in _IDENTITIES:
            return self._pieces(inner, start, end, lambda part: "")
        if names & HTML_NAMES:
            return _cdata(self._verbatim(inner, start, end))
        return self._pieces(inner, start, end, self._escaped)

    def _repair_xhtml(self, token: Token, inner: list[Token], start: int, end: int) -> str:
        tags = [part for part in inner if part.kind in ("start", "end")]
        if not self._is_sound(tag for tag in tags if tag.name.split(":")[-1] not in VOID_NAMES):
            raise _Unclear("unreadable", f"the markup inside <{token.name}> is crossed or too deep")
        return self._pieces(inner, start, end, _write_xhtml)

    def _write_all(self, inner: list[Token], start: int, end: int) -> str:
        for part in inner:
            if part.is_faulty:
                self._fault("CDATA inside CDATA, or never closed", part)
        return self._pieces(inner, start, end, _write)

    def _pieces(
        self, inner: list[Token], start: int, end: int, write: Callable[[Token], str]
    ) -> str:
        pieces = []
        for part in inner:
            pieces.append(self._plain(start, part.start))
            pieces.append(_cdata(part.text) if part.kind == "cdata" else write(part))
            start = part.end
        pieces.append(self._plain(start, end))
        return "".join(pieces)

    def _verbatim(self, inner: list[Token], start: int, end: int) -> str:
        pieces = []
        for part in inner:
            pieces.append(self._text[start : part.start])
            pieces.append(part.text if part.kind == "cdata" else self._source(part))
            start = part.end
        return "".join([*pieces, self._text[start:end]])

    def _plain(self, start: int, end: int) -> str:
        return self._text[start:end].replace("]]>", "]]&gt;")

    def _escaped(self, part: Token) -> str:
        return self._source(part).replace("<", "&lt;").replace(">", "&gt;")

    def _source(self, part: Token) -> str:
        return self._text[part.start : part.end]

    def _find_end(self, position: int, last: int) -> int | None:
        """Return the end tag that belongs to a start tag, None where it is missing."""
        name, depth = self._tokens[position].name, 0
        for number in range(position, last):
            token = self._tokens[number]
            if token.name == name and token.kind in ("start", "end"):
                depth += 1 if token.kind == "start" else -1
                if depth == 0:
                    self._steps.take(number - position)
                    return number
        self._steps.take(last - position)
        return self._first_end(position, last) if name in _TEXTS else None

    def _first_end(self, position: int, last: int) -> int | None:
        """Return the next end tag of a text, if no element of the feed begins before it."""
        name = self._tokens[position].name
        for number in range(position + 1, last):
            token = self._tokens[number]
            if token.kind == "end" and token.name == name:
                return number
            if token.kind in ("start", "empty") and token.name not in HTML_NAMES - _TEXTS:
                return None
        return None

    def _find_stop(self, position: int, last: int) -> tuple[int, int]:
        """Return where an element without end tag ends, and the token to go on with."""
        for number in range(position + 1, last):
            token = self._tokens[number]
            if token.kind in ("start", "empty") and token.name not in HTML_NAMES - _TEXTS:
                return number, number
            if token.kind == "end" and token.name not in HTML_NAMES - _TEXTS:
                return number, number + 1  # a slip in the end tag's name
        return last, last

    def _is_sound(self, inner: Iterable[Token]) -> bool:
        return _nests_well(inner, _MAX_INNER_DEPTH - self._depth - 1)

    def _fault(self, what: str, token: Token) -> None:
        self.repaired.faults.append((what, token.start))

    def _unclear(self, what: str, token: Token) -> None:
        self.repaired.unclear.append((what, token.start))


def _nests_well(tokens: Iterable[Token], max_depth: int) -> bool:
    """Return whether the tags among some tokens are well nested, and no deeper than may be."""
    names: list[str] = []
    deepest = 0
    for token in tokens:
        if token.kind == "start":
            names.append(token.name)
            deepest = max(deepest, len(names))
        elif token.kind == "bare" or (
            token.kind == "end" and token.name != (names.pop() if names else None)
        ):
            return False
    return not names and deepest <= max_depth


def _is_html(tokens: list[Token]) -> bool:
    return all(token.name in HTML_NAMES for token in tokens if token.kind in ("start", "empty"))


def _describe(fault: Token, parent: Token) -> str:
    if fault.kind == "bare":
        return f"a bare '<' in <{parent.name}>"
    if fault.kind == "cdata":
        return "CDATA inside CDATA, or never closed"
    slash = "/" if fault.kind == "end" else ""
    return f"<{slash}{fault.name}> in <{parent.name}>"


def _tag_name(token: Token) -> str:
    return token.tag["name"] if token.tag is not None else token.name


def _write(token: Token) -> str:
    if token.tag is None or token.kind == "nothing":
        return ""
    return f"</{token.tag[1]}>" if token.kind == "end" else write_start_tag(token.tag)


def _write_xhtml(token: Token) -> str:
    if token.kind == "bare":
        return "&lt;"
    if token.name.rpartition(":")[2] not in VOID_NAMES:
        return _write(token)
    written = _write(token)
    if token.kind == "start":
        return written[:-1] + "/>"
    return written if token.kind == "empty" else ""


def _cdata(text: str) -> str:
    return "<![CDATA[" + text.replace("]]>", "]]]]><![CDATA[>") + "]]>"
