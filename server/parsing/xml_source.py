"""XML as text, made ready for the strict reader: small faults repaired, start tags read.

A repaired document is read by the same strict reader as a sound one, so that a feed which
alternates between valid and invalid gives the same items, hashes and ids.
"""

import re
from html.entities import html5

from server.parsing.xml_tree import USUAL_ADDRESSES
from shared.error_kinds import ErrorKind
from shared.errors import ParseError

# Where `&` and stray characters mean what they say, or nothing at all.
_VERBATIM = re.compile(r"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)|<\?.*?(?:\?>|\Z)", re.DOTALL)
_AMPERSAND = re.compile(r"&(?:#(?P<decimal>\d+);|#[xX](?P<hex>[0-9a-fA-F]+);|(?P<name>\w+);|)")
_NOT_XML = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_UNFINISHED_END = re.compile(r"</((?:\w+:)?(?:rss|feed|rdf))\s*\Z", re.IGNORECASE)
# A character beyond the first 65,536 written as the two halves of UTF-16, as some systems write
# an emoji.
_HALVES = re.compile(
    r"&#(?:[xX](?P<high>[dD][89abAB][0-9a-fA-F]{2})|(?P<high10>5[56]\d{3}));"
    r"&#(?:[xX](?P<low>[dD][c-fC-F][0-9a-fA-F]{2})|(?P<low10>5[67]\d{3}));"
)
PREDEFINED = frozenset({"amp", "lt", "gt", "quot", "apos"})
_VERBATIM_OR_ROOT = re.compile(rf"{_VERBATIM.pattern}|(?P<root><[A-Za-z_][\w.:-]*)", re.DOTALL)
_START_TAG = re.compile(r"<(?:[^>\"']|\"[^\"]*\"|'[^']*')*>")
_DECLARED_PREFIX = re.compile(r"\sxmlns:([\w.-]+)\s*=")
# Only plain letters: a wrong guess must not make a declaration that is no XML.
_USED_PREFIX = re.compile(
    r"</?([A-Za-z_][\w.-]*):[A-Za-z_]|[\s\"']([A-Za-z_][\w.-]*):[\w.-]+\s*=", re.ASCII
)
_MARKUP_OF_XML = frozenset({"xml", "xmlns"})
_UNKNOWN_ADDRESS = "urn:undeclared:"
# Each is declared at the root, and looked up for every element.
MAX_PREFIXES = 1000
# Each is looked at; a megabyte of markup, escaped, has some ten thousand.
MAX_REFERENCES = 1_000_000
# A quoted value may hold a `<`, which XML forbids, if it is short and the quote ends it properly.
_QUOTED = (
    r"\"[^\"<]*+\"|'[^'<]*+'"
    r"|\"[^\"]{0,500}\"(?=[\s/>]|\Z)|'[^']{0,500}'(?=[\s/>]|\Z)"
)
START_TAG = re.compile(
    rf"<(?P<name>[^\W\d][\w.-]*(?::[^\W\d][\w.-]*)?)(?P<rest>(?:[^<>\"']++|{_QUOTED}){{0,200}}+)>"
)
_ATTRIBUTE = re.compile(
    rf"(?P<name>[^\s=<>\"'/]+)(?:\s*=(?:\s*(?P<quoted>{_QUOTED})|(?P<plain>(?:[^\s\"'<>/]|/(?!\Z))*)))?"
)
_NAME = re.compile(r"[^\W\d][\w.-]*(?::[^\W\d][\w.-]*)?")
_BLANKS = re.compile(r"[\t\r\n]")
VOID_NAMES = frozenset(
    {
        "area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param",
        "source", "track", "wbr",
    }
)  # fmt: skip
HTML_NAMES = VOID_NAMES | {
    "a", "abbr", "acronym", "address", "article", "aside", "audio", "b", "bdi", "bdo", "big",
    "blockquote", "body", "button", "canvas", "caption", "center", "cite", "code", "colgroup",
    "data", "datalist", "dd", "del", "details", "dfn", "dialog", "dir", "div", "dl", "dt", "em",
    "fieldset", "figcaption", "figure", "font", "footer", "form", "frame", "frameset", "h1", "h2",
    "h3", "h4", "h5", "h6", "head", "header", "hgroup", "html", "i", "iframe", "ins", "kbd",
    "label", "legend", "li", "main", "map", "mark", "marquee", "menu", "meter", "nav", "nobr",
    "noscript", "object", "ol", "optgroup", "option", "output", "p", "picture", "pre", "progress",
    "q", "rp", "rt", "ruby", "s", "samp", "script", "search", "section", "select", "slot", "small",
    "span", "strike", "strong", "style", "sub", "summary", "sup", "svg", "table", "tbody", "td",
    "template", "textarea", "tfoot", "th", "thead", "time", "title", "tr", "tt", "u", "ul", "var",
    "video",
}  # fmt: skip


