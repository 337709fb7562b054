"""A JSON document and its values, as far as they can be read: damage costs only what it touches.

What can be read has the values that a sound document would have given: a feed that alternates
between valid and invalid gives the same items, hashes and ids.
"""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from server.parsing.item_fields import MAX_LENGTH_BYTES, read_length
from server.parsing.parsed import check_items
from shared.errors import ItemError
from shared.models import Enclosure, is_attribute_name

# Beyond 64 bits, or nearly. Ids are written so, and two that differ must not become one float.
_LONG_INTEGER = re.compile(r"-?[0-9]{19,}")
_BLANK = re.compile(r"[ \t\r\n]*")
# An escape in a string; the group is half of a surrogate pair without its other half.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89aAbB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<half>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)
# A comma with nothing behind it, as templates write it; strings are matched to be passed over. One
# that never ends is matched too, lest each quote in it be tried as a beginning.
_STRING_OR_LAST_COMMA = re.compile(
    r'(?P<string>"(?:[^"\\]++|\\.)*+"?)|,(?=[ \t\r\n]*[\]}])', re.DOTALL
)


@dataclass(slots=True)
class JsonDocument:
    """A JSON document as far as it could be read.

    ``value`` is all of a sound one; of a faulty one the members of its object, those in ``items``
    only if they were whole. ``damage`` is what is wrong; ``is_complete`` is True when the object
    was closed: then nothing is missing.
    """

    value: Any = field(default_factory=dict)
    damage: str | None = None
    is_complete: bool = False


def read_json(text: str) -> JsonDocument:
    """Read a document. Never fails for damage: that is noted, and what came before it is kept.

    Raises:
        ParseError: ``limits``, for too many items.
    """
    try:
        return JsonDocument(_load(text), is_complete=True)
    except orjson.JSONDecodeError as exc:
        document = JsonDocument(damage=str(exc))
    repaired = _STRING_OR_LAST_COMMA.sub(_keep_string, _ESCAPE.sub(_keep_whole, text))
    reader = _Reader(repaired)
    try:
        reader.read_object(document.value)
    except (ValueError, RecursionError):
        return document
    document.is_complete = True
    return document


def _load(text: str) -> Any:
    """Return a sound document; integers that orjson would round to a float are text."""
    value = orjson.loads(text.encode("utf-8", "surrogatepass"))
    if _LONG_INTEGER.search(text) is None:
        return value
    try:
        return json.loads(text, parse_int=_read_integer)
    except RecursionError:
        # Nested deeper than Python's reader goes; no feed is, whatever its numbers.
        return value


def _read_integer(digits: str) -> int | str:
    return digits if _LONG_INTEGER.match(digits) else int(digits)


def _keep_whole(escape: re.Match[str]) -> str:
    return "" if escape["half"] else escape[0]


def _keep_string(found: re.Match[str]) -> str:
    return found["string"] or ""


class _Reader:
    """Reads a top-level object member by member, its ``items`` one by one.

    Control characters inside strings are taken as they are, NaN and infinities as null.
    """

    def __init__(self, text: str) -> None:
        self._text = text
        self._position = 0
        self._decoder = json.JSONDecoder(
            strict=False, parse_int=_read_integer, parse_constant=lambda _: None
        )

    def read_object(self, members: dict[str, Any]) -> None:
        self._take("{")
        if self._next() == "}":
            return
        separator = ","
        while separator == ",":
            name = str(self._read_value())
            self._take(":")
            if name == "items" and self._next() == "[":
                members[name] = items = list[Any]()
                self._read_items(items)
            else:
                members[name] = self._read_value()
            separator = self._take(",}")

    def _read_items(self, items: list[Any]) -> None:
        self._take("[")
        if self._next() == "]":
            self._take("]")
            return
        separator = ","
        while separator == ",":
            items.append(self._read_value())
            check_items(len(items))
            separator = self._take(",]")

    def _read_value(self) -> Any:
        self._next()
        value, self._position = self._decoder.raw_decode(self._text, self._position)
        return value

    def _next(self) -> str:
        """Skip blanks; returns the character that stands behind them, empty at the end."""
        blank = _BLANK.match(self._text, self._position)
        self._position = blank.end() if blank else self._position
        return self._text[self._position : self._position + 1]

    def _take(self, expected: str) -> str:
        found = self._next()
        if not found or found not in expected:
            raise ValueError(f"no {expected!r} at {self._position}")
        self._position += 1
        return found


