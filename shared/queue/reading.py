"""Reads what anybody may have written to Redis: what makes no sense is absent. Pure."""

import re
from collections.abc import Mapping
from typing import Any

import orjson

# What Lua's numbers hold exactly; MongoDB's hold more.
MAX_WHOLE = 2**53 - 1
# So many digits are below it for sure.
_FEW_DIGITS = 15
# A tuple: a union of types would be made anew for each number of each job.
_NUMBERS = (bytes, str, int, float)
# A pair of surrogates, one alone, or any other: of two backslashes neither begins a surrogate.
_ESCAPE = re.compile(
    r"\\(?:u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}"
    r"|(?P<alone>u[dD][89a-fA-F][0-9a-fA-F]{2})|.)",
    re.DOTALL,
)


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
        return load_json(value) if value else None
    except orjson.JSONDecodeError:
        return None


def json_or_text(value: str) -> Any:
    """Return what a JSON text holds; a text that is none as it is."""
    try:
        return load_json(value)
    except orjson.JSONDecodeError:
        return value


def load_json(value: bytes | str) -> Any:
    """Return what JSON holds that any program may have written, half of an emoji or not UTF-8.

    Raises:
        orjson.JSONDecodeError: it is none, or is nested more than 1024 deep, which Python could
            neither write again nor show.
    """
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError:
        return orjson.loads(with_whole_characters(value))


def with_whole_characters(value: bytes | str) -> str:
    """Return a JSON text with U+FFFD for what is no character: lone surrogates, odd bytes.

    JavaScript cuts texts between the two halves of an emoji, and writes a half as an escape. It is
    valid JSON, and ``json.loads`` reads it; but its text can be written neither as UTF-8 nor to
    MongoDB, so that a handler could not pass it on. U+FFFD is what JavaScript itself sends then.
    """
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    return _ESCAPE.sub(lambda found: found[0] if found["alone"] is None else "\\ufffd", text)
