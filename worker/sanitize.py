"""What a publisher wrote, made fit to be shown: plain text, safe HTML, addresses. Pure.

Titles and the like become plain text, which whoever shows it escapes; summaries and contents become
HTML that may be put into a page as it is.
"""

import re
import threading
from collections import deque
from collections.abc import Iterator
from copy import deepcopy
from html import escape
from typing import Any
from urllib.parse import urljoin

import nh3

from shared.models import HTML
from shared.plain_text import escape_unknown_tags, to_plain_text
from shared.urls import RUNNING_SCHEMES, is_safe, scheme_of, tidy

# nh3 0.3 takes time with the square of the ampersands behind a "<": 80,000 cost 0.3 s, a million
# minutes. A text with more than this is no article: it is shown as the text that it is.
MAX_AMPERSANDS = 20_000
# And with the square of the depth of tags: 20,000 that nothing closes cost 0.6 s, 250,000 minutes.
# A text with more is shown without any.
MAX_TAGS = 20_000
_TAGS = nh3.ALLOWED_TAGS | {"audio", "picture", "source", "video"}
_ATTRIBUTES = deepcopy(nh3.ALLOWED_ATTRIBUTES)
_ATTRIBUTES["img"] |= {"srcset", "sizes", "title"}
_ATTRIBUTES["source"] = {"src", "srcset", "sizes", "type", "media"}
_ATTRIBUTES["video"] = {"src", "poster", "controls", "width", "height"}
_ATTRIBUTES["audio"] = {"src", "controls"}
# Attributes with URLs that nh3 leaves as they are.
_OTHER_URL_ATTRIBUTES = ("srcset", "cite", "poster")
_NEEDS_CLEANING = re.compile(r"[<>&\xa0]")
_LINE = re.compile(r"\r\n?|\n")
# Attributes of the publisher's own that hold an address wherever they stand.
_ADDRESS_ATTRIBUTES = frozenset({"url", "href", "src", "rdf:resource", "resource"})
# Fields of the publisher's own that hold an address: "wfw:commentRss", "media:content@url".
_ADDRESS_NAME = re.compile(
    r"(?:^|/)link(?::[^/@]*)?$"
    r"|(?:href|link|ur[li]|src|comments|commentrss|docs|icon|image|img|logo|about)$",
    re.IGNORECASE,
)
_PATH = re.compile(r"/|\.{1,2}/|\?|#")
_TEXT_TYPES = frozenset({"text", "plain", "text/plain"})
_HTML_TYPES = frozenset({"html", "xhtml", "text/html", "application/xhtml+xml"})
_TYPED_NAMES = ("media:title", "media:description")
# Where JSON may hold a control character: it has them as escapes only.
_CONTROL_ESCAPE = re.compile(r"\\(?:u00[01]|[bf])")
# Those that XML cannot hold either; what separates words or pages is a space.
_SHOWN_CONTROLS: dict[int, str | None] = {
    **{code: None for code in range(32) if chr(code) not in "\t\n\r"},
    **dict.fromkeys(map(ord, "\v\f"), " "),
}
# Where the deepest text of an item's data is: in the attributes of its extra fields.
_DEEPEST = 4
_NO_BRACKETS = str.maketrans("", "", "<>")


class _Cleaning(threading.local):
    """What this thread cleans now: the base of its URLs, and whether one was relative."""

    base: str | None = None
    met_relative = False


_cleaning = _Cleaning()


def _note_relative_url(url: str) -> str:
    _cleaning.met_relative = True
    return url


def _resolve_attribute(_tag: str, name: str, value: str) -> str | None:
    """Return what becomes of an attribute; of URLs only those are resolved that nh3 leaves."""
    if name == "srcset":
        return _resolve_candidates(value)
    if name in _OTHER_URL_ATTRIBUTES:
        url = _resolve_met(value)
        return url if is_safe(url) else None
    return value


def _resolve_met(url: str) -> str:
    _cleaning.met_relative |= scheme_of(url) is None
    return resolve(url, _cleaning.base)


# Made once: to hand nh3 its lists takes five times as long as to clean an ordinary text.
_CLEANER = nh3.Cleaner(tags=_TAGS, attributes=_ATTRIBUTES, url_relative=_note_relative_url)
# Calls into Python for each attribute: only for texts that need it.
_RESOLVING_CLEANER = nh3.Cleaner(
    tags=_TAGS,
    attributes=_ATTRIBUTES,
    attribute_filter=_resolve_attribute,
    url_relative=_note_relative_url,
)
_TEXT_CLEANER = nh3.Cleaner()


def may_hold_controls(raw_data: str) -> bool:
    """Return whether a text in this JSON may hold control characters, beyond ends of lines."""
    return _CONTROL_ESCAPE.search(raw_data) is not None


def without_controls(value: Any, deepest: int = _DEEPEST) -> Any:
    """Return an item's data without the control characters in its texts.

    To be done before addresses are looked at: "java\\0script:" is none that runs until then.
    """
    if isinstance(value, str):
        return value.translate(_SHOWN_CONTROLS)
    if deepest and isinstance(value, list):
        return [without_controls(each, deepest - 1) for each in value]
    if deepest and isinstance(value, dict):
        return {key: without_controls(each, deepest - 1) for key, each in value.items()}
    return value


