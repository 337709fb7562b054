"""What a document is, before anything is parsed: JSON, XML, or a page that is no feed."""

import re

from shared.errors import ParseError

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


def is_json(text: str) -> bool:
    """Tell whether a trimmed document is to be read as JSON."""
    return text[:1] in ("{", "[")


def cut_leading_noise(text: str) -> str:
    """Return the document from its first markup on: some servers print messages before it.

    Raises:
        ParseError: ``empty``, or ``not_a_feed`` where no feed begins near the start.
    """
    if not text:
        raise ParseError("empty", "the document is empty")
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
    """Tell whether a document says itself that it is a web page, whatever else is in it."""
    return _PAGE.search(text[:_PAGE_LENGTH].lower()) is not None


def refusal(text: str) -> ParseError:
    """Return the error that says what a document without a feed in it is."""
    page = text[:_PAGE_LENGTH].lower()
    if any(word in page for word in _CHALLENGE_WORDS):
        return ParseError("waf_challenge", "a bot shield's page instead of a feed")
    if _HTML.search(page):
        return ParseError("html", "a web page instead of a feed")
    if not text.strip():
        return ParseError("empty", "the document is empty")
    return ParseError("not_a_feed", "the document is neither RSS, Atom, RDF nor JSON Feed")
