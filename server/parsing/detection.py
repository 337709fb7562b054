"""What a document is, before it is parsed: its text, and whether it is JSON, XML or a page.

What is UTF-8 is read so; else by byte order mark, HTTP's charset, declaration. Servers add a
charset to all that they send, and templates keep the declaration of another time. But text in
another encoding is hardly ever valid UTF-8 as soon as it leaves ASCII.
"""

import codecs
import re
from collections.abc import Iterator
from functools import lru_cache

from server.parsing.charsets import WIDER, WIDER_OR_REPLACED, find_codec
from shared.error_kinds import ErrorKind
from shared.errors import ParseError

_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# How a document begins in the wide encodings when there is no mark.
_WIDE_STARTS = tuple(
    (first.encode(name), name)
    for name in ("utf-32-le", "utf-32-be", "utf-16-le", "utf-16-be")
    for first in "<{["
)
# In UTF-8 with a few wrong bytes at least so many sound characters stand beside each of them.
_SOUND_PER_WRONG = 4
_MANY_SINGLE_BYTES = 80
_CHARSET = re.compile(r"charset\s*=\s*[\"']?([\w.:-]+)", re.IGNORECASE)
_DECLARATION = re.compile(rb"^\s*<\?xml[^>]*?encoding\s*=\s*[\"']([\w.:-]+)[\"']")
_LONGEST_DECLARATION = 512
_WESTERN_BYTES = "feedmill.western_bytes"

# The characters that windows-1252 has where ISO 8859-1 has control codes: publishers write the
# codes and mean the characters.
C1_MEANT = {code: bytes([code]).decode("cp1252", "ignore") or None for code in range(0x80, 0xA0)}
_C1 = re.compile("[\x80-\x9f]")
_BLANKS = "".join(char for char in map(chr, range(0x3001)) if char.isspace() and char != "\x85")
# Words that only the pages of bot shields carry. A page with one says nothing about the feed.
_CHALLENGE_WORDS = (
    "_incapsula_resource",
    "incapsula incident",
    "cf-chl-",
    "cf_chl_",
    # Not "/scripts/jsd/", which Cloudflare puts into ordinary pages.
    "challenge-platform/h/",
    "just a moment...",
    "attention required! | cloudflare",
    "ddos-guard",
    "sucuri website firewall",
    "captcha-delivery.com",
    "px-captcha",
    "awswafintegration",
    "akamai reference",
    "verify you are human",
    "checking your browser",
)
_PAGE = re.compile(r"<!doctype\s+html|<html\b")
_LATE_DECLARATION = re.compile(r"(?<!\A)<\?xml\s")
_HTML = re.compile(
    rf"{_PAGE.pattern}"
    r"|\A\s*<(?:head|body|title|script|meta|link|style|div|p|h[1-6]|table|center)\b"
)
_ROOT = re.compile(r"<(?:[\w.-]+:)?(?:rss|feed|rdf|channel)\b", re.IGNORECASE)
_HEAD_LENGTH = 4096
_PAGE_LENGTH = 65536


def decode_document(body: bytes, content_type: str | None) -> tuple[str, str | None]:
    """Return the text of a document and a warning, if its encoding had to be guessed or fixed.

    Bytes that are valid UTF-8 and more than ASCII are UTF-8, whatever header and declaration say.
    Never fails: bytes that fit nothing else are read as windows-1252, each for itself, so that one
    wrong byte changes nothing around it. The byte order mark, leading blanks and NUL characters
    are left out.
    """
    names = list(_candidates(body, content_type))
    declared = names[0]
    if _is_utf8(body):
        names.insert(0, "utf-8")
    elif _is_nearly_utf8(body, declared):
        text = _trim(body.decode("utf-8", _WESTERN_BYTES))
        return text, f"encoding is utf-8, not {declared}; wrong bytes were read as windows-1252"
    for name in names:
        decoded = _decode(body, name)
        if decoded is not None:
            return _trim(decoded), _warn_of_other(name, declared)
    fixed = _replace_few(body, declared)
    if fixed is not None:
        return _trim(fixed), f"bytes that are not {declared} were replaced"
    text = _trim(body.decode("utf-8", _WESTERN_BYTES))
    return text, f"bytes that are not {declared} were read as windows-1252"


def _is_utf8(body: bytes) -> bool:
    """Return whether the bytes are UTF-8 and say so by characters beyond ASCII.

    ASCII alone says nothing: the encodings of seven bits, ISO-2022-JP and HZ, look like it.
    """
    if body.isascii() or b"\x00" in body[:4]:
        return False
    try:
        body.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


def _is_nearly_utf8(body: bytes, declared: str) -> bool:
    """Return whether bytes are UTF-8 but for a few, although one byte a character is declared."""
    codec = find_codec(declared) if not body.isascii() else None
    if codec is None or not _has_single_bytes(codec):
        return False
    beyond_ascii = [char for char in body.decode("utf-8", "surrogateescape") if char > "\x7f"]
    wrong = sum("\udc80" <= char <= "\udcff" for char in beyond_ascii)
    return len(beyond_ascii) - wrong >= _SOUND_PER_WRONG * wrong


