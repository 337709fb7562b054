"""What stands before the root element: taken out, except plain entities, which are filled in."""

import re

from shared.errors import ParseError

MAX_ENTITIES = 100
MAX_ENTITY_LENGTH = 1000
MAX_EXPANSION = 64 * 1024
MAX_SUBSET = 64 * 1024

_DOCTYPE = re.compile(r"<!DOCTYPE[^>\[]*", re.IGNORECASE)
_IGNORED = re.compile(r"\s+|<!--.*?-->|<\?.*?\?>", re.DOTALL)
_SUBSET_PART = re.compile(
    r"\s+|<!--.*?-->|<\?.*?\?>|%[\w.:-]+;|<!(?P<kind>\w+)(?P<body>(?:[^>\"']|\"[^\"]*\"|'[^']*')*)>",
    re.DOTALL,
)
_ENTITY = re.compile(r"\s+(?P<name>[\w.:-]+)\s+(?:\"(?P<double>[^\"]*)\"|'(?P<single>[^']*)')\s*")
_PARAMETER = re.compile(r"\s+%\s")
_PREDEFINED = frozenset({"amp", "lt", "gt", "quot", "apos"})


def remove_prolog(text: str) -> str:
    """Return the document from its root element on, short plain entities filled in.

    Declarations, comments and instructions before the root give way to as many line breaks as they
    held, so that lines keep their numbers.

    Raises:
        ParseError: ``refused``, for entities that name other entities, files or addresses, are many
            or long, or swell the document.
    """
    entities: dict[str, str] = {}
    position = 0
    while True:
        if skipped := _IGNORED.match(text, position):
            position = skipped.end()
        elif doctype := _DOCTYPE.match(text, position):
            position = _skip_doctype(text, doctype.end(), entities)
        else:
            break
    line_breaks = "\n" * text.count("\n", 0, position)
    return line_breaks + _fill_in(text[position:], entities)


def _skip_doctype(text: str, position: int, entities: dict[str, str]) -> int:
    if text[position : position + 1] == "[":
        position = _read_subset(text, position + 1, entities)
    return text.find(">", position) + 1 or len(text)


def _read_subset(text: str, start: int, entities: dict[str, str]) -> int:
    position, limit = start, start + MAX_SUBSET
    while (part := _SUBSET_PART.match(text, position, limit)) is not None:
        if (part["kind"] or "").upper() == "ENTITY":
            _read_entity(part["body"], entities)
        position = part.end()
    if text[position : position + 1] != "]":
        raise ParseError("refused", "the document type declaration is too long or cannot be read")
    return position + 1


def _read_entity(body: str, entities: dict[str, str]) -> None:
    # Parameter entities only pull in other files; without them their references are blanks.
    if _PARAMETER.match(body):
        return
    entity = _ENTITY.fullmatch(body)
    if entity is None:
        raise ParseError("refused", "the document declares an external entity")
    value = entity["double"] if entity["double"] is not None else entity["single"]
    if "&" in value or "%" in value or "<" in value:
        raise ParseError("refused", "the document declares entities made of entities")
    if len(value) > MAX_ENTITY_LENGTH or len(entities) >= MAX_ENTITIES:
        raise ParseError("refused", "the document declares too many or too long entities")
    if entity["name"] not in _PREDEFINED:
        entities.setdefault(entity["name"], value)


def _fill_in(text: str, entities: dict[str, str]) -> str:
    for name, value in entities.items():
        reference = f"&{name};"
        if text.count(reference) * len(value) > MAX_EXPANSION:
            raise ParseError("refused", f"entity {name!r} would swell the document")
        text = text.replace(reference, value)
    return text
