"""The values of JSON objects by goodwill: one of a wrong type costs itself, with a warning."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

import orjson

from server.parsing.item_fields import MAX_LENGTH_BYTES, read_length
from shared.errors import ItemError


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
        """Tell whether a member is there that is neither a text nor a number."""
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
    """Tell whether a value is a number; true and false are none."""
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