def repair_document(text: str) -> str:
    """Return ``text`` with its references, characters and namespace prefixes repaired.

    Bare ampersands are escaped, HTML's entities written out, references and characters that XML
    forbids left out, undeclared prefixes declared, the root's last bracket added. A sound document
    comes back with equal meaning.

    Raises:
        ParseError: ``refused``, for more undeclared prefixes or references than any feed has.
    """
    if text.count("&") > MAX_REFERENCES:
        reason = f"the document is ill-formed and has more than {MAX_REFERENCES} references"
        raise ParseError(ErrorKind.REFUSED, reason)
    text = _NOT_XML.sub("", text)
    text = _UNFINISHED_END.sub(r"</\1>", text)
    return _declare_prefixes(_repair_references(text))


def _repair_references(text: str) -> str:
    pieces = []
    position = 0
    for verbatim in _VERBATIM.finditer(text):
        pieces.append(_repair_plain(text[position : verbatim.start()]))
        pieces.append(verbatim[0])
        position = verbatim.end()
    pieces.append(_repair_plain(text[position:]))
    return "".join(pieces)


def _repair_plain(text: str) -> str:
    return _AMPERSAND.sub(_repair_reference, _HALVES.sub(_join_halves, text))


def _join_halves(match: re.Match[str]) -> str:
    high = int(match["high"], 16) if match["high"] else int(match["high10"])
    low = int(match["low"], 16) if match["low"] else int(match["low10"])
    if not (0xD800 <= high < 0xDC00 <= low < 0xE000):
        return match[0]
    return f"&#{0x10000 + ((high - 0xD800) << 10) + (low - 0xDC00)};"


def _repair_reference(match: re.Match[str]) -> str:
    reference = match[0]
    if match["name"]:
        if match["name"] in PREDEFINED:
            return reference
        return _escape(html5.get(f"{match['name']};", reference))
    digits = match["decimal"] or match["hex"]
    if digits is None:
        return "&amp;"
    # A number of thousands of digits is not worth converting: no character has more than seven.
    if len(digits.lstrip("0")) > 7:
        return ""
    code = int(digits, 10 if match["decimal"] else 16)
    return f"&#{code};" if _is_xml_character(code) else ""


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _is_xml_character(code: int) -> bool:
    return (
        code in (9, 10, 13)
        or 0x20 <= code <= 0xD7FF
        or 0xE000 <= code <= 0xFFFD
        or (0x10000 <= code <= 0x10FFFF)
    )


def _declare_prefixes(text: str) -> str:
    root = find_root(text)
    if root is None:
        return text
    start_tag = _START_TAG.match(text, root.start())
    declared = set(_DECLARED_PREFIX.findall(start_tag[0] if start_tag else ""))
    used = {first or second for first, second in _USED_PREFIX.findall(text)}
    missing = sorted(used - declared - _MARKUP_OF_XML)
    if len(missing) > MAX_PREFIXES:
        raise ParseError(
            ErrorKind.REFUSED, f"the document uses more than {MAX_PREFIXES} unknown prefixes"
        )
    declarations = "".join(
        f' xmlns:{prefix}="{USUAL_ADDRESSES.get(prefix.lower(), _UNKNOWN_ADDRESS + prefix)}"'
        for prefix in missing
    )
    return text[: root.end()] + declarations + text[root.end() :]


def find_root(text: str) -> re.Match[str] | None:
    """Return where the first start tag begins, outside comments, CDATA and instructions."""
    # Both in one search: the root, far behind, would be looked for from the end of each.
    found = _VERBATIM_OR_ROOT.finditer(text)
    return next((match for match in found if match["root"] is not None), None)


def is_empty(tag: re.Match[str]) -> bool:
    """Return whether a start tag is that of an element without content."""
    return tag["rest"].endswith("/")


def read_attributes(tag: re.Match[str]) -> dict[str, str]:
    """Return the attributes as written, references included; of two with one name the first.

    Those without a value have an empty one; names that XML does not know are left out.
    """
    attributes: dict[str, str] = {}
    for attribute in _ATTRIBUTE.finditer(tag["rest"].removesuffix("/")):
        if _NAME.fullmatch(attribute["name"]):
            value = (attribute["quoted"] or "")[1:-1] or attribute["plain"] or ""
            attributes.setdefault(attribute["name"], _clean(value))
    return attributes


def write_start_tag(tag: re.Match[str]) -> str:
    """Return the tag as XML, in one line and with equal meaning."""
    attributes = "".join(f' {name}="{value}"' for name, value in read_attributes(tag).items())
    return f"<{tag['name']}{attributes}{'/' if is_empty(tag) else ''}>"


def _clean(value: str) -> str:
    return _BLANKS.sub(" ", value).replace("<", "&lt;").replace('"', "&quot;")