@lru_cache(maxsize=64)
def _has_single_bytes(codec: str) -> bool:
    """Return whether most bytes beyond ASCII are a character each: UTF-8 passes for text then."""
    characters = 0
    for code in range(0x80, 0x100):
        try:
            characters += len(bytes([code]).decode(codec))
        except UnicodeError:
            continue
    return characters > _MANY_SINGLE_BYTES


def _warn_of_other(name: str, declared: str) -> str | None:
    is_declared = name == declared or find_codec(name) == find_codec(declared)
    return None if is_declared else f"encoding is {name}, not {declared}"


def _read_western_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return _decode_western(error.object[error.start : error.end]), error.end


codecs.register_error(_WESTERN_BYTES, _read_western_byte)


def _replace_few(body: bytes, name: str) -> str | None:
    """Return the text in a declared encoding other than UTF-8, if it fits but for a few bytes."""
    codec = find_codec(name)
    if codec is None or codec.startswith("utf-8"):
        return None
    text = body.decode(codec, WIDER_OR_REPLACED)
    return text if "<" in text and text.count("\ufffd") * 100 < len(text) else None


def repair_c1(text: str) -> str:
    """Replace C1 control codes by the windows-1252 characters that were meant."""
    if text.isascii() or _C1.search(text) is None:
        return text
    return text.translate(C1_MEANT)


def strip_blanks(text: str) -> str:
    """Return a text without the white space at its ends.

    U+0085, white space to Python, stays: it is the control code that :func:`repair_c1` reads as an
    ellipsis.
    """
    return text.strip() if "\x85" not in text else text.strip(_BLANKS)


def _candidates(body: bytes, content_type: str | None) -> Iterator[str]:
    for mark, name in _MARKS:
        if body.startswith(mark):
            yield name
            break
    charset = _CHARSET.search(content_type or "")
    if charset:
        yield charset[1]
    yield from _undeclared_wide(body)
    declaration = _DECLARATION.match(body[:_LONGEST_DECLARATION].removeprefix(codecs.BOM_UTF8))
    if declaration:
        yield declaration[1].decode("ascii", "replace")
    yield "utf-8"


def _undeclared_wide(body: bytes) -> Iterator[str]:
    for start, name in _WIDE_STARTS:
        if body.startswith(start):
            yield name
            return


def _decode(body: bytes, name: str) -> str | None:
    codec = "utf-8" if name.lower() == "utf-8" else find_codec(name)
    if codec is None:
        return None
    if codec == "windows-1252":
        text = _decode_western(body)
    else:
        try:
            text = body.decode(codec, WIDER)
        except (UnicodeError, LookupError):
            return None
    # A wrong wide or exotic encoding decodes without complaint, into anything but markup.
    return text if not body or "<" in text or "{" in text or "[" in text else None


def _decode_western(body: bytes) -> str:
    return repair_c1(body.decode("latin-1"))


def _trim(text: str) -> str:
    return text.removeprefix("\ufeff").replace("\x00", "").lstrip()


def is_json(text: str) -> bool:
    """Return whether a trimmed document is to be read as JSON."""
    return text[:1] in ("{", "[")


def cut_leading_noise(text: str) -> str:
    """Return the document from its first markup on: some servers print messages before it.

    Raises:
        ParseError: ``empty``, or ``not_a_feed`` where no feed begins near the start.
    """
    if not text:
        raise ParseError(ErrorKind.EMPTY, "the document is empty")
    if text.startswith("<"):
        return text
    start = re.search(r"<\?xml\b", text[:_HEAD_LENGTH]) or _ROOT.search(text[:_HEAD_LENGTH])
    if start is None:
        raise refusal(text)
    return text[start.start() :]


def cut_leading_markup(text: str) -> str | None:
    """Return the document from a late XML declaration on: PHP prints its warnings with markup.

    None where there is no such declaration near the start, or a web page begins before it.
    """
    start = _LATE_DECLARATION.search(text[:_HEAD_LENGTH])
    if start is None or _PAGE.search(text[: start.start()].lower()):
        return None
    return text[start.start() :]


def is_web_page(text: str) -> bool:
    """Return whether a document says itself that it is a web page, whatever else is in it."""
    return _PAGE.search(text[:_PAGE_LENGTH].lower()) is not None


def refusal(text: str) -> ParseError:
    """Return the error that says what a document without a feed in it is."""
    page = text[:_PAGE_LENGTH].lower()
    if any(word in page for word in _CHALLENGE_WORDS):
        return ParseError(ErrorKind.WAF_CHALLENGE, "a bot shield's page instead of a feed")
    if _HTML.search(page):
        return ParseError(ErrorKind.HTML, "a web page instead of a feed")
    if not text.strip():
        return ParseError(ErrorKind.EMPTY, "the document is empty")
    return ParseError(ErrorKind.NOT_A_FEED, "the document is neither RSS, Atom, RDF nor JSON Feed")
