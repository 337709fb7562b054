"""The markup of a damaged piece of XML, token by token; what is no markup is told apart."""

import re
from dataclasses import dataclass

from server.parsing.start_tags import START_TAG, is_empty
from shared.errors import ItemError

# A piece with more markup or more faults is not worth mending.
MAX_TOKENS = 20_000
MAX_BARE = 500

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


def read_tokens(text: str) -> list[Token]:
    """Return the tokens of a piece in order; what stands between them is text.

    Raises:
        ItemError: ``unreadable``, for more markup than an item has.
    """
    tokens: list[Token] = []
    bare = position = 0
    while (opening := _OPENING.search(text, position)) is not None:
        token = _read_token(text, opening, tokens)
        tokens.append(token)
        bare += token.kind == "bare"
        if bare > MAX_BARE or len(tokens) > MAX_TOKENS:
            raise ItemError("unreadable", "the item is damaged in too many places")
        position = token.end
    return tokens


def _read_token(text: str, opening: re.Match[str], before: list[Token]) -> Token:
    kind, start = opening[0].upper(), opening.start()
    if kind == "<![CDATA[":
        return _read_cdata(text, opening, before)
    if kind in ("<!--", "<?"):
        closing = "-->" if kind == "<!--" else "?>"
        end = text.find(closing, opening.end())
        return Token("nothing", start, opening.end() if end < 0 else end + len(closing))
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


def _read_cdata(text: str, opening: re.Match[str], before: list[Token]) -> Token:
    """Return CDATA to its end: the outer one's if it is nested, its element's if unclosed."""
    start = opening.end()
    parent = before[-1].name if before and before[-1].kind == "start" else ""
    element_end = _find_end_tag(text, parent, start)
    end = text.find("]]>", start)
    if end < 0 or (element_end < end and _opens_again(text, element_end, end)):
        content = text[start:element_end] if parent else ""
        return Token("cdata", opening.start(), start + len(content), text=content, is_faulty=True)
    if "<![CDATA[" not in text[start:end]:
        return Token("cdata", opening.start(), end + 3, text=text[start:end])
    last = text.rfind("]]>", start, element_end if element_end < len(text) else end + 3)
    last = max(last, end)
    content = text[start:last].replace("<![CDATA[", "").replace("]]>", "")
    return Token("cdata", opening.start(), last + 3, text=content, is_faulty=True)


def _opens_again(text: str, start: int, end: int) -> bool:
    return text.find("<![CDATA[", start, end) >= 0


def _find_end_tag(text: str, name: str, start: int) -> int:
    if not name:
        return len(text)
    found = re.compile(rf"</{re.escape(name)}\s*>", re.IGNORECASE).search(text, start)
    return found.start() if found is not None else len(text)
