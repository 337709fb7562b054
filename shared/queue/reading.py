"""Reads what anybody may have written to Redis: what makes no sense is absent. Pure."""

from collections.abc import Mapping
from typing import Any

import orjson

# What Lua's numbers hold exactly; MongoDB's hold more.
MAX_WHOLE = 2**53 - 1
# So many digits are below it for sure.
_FEW_DIGITS = 15
# A tuple: a union of types would be made anew for each number of each job.
_NUMBERS = (bytes, str, int, float)


def whole_number(value: object) -> int | None:
    """Read a whole number that Lua and MongoDB can hold too; anything else is None."""
    # Asked six times of each claimed job, and mostly of an absent field.
    if value is None:
        return None
    if type(value) is bytes and len(value) <= _FEW_DIGITS and value.isdigit():
        return int(value)
    if isinstance(value, bool) or not isinstance(value, _NUMBERS):
        return None
    try:
        number = int(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) <= MAX_WHOLE else None


def read_revision(value: bytes | None) -> int | None:
    """Read a revision, which is at least 1; anything else is none at all."""
    number = whole_number(value)
    return number if number is not None and number >= 1 else None


def read_object(value: bytes | None) -> Mapping[str, object]:
    """Read a JSON object; anything else is an empty one."""
    decoded = read_json(value)
    return decoded if isinstance(decoded, dict) else {}


def read_json(value: bytes | None) -> object:
    """Read JSON; None where there is none, or none that can be read."""
    try:
        return orjson.loads(value) if value else None
    except orjson.JSONDecodeError:
        return None


def json_or_text(value: str) -> Any:
    """Return what a JSON text holds; a text that is none as it is."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return value
