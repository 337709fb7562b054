"""Reads one option that a caller gave, or says in one line why not. Pure."""

from collections.abc import Callable, Collection, Mapping
from typing import Any

from shared.errors import InvalidJobOptions, UnknownJobOption
from shared.queue.reading import MAX_WHOLE

RATES = "jobs and milliseconds, each from 1"

# How each option is read, by its name, and what is accepted, in words.
Readers = Mapping[str, tuple[Callable[[Any], Any], str]]


def read_option(readers: Readers, name: str, value: object, *, others: Collection[str] = ()) -> Any:
    """Return an option's value as its reader gives it; ``others`` are names read elsewhere.

    Raises:
        InvalidJobOptions: there is no such option, or its reader refuses the value.
    """
    if name not in readers:
        raise UnknownJobOption(name, (*readers, *others))
    read, accepted = readers[name]
    try:
        return read(value)
    except (TypeError, ValueError) as exc:
        raise InvalidJobOptions(name, value, accepted) from exc


def whole_between(lowest: int, highest: int) -> Callable[[object], int]:
    """Return a reader of whole numbers within these bounds."""

    def read(value: object) -> int:
        # A bool is an int to Python; nobody means it here.
        if isinstance(value, bool) or not isinstance(value, int) or not lowest <= value <= highest:
            raise ValueError(value)
        return value

    return read


def read_text(value: object) -> str:
    """Read a text that is not empty."""
    if not isinstance(value, str) or not value:
        raise ValueError(value)
    return value


def read_rate(value: tuple[int, int] | None) -> tuple[int, int] | None:
    """Read at most how many in how many ms; None is no limit."""
    if value is None:
        return None
    most, duration_ms = map(whole_between(1, MAX_WHOLE), value)
    return most, duration_ms


def read_bool(value: object) -> bool:
    """Read True or False, and nothing that only counts as one of them."""
    if not isinstance(value, bool):
        raise TypeError(value)
    return value
