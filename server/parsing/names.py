"""Names of elements: one spelling for each, whatever prefix or namespace version a feed uses.

Core elements of RSS, RDF and Atom are written in lower case without a prefix, those of well-known
modules with their usual prefix; all others keep prefix and name as the document writes them.
"""

from functools import lru_cache

CORE = ""
ATOM_10 = "http://www.w3.org/2005/atom"
ATOM_03 = "http://purl.org/atom/ns#"
RSS_10 = "http://purl.org/rss/1.0/"
RSS_090 = "http://my.netscape.com/rdf/simple/0.9/"

# Keys are lower case: publishers differ in the case of these addresses.
NAMESPACES = {
    ATOM_10: CORE,
    ATOM_03: CORE,
    RSS_10: CORE,
    RSS_090: CORE,
    "http://blogs.law.harvard.edu/tech/rss": CORE,
    "http://cyber.law.harvard.edu/rss/rss.html": CORE,
    "http://purl.org/rss/1.0/modules/rss091#": CORE,
    "http://purl.org/rss/2.0/": CORE,
    "http://example.com/newformat#": CORE,
    "http://example.com/necho": CORE,
    "http://purl.org/echo/": CORE,
    "http://purl.org/pie/": CORE,
    "uri/of/echo/namespace#": CORE,
    "http://purl.org/dc/elements/1.0/": "dc",
    "http://purl.org/dc/elements/1.1/": "dc",
    "http://purl.org/dc/terms/": "dcterms",
    "http://purl.org/rss/1.0/modules/content/": "content",
    "http://purl.org/rss/1.0/modules/syndication/": "sy",
    "http://purl.org/rss/1.0/modules/slash/": "slash",
    "http://purl.org/syndication/thread/1.0": "thr",
    "http://purl.org/syndication/history/1.0": "fh",
    "http://search.yahoo.com/mrss": "media",
    "http://search.yahoo.com/mrss/": "media",
    "http://www.itunes.com/dtds/podcast-1.0.dtd": "itunes",
    "http://example.com/dtds/podcast-1.0.dtd": "itunes",
    "http://wellformedweb.org/commentapi/": "wfw",
    "http://rssnamespace.org/feedburner/ext/1.0": "feedburner",
    "http://www.georss.org/georss": "georss",
    "http://www.w3.org/2003/01/geo/wgs84_pos#": "geo",
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#": "rdf",
    "http://www.w3.org/1999/xhtml": "xhtml",
    "http://www.w3.org/xml/1998/namespace": "xml",
}
# What an undeclared prefix is taken to mean; feeds forget the declaration, not the convention.
USUAL_ADDRESSES = {
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
    "content": "http://purl.org/rss/1.0/modules/content/",
    "sy": "http://purl.org/rss/1.0/modules/syndication/",
    "slash": "http://purl.org/rss/1.0/modules/slash/",
    "thr": "http://purl.org/syndication/thread/1.0",
    "media": "http://search.yahoo.com/mrss/",
    "itunes": "http://www.itunes.com/dtds/podcast-1.0.dtd",
    "wfw": "http://wellformedweb.org/CommentAPI/",
    "atom": "http://www.w3.org/2005/Atom",
    "feedburner": "http://rssnamespace.org/feedburner/ext/1.0",
    "georss": "http://www.georss.org/georss",
    "geo": "http://www.w3.org/2003/01/geo/wgs84_pos#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
}


@lru_cache(maxsize=4096)
def canonical_name(expat_name: str) -> str:
    """Return the one spelling of an element's name as expat gives it: ``uri local [prefix]``."""
    parts = expat_name.split(" ")
    if len(parts) == 1:
        return expat_name.lower()
    address, local = parts[0], parts[1]
    known = _known_prefix(address)
    if known == CORE:
        return local.lower()
    if known is not None:
        return f"{known}:{local}"
    # An unknown default namespace: publishers of odd dialects mean the plain elements.
    return f"{parts[2]}:{local}" if len(parts) > 2 else local.lower()


@lru_cache(maxsize=4096)
def attribute_name(expat_name: str) -> str:
    """Return the one spelling of an attribute's name: lower case, known prefixes kept."""
    parts = expat_name.split(" ")
    if len(parts) == 1:
        return expat_name.lower()
    known = _known_prefix(parts[0])
    if known == CORE:
        return parts[1].lower()
    prefix = known if known is not None else parts[-1]
    return f"{prefix}:{parts[1]}".lower()


@lru_cache(maxsize=4096)
def written_attribute_name(expat_name: str) -> str:
    """Return an attribute's name as written, with the usual prefix of a known namespace."""
    parts = expat_name.split(" ")
    if len(parts) == 1:
        return expat_name
    known = _known_prefix(parts[0])
    if known == CORE:
        return parts[1]
    prefix = known if known is not None else parts[-1]
    return f"{prefix}:{parts[1]}"


@lru_cache(maxsize=4096)
def namespace_of(expat_name: str) -> str:
    """Return the namespace of a name as expat gives it, in lower case; empty without one."""
    return expat_name.split(" ")[0].lower() if " " in expat_name else ""


def _known_prefix(address: str) -> str | None:
    lowered = address.lower()
    # Userland's address exists with many endings; all of them mean plain RSS.
    if "backend.userland.com/rss" in lowered:
        return CORE
    return NAMESPACES.get(lowered)