class Faults:
    """Counts the values of a wrong type in one document, by what is wrong with them."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    def add(self, name: str, value: object, expected: str) -> None:
        """Note that the value of a member is not what it should be."""
        self._counts[f"{name!r} is {kind_of(value)}, not {expected}"] += 1

    def add_entry(self, name: str, value: object, expected: str) -> None:
        """Note that a list holds what it should not."""
        self._counts[f"{name!r} holds {kind_of(value)}, not {expected}"] += 1

    def note(self, fault: str) -> None:
        """Note another fault, in words."""
        self._counts[fault] += 1

    def warnings(self) -> tuple[str, ...]:
        """Return one warning for each kind, with its number."""
        return tuple(
            fault if count == 1 else f"{fault} ({count} times)"
            for fault, count in self._counts.items()
        )


class JsonObject:
    """The members of one object. What cannot be understood is absent, and noted in ``faults``."""

    def __init__(self, members: Mapping[str, Any], faults: Faults) -> None:
        self.members = members
        self._faults = faults

    def text(self, name: str, *, numbers: bool = True) -> str | None:
        """Return a string, stripped; a number as it is written. A blank one is as good as none."""
        value = self.members.get(name)
        if isinstance(value, str):
            return value.strip() or None
        if value is None:
            return None
        self._faults.add(name, value, "a string")
        return str(value) if numbers and is_number(value) else None

    def has_wrong_text(self, name: str) -> bool:
        """Return whether a member is there that is neither a text nor a number."""
        value = self.members.get(name)
        return not (value is None or isinstance(value, str) or is_number(value))

    def identity(self, name: str) -> str | None:
        """Return a string or, as version 1 says, a number as text."""
        value = self.members.get(name)
        return str(value) if is_number(value) else self.text(name)

    def objects(self, name: str, *, text_as: str) -> list["JsonObject"]:
        """Return the objects of a list. One alone stands for a list of one.

        A text in an object's place is an object whose member ``text_as`` it is.
        """
        found = (self._entry_object(name, entry, text_as) for entry in self._list(name))
        return [each for each in found if each is not None]

    def one_object(self, name: str, *, text_as: str) -> list["JsonObject"]:
        """Return an object alone, as a list; a list or a text in its place as ``objects`` does."""
        value = self.members.get(name)
        if isinstance(value, dict):
            return [JsonObject(value, self._faults)]
        if value is None:
            return []
        self._faults.add(name, value, "an object")
        entries = value if isinstance(value, list) else [value]
        found = (self._entry_object(name, entry, text_as) for entry in entries)
        return [each for each in found if each is not None]

    def texts(self, name: str, *, named: tuple[str, ...]) -> list[str]:
        """Return the texts of a list: numbers as text, objects by the first name they have.

        A text in the list's place holds several between commas.
        """
        value = self.members.get(name)
        if isinstance(value, str):
            self._faults.add(name, value, "a list")
            return [part.strip() for part in value.split(",") if part.strip()]
        texts = (self._entry_text(name, entry, named) for entry in self._list(name))
        return [text for text in texts if text]

    def size(self, name: str) -> int | None:
        """Return a number of bytes, also one written as text; None for what cannot be one."""
        value = self.members.get(name)
        if value is None:
            return None
        if is_number(value):
            return int(value) if 0 <= value <= MAX_LENGTH_BYTES else None
        self._faults.add(name, value, "a number")
        return read_length(value) if isinstance(value, str) else None

    def plain_members(self) -> dict[str, str]:
        """Return the members that are texts, numbers, true or false, as texts; not blank ones."""
        texts: dict[str, str] = {}
        for name, value in self.members.items():
            if not (isinstance(value, str | bool) or is_number(value)):
                continue
            if is_attribute_name(name):
                texts[name] = as_text(value)
            else:
                # One warning for all, however many names there are.
                self._faults.note("a member is left out: its name begins with '$' or holds NUL")
        return {name: text for name, text in texts.items() if text}

    def _list(self, name: str) -> list[Any]:
        value = self.members.get(name)
        if value is None or isinstance(value, list):
            return value or []
        self._faults.add(name, value, "a list")
        return [value]

    def _entry_object(self, name: str, entry: object, text_as: str) -> "JsonObject | None":
        if isinstance(entry, dict):
            return JsonObject(entry, self._faults)
        if isinstance(self.members.get(name), list):
            self._faults.add_entry(name, entry, "an object")
        return JsonObject({text_as: entry}, self._faults) if isinstance(entry, str) else None

    def _entry_text(self, name: str, entry: object, named: tuple[str, ...]) -> str | None:
        if isinstance(entry, str):
            return entry.strip()
        if isinstance(self.members.get(name), list):
            self._faults.add_entry(name, entry, "a string")
        if is_number(entry):
            return str(entry)
        texts = (entry.get(key) for key in named) if isinstance(entry, dict) else ()
        return next((text.strip() for text in texts if isinstance(text, str)), None)


def is_number(value: object) -> bool:
    """Return whether a value is a number; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_text(value: object) -> str:
    """Return a text as it is, stripped, and all else as JSON whose keys have one order.

    Raises:
        ItemError: ``unreadable``, for values nested too deep to be written again.
    """
    if isinstance(value, str):
        return value.strip()
    try:
        return orjson.dumps(value, option=orjson.OPT_SORT_KEYS).decode()
    except orjson.JSONEncodeError as exc:
        raise ItemError("unreadable", "values are nested too deep") from exc


def kind_of(value: object) -> str:
    """Return what a value is, for people: ``a list``."""
    names = {dict: "an object", list: "a list", str: "a string", bool: "a boolean"}
    return "null" if value is None else names.get(type(value), "a number")


@dataclass(frozen=True, slots=True)
class Person:
    """Who wrote an item, and what the feed says of them beside the name."""

    name: str
    about: dict[str, str]


def read_people(fields: JsonObject) -> list[Person]:
    """Return the authors, or what version 1 has in their place."""
    for objects in (
        fields.objects("authors", text_as="name"),
        fields.one_object("author", text_as="name"),
    ):
        found = [person for each in objects if (person := _person(each)) is not None]
        if found:
            return found
    return []


def _person(fields: JsonObject) -> Person | None:
    url = fields.text("url", numbers=False)
    name = fields.text("name") or url
    if name is None:
        return None
    about = {key: text for key, text in fields.plain_members().items() if key != "name"}
    if about.get("url") == name:
        del about["url"]
    return Person(name, about)


def join_names(people: list[Person]) -> str | None:
    """Return the names of people, each once, between commas; None for nobody."""
    return ", ".join(dict.fromkeys(person.name for person in people)) or None


def read_attachments(fields: JsonObject) -> list[tuple[JsonObject, Enclosure]]:
    """Return an item's attached files as written, each with what it was read from."""
    files = []
    for each in fields.objects("attachments", text_as="url"):
        url = each.text("url", numbers=False)
        if url:
            file = Enclosure(url, each.text("mime_type", numbers=False), each.size("size_in_bytes"))
            files.append((each, file))
    return files
