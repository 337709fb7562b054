"""What an XML feed tells of itself: format, own URLs, how often to fetch it, its language."""

from dataclasses import dataclass

from server.parsing.item_fields import ItemFields
from server.parsing.item_texts import read_text
from server.parsing.links import join_url
from server.parsing.xml_tree import ATOM_03, ATOM_10, RSS_090, RSS_10, Node
from shared.models import HTML, TEXT
from shared.plain_text import to_plain_text

LONGEST_TTL_S = 7 * 86400
_PERIODS_S = {
    "hourly": 3600,
    "daily": 86400,
    "weekly": 7 * 86400,
    "monthly": 30 * 86400,
    "yearly": 365 * 86400,
}
_DAYS = frozenset({"monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"})
_ATOM_VERSIONS = {ATOM_10: "1.0", ATOM_03: "0.3"}
_RDF_VERSIONS = {RSS_10: "1.0", RSS_090: "0.90"}
_TITLES = ("title", "dc:title")
_NEXT_PAGES = ("prev-archive", "next")


@dataclass(frozen=True, slots=True)
class Channel:
    """What a document says of itself. ``link`` is as written; it may be relative."""

    format: str
    version: str
    title: str | None
    link: str | None
    self_url: str | None
    ttl_s: int | None
    skip_hours: frozenset[int]
    skip_days: frozenset[str]
    moved_to: str | None = None
    next_page: str | None = None
    author: str | None = None

    @property
    def default_format(self) -> str:
        """What a text is that does not say so: Atom's is plain, that of all others HTML."""
        return TEXT if self.format == "atom" else HTML


def read_channel(root: Node) -> Channel | None:
    """Return the frame of a feed, or None when the root element is not a feed's."""
    kind = _format(root)
    if kind is None:
        return None
    frame = next((node for node in root.children if node.name == "channel"), root)
    fields = ItemFields(frame, TEXT if kind[0] == "atom" else HTML)
    _, link = fields.link()
    return Channel(
        format=kind[0],
        version=kind[1],
        title=_title(frame, fields.default_format),
        link=join_url(frame.base, link) if link is not None else frame.base,
        self_url=_self_url(frame),
        ttl_s=_ttl_s(frame),
        skip_hours=_skip_hours(frame),
        skip_days=_skip_days(frame),
        moved_to=_new_url(frame),
        next_page=_next_page(frame),
        author=fields.author() if kind[0] == "atom" else None,
    )


def _title(frame: Node, default_format: str) -> str | None:
    named = (node for name in _TITLES for node in frame.children if node.name == name)
    texts = (read_text(node, default_format) for node in named)
    title = next((text for text in texts if text is not None), None)
    if title is None:
        return None
    return to_plain_text(title.text) if title.format == HTML else title.text


def _format(root: Node) -> tuple[str, str] | None:
    version = root.attributes.get("version", "").strip()
    if root.name == "rss":
        return "rss", version
    if root.name == "feed":
        return "atom", _ATOM_VERSIONS.get(root.namespace, version)
    if root.name in ("rdf:RDF", "rdf"):
        cores = {node.namespace for node in root.children}
        return "rdf", next((_RDF_VERSIONS[core] for core in cores if core in _RDF_VERSIONS), "")
    if root.name == "channel":
        is_cdf = any(name in root.attributes for name in ("href", "lastmod", "base"))
        return ("cdf" if is_cdf else "rss"), version
    return None


def _self_url(frame: Node) -> str | None:
    for node in frame.children:
        if node.name == "link" and node.attributes.get("rel", "").lower() == "self":
            return node.attributes.get("href")
    return None


def _ttl_s(frame: Node) -> int | None:
    texts = {node.name: node.text for node in frame.children}
    minutes = _number(texts.get("ttl"))
    if minutes:
        return min(minutes * 60, LONGEST_TTL_S)
    period_s = _PERIODS_S.get(texts.get("sy:updatePeriod", "").lower())
    if period_s is None:
        return None
    frequency = _number(texts.get("sy:updateFrequency")) or 1
    return min(period_s // frequency, LONGEST_TTL_S)


def _skip_hours(frame: Node) -> frozenset[int]:
    hours = (_number(text) for text in _texts_inside(frame, "skiphours"))
    return frozenset(hour % 24 for hour in hours if hour is not None and hour <= 24)


def _skip_days(frame: Node) -> frozenset[str]:
    return frozenset(text.lower() for text in _texts_inside(frame, "skipdays")) & _DAYS


def _texts_inside(frame: Node, name: str) -> list[str]:
    return [child.text for node in frame.children if node.name == name for child in node.children]


def _number(text: str | None) -> int | None:
    digits = (text or "").strip()
    return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 10 else None


def read_language(root: Node | None) -> str | None:
    """Return the language that a document names, as written."""
    if root is None:
        return None
    frame = next((node for node in root.children if node.name == "channel"), root)
    texts = {node.name: node.text for node in frame.children}
    named = texts.get("language") or texts.get("dc:language")
    return named or frame.attributes.get("xml:lang") or root.attributes.get("xml:lang")


def _new_url(frame: Node) -> str | None:
    """Return where a feed tells in its channel that it has moved to, as written."""
    texts = (node.text for node in frame.children if node.name == "itunes:new-feed-url")
    return next((text.strip() for text in texts if text.strip()), None)


def _next_page(frame: Node) -> str | None:
    """Return the URL of a feed's next or archived page (RFC 5005), as written."""
    for relation in _NEXT_PAGES:
        for node in frame.children:
            is_link = node.name.rpartition(":")[2] == "link"
            if is_link and node.attributes.get("rel", "").strip().lower() == relation:
                return node.attributes.get("href") or None
    return None