def clean_text(text: str, text_format: str, *, keep_lines: bool = False) -> str:
    """Return plain text: what is text word for word, of HTML what it shows."""
    return to_plain_text(text, keep_lines=keep_lines) if text_format == HTML else text


def clean_html(text: str, text_format: str, base: str | None) -> str:
    """Return HTML that is safe in a page, its relative addresses resolved against ``base``.

    Plain text is escaped and its lines are kept.
    """
    if text_format != HTML:
        return _escape_lines(text)
    if _NEEDS_CLEANING.search(text) is None:
        return text
    if "<" not in text or text.count("&") > MAX_AMPERSANDS:
        return _escape_html(text)
    if text.count("<") > MAX_TAGS:
        return _escape_lines(to_plain_text(text, keep_lines=True))
    return _sanitise(escape_unknown_tags(text), base)


def _escape_lines(text: str) -> str:
    return _LINE.sub("<br>\n", escape(text, quote=False))


def _escape_html(text: str) -> str:
    """Return text without tags as HTML: its references are kept."""
    if text.count("&") > MAX_AMPERSANDS:
        return escape(text)
    return _TEXT_CLEANER.clean(text)


def _sanitise(html: str, base: str | None) -> str:
    lowered = html.lower()
    has_others = any(name in lowered for name in _OTHER_URL_ATTRIBUTES)
    cleaner = _RESOLVING_CLEANER if has_others else _CLEANER
    _cleaning.base, _cleaning.met_relative = base, False
    cleaned = cleaner.clean(html)
    if base is None or not _cleaning.met_relative:
        return cleaned
    try:
        return _sanitise_resolving(html, base)
    except ValueError:
        # The base is no URL: what is relative stays so.
        _cleaning.base = None
        return cleaner.clean(html)


def _sanitise_resolving(html: str, base: str) -> str:
    return nh3.clean(
        html,
        tags=_TAGS,
        attributes=_ATTRIBUTES,
        attribute_filter=_resolve_attribute,
        url_relative=("rewrite_with_base", base),
    )


def _resolve_candidates(srcset: str) -> str | None:
    """Return a list of pictures with absolute addresses, without those of other schemes."""
    kept = []
    for address, size in _split_srcset(srcset):
        resolved = _resolve_met(address)
        if scheme_of(resolved) in (None, "http", "https"):
            kept.append(f"{resolved} {size}".strip())
    return ", ".join(kept) or None


def _split_srcset(srcset: str) -> Iterator[tuple[str, str]]:
    """Yield address and size of each picture: a comma ends one, but also stands in addresses."""
    words = deque(srcset.split())
    while words:
        word = words.popleft()
        address, size = word.strip(","), ""
        if not word.endswith(",") and words:
            size, _, rest = words.popleft().partition(",")
            if rest:
                words.appendleft(rest)
        if address:
            yield address, size


def resolve(url: str, base: str | None) -> str:
    """Return a URL resolved against ``base``, tidied; as it is where that cannot be done."""
    url = tidy(url)
    if base is None or scheme_of(url) is not None:
        return url
    try:
        return urljoin(base, url)
    except ValueError:
        return url


def clean_extra(
    entry: dict[str, Any], default_format: str, base: str | None
) -> dict[str, Any] | None:
    """Return an entry of ``extra`` as it is stored; None where nothing safe is left of it.

    Its attributes are plain text as they are; its name, a label, has no brackets of tags. Addresses
    are made absolute; one that a browser would run is left out.
    """
    name: str = entry["name"]
    cleaned: dict[str, Any] = {"name": name.translate(_NO_BRACKETS)}
    value = entry.get("value")
    if value:
        value = clean_text(value, _extra_format(entry, default_format), keep_lines=True)
        value = _clean_extra_value(name, value, base)
        if value:
            cleaned["value"] = value
    attributes = {
        key: kept
        for key, text in (entry.get("attributes") or {}).items()
        if (kept := _clean_attribute(key, text, base)) is not None
    }
    if attributes:
        cleaned["attributes"] = attributes
    return cleaned if len(cleaned) > 1 else None


def _extra_format(entry: dict[str, Any], default: str) -> str:
    """Return the format of an element that says what it holds, else that of the feed."""
    kind = str((entry.get("attributes") or {}).get("type", "")).strip().lower()
    if kind in _HTML_TYPES:
        return HTML
    is_typed = entry["name"].endswith(_TYPED_NAMES)
    return "text" if kind in _TEXT_TYPES or is_typed else default


def _clean_extra_value(name: str, value: str, base: str | None) -> str | None:
    if _ADDRESS_NAME.search(name) is None:
        return value
    scheme = scheme_of(value)
    if scheme in RUNNING_SCHEMES:
        return None
    is_relative = scheme is None and _is_one_word(value) and _PATH.search(value) is not None
    return resolve(value, base) if is_relative else value


def _clean_attribute(name: str, value: str, base: str | None) -> str | None:
    local = name.rpartition(":")[2].lower()
    if name.lower() not in _ADDRESS_ATTRIBUTES and local not in _ADDRESS_ATTRIBUTES:
        return _clean_extra_value(name, value, base)
    scheme = scheme_of(value)
    if scheme in RUNNING_SCHEMES:
        return None
    return resolve(value, base) if scheme is None else value


def _is_one_word(value: str) -> bool:
    return len(value.split(None, 1)) == 1
