"""What identifies an item that nothing can read: those of its elements that are whole in its text.

Nothing here depends on where in its document the item stands, so that a dead letter keeps its id
from one poll to the next, and goes when the item can be read.
"""

import re
from collections.abc import Iterator

from server.parsing.lenient_repair import CONTAINERS, Ends
from server.parsing.xml_source import START_TAG, is_empty, write_start_tag

# What an item's guid may be made of, without prefixes: the strict reader knows what those mean.
_IDENTIFYING = frozenset(
    {
        "guid", "id", "link", "enclosure", "title", "author", "creator", "pubdate", "published",
        "updated", "issued", "created", "modified", "date", "lastbuilddate",
    }
)  # fmt: skip
_OPENING = re.compile(r"<(?:!--|!\[CDATA\[|\?|(?=[^\W\d]))", re.IGNORECASE)
_ENDS = {"<!--": "-->", "<![CDATA[": "]]>", "<?": "[?]>"}
# Text or CDATA alone: what holds a stray `<` may be anything. Longer ones are not looked through.
_CONTENT = re.compile(
    r"(?P<text>[^<]*+(?:<!\[CDATA\[(?:(?!\]\]>|<!\[CDATA\[).){0,4000}+\]\]>[^<]*+)?)"
    r"</(?P<name>[^\s<>]+)\s*>",
    re.DOTALL,
)


def find_identity(text: str) -> str:
    """Return the item as source with only its sound elements that may identify it.

    Those of comments and CDATA, of people and of the feed that it was taken from are not its own.
    """
    root = START_TAG.match(text)
    if root is None or is_empty(root):
        return write_start_tag(root) if root is not None else ""
    elements = "".join(_find_elements(text, root.end()))
    return f"{write_start_tag(root)}{elements}</{root['name']}>"


def _find_elements(text: str, position: int) -> Iterator[str]:
    ends = Ends(text)
    while (opening := _OPENING.search(text, position)) is not None:
        position = opening.end()
        if opening[0] != "<":
            position = _skip(ends.find(_ENDS[opening[0].upper()], position), position, text)
            continue
        tag = START_TAG.match(text, opening.start())
        if tag is None:
            continue
        element = _read_element(text, tag)
        if element is not None:
            yield element
        elif _local_name(tag) in CONTAINERS and not is_empty(tag):
            # In lower case: each spelling would be looked for in the whole text.
            end = ends.find(f"</{re.escape(tag['name'].lower())}", position)
            position = _skip(end, position, text)


def _local_name(tag: re.Match[str]) -> str:
    """Return a tag's name without its prefix, in lower case."""
    name: str = tag["name"]
    return name.rpartition(":")[2].lower()


def _skip(end: int, position: int, text: str) -> int:
    """Return where to go on behind something: at once where it never ends."""
    return end if end < len(text) else position


def _read_element(text: str, tag: re.Match[str]) -> str | None:
    """Return an identifying element as XML; None for any other, and for what is not whole."""
    if _local_name(tag) not in _IDENTIFYING:
        return None
    if is_empty(tag):
        return write_start_tag(tag)
    content = _CONTENT.match(text, tag.end())
    if content is None or content["name"].lower() != tag["name"].lower():
        return None
    return f"{write_start_tag(tag)}{content['text']}</{tag['name']}>"
