"""OPML that is no XML: its outlines are read one by one, so that a fault costs one. Pure."""

import codecs
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from html import unescape

_DECLARED = re.compile(rb"<\?xml[^<>]*?encoding\s*=\s*[\"']([\w.-]{1,40})[\"']")
_ROOT = re.compile(r"<opml[\s>/]", re.IGNORECASE)
_HIDDEN = re.compile(r"<!--.*?(?:-->|\Z)|<!\[CDATA\[.*?(?:\]\]>|\Z)", re.DOTALL)
_OUTLINE = re.compile(r"<outline(?=[\s/>])", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"""\s+([\w:.-]+)\s*=\s*(?:"([^"<]*)"|'([^'<]*)'|([^\s"'<>]+))""")
# With its semicolon only: "&copy=1" is a parameter of an address.
_REFERENCE = re.compile(r"&#?\w{1,40};")
_TAG_END = re.compile(r"\s*/?>")
# What stands between a tag and its end is shown to nobody, so long ones are not looked through.
_LONGEST_TAG = 20_000


@dataclass(frozen=True, slots=True)
class RawOutline:
    """An outline by its line; ``attributes`` is None where they cannot be told apart."""

    line: int
    attributes: Mapping[str, str] | None


def find_outlines(document: bytes) -> Iterator[RawOutline] | None:
    """Return the outlines of a damaged document, in order; None where it is no OPML at all.

    Entities that it declares are not looked at: whoever calls refuses such a document before.
    """
    text = _decode(document)
    if text is None or not _ROOT.search(text[:_LONGEST_TAG]):
        return None
    return _scan(_HIDDEN.sub(lambda found: "\n" * found[0].count("\n"), text))


def _scan(text: str) -> Iterator[RawOutline]:
    line, counted_to = 1, 0
    for found in _OUTLINE.finditer(text):
        line += text.count("\n", counted_to, found.start())
        counted_to = found.start()
        yield RawOutline(line, _read_attributes(text[found.end() : found.end() + _LONGEST_TAG]))


def _read_attributes(text: str) -> dict[str, str] | None:
    attributes: dict[str, str] = {}
    at = 0
    while (found := _ATTRIBUTE.match(text, at)) is not None:
        value = next((group for group in found.groups()[1:] if group is not None), "")
        # The first of two with one name counts, as in HTML; a bare "&" stays what it is.
        attributes.setdefault(found[1], _REFERENCE.sub(lambda each: unescape(each[0]), value))
        at = found.end()
    return attributes if _TAG_END.match(text, at) else None


def _decode(document: bytes) -> str | None:
    """Return a document's text; None for an encoding that nobody knows."""
    for mark, name in ((codecs.BOM_UTF16_LE, "utf-16"), (codecs.BOM_UTF16_BE, "utf-16")):
        if document.startswith(mark):
            return document.decode(name, "replace")
    declared = _DECLARED.search(document[:200])
    try:
        return document.decode("utf-8-sig")
    except UnicodeDecodeError:
        name = declared[1].decode("ascii") if declared is not None else "windows-1252"
    try:
        return document.decode(name, "replace")
    except LookupError:
        return None
