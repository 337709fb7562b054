"""The markup of a damaged piece of XML, token by token; what is no markup is told apart."""

import re
from dataclasses import dataclass

from server.parsing.start_tags import START_TAG, is_empty
from shared.errors import ItemError

# A piece with more markup or more faults is not worth mending.
MAX_TOKENS = 20_000
MAX_BARE = 500

_CDATA = "<![CDATA["
_OPENING = re.compile(r"<(?:!--|!\[CDATA\[|\?|/|)", re.IGNORECASE)
_END_TAG = re.compile(r"</([^\W\d][\w.:-]*)[^<>]{0,200}(?:>|(?=<)|\Z)")


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


class _Ends:
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
    ends = _Ends(text)
    bare = position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        token = _read_token(text, opening, tokens, ends)
        tokens.append(token)
        bare += token.kind == "bare"
        if bare > MAX_BARE or len(tokens) > MAX_TOKENS:
            raise ItemError("unreadable", "the item is damaged in too many places")
        position = token.end
    return tokens


def _read_token(text: str, opening: re.Match[str], before: list[Token], ends: _Ends) -> Token:
    kind, start = opening[0].upper(), opening.start()
    if kind == "<![CDATA[":
        return _read_cdata(text, opening, before, ends)
    if kind in ("<!--", "<?"):
        closing = "-->" if kind == "<!--" else "[?]>"
        end = ends.find(closing, opening.end())
        length = 3 if kind == "<!--" else 2
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


def _read_cdata(text: str, opening: re.Match[str], before: list[Token], ends: _Ends) -> Token:
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
