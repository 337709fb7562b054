"""What requests and answers are made of: times and texts, lists, and JSON's types for any value."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, Generic, TypeVar

import orjson
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    WithJsonSchema,
    model_validator,
)

from shared.models import MAX_SOURCE_LENGTH, format_time, is_source, parse_time
from shared.urls import mask_secrets

MAX_LIMIT = 500
MAX_IDS = 10_000
MAX_YEAR_S = 31_536_000
# As deep as what requests may hold; not much more can be written as an answer.
_MAX_DEPTH = 100
_TOO_DEEP = f"nested deeper than {_MAX_DEPTH} levels"
T = TypeVar("T")


def _check_source(text: str) -> str:
    if not is_source(text):
        raise ValueError(f"must be 1 to {MAX_SOURCE_LENGTH} characters of a-z 0-9 - _ .")
    return text


def _refuse_nul(text: str) -> str:
    if "\x00" in text:
        raise ValueError("must not contain NUL characters")
    return text


def _drop_blank(value: object) -> object:
    """Take ``?state=`` as if it had been left out."""
    return None if value == "" else value


def read_moment(value: object) -> object:
    """Return the time that a text names, None for none; anything else as it is."""
    if not isinstance(value, str) or value == "":
        return value or None
    try:
        # The plus of a zone that was not percent-encoded arrives as a blank.
        return parse_time(value.replace(" ", "+"))
    except ValueError as exc:
        raise ValueError("use RFC 3339, as in 2026-11-01T12:00:00Z") from exc


Source = Annotated[
    str,
    AfterValidator(_check_source),
    Field(json_schema_extra={"pattern": "^[a-z0-9_.-]{1,64}$"}),
]
Url = Annotated[str, Field(min_length=1, max_length=4096)]
Text = Annotated[str, AfterValidator(_refuse_nul)]
# A value in a query; `?state=` is as if it had been left out.
Filter = Annotated[T | None, BeforeValidator(_drop_blank)]
# A time in a query: RFC 3339, nothing else that pydantic would take for one.
Moment = Annotated[
    datetime | None,
    BeforeValidator(read_moment),
    WithJsonSchema({"anyOf": [{"type": "string", "maxLength": 64}, {"type": "null"}]}),
]
Time = Annotated[
    str,
    Field(
        description="RFC 3339, UTC",
        examples=["2026-11-01T12:00:00.000Z"],
        json_schema_extra={"format": "date-time"},
    ),
]


class RequestBody(BaseModel):
    """A JSON object that may hold the named fields and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)

    @model_validator(mode="before")
    @classmethod
    def _name_accepted_fields(cls, body: Any) -> Any:
        if isinstance(body, dict):
            names = [field.alias or name for name, field in cls.model_fields.items()]
            unknown = sorted(str(name)[:40] for name in body.keys() - set(names))
            if unknown:
                accepted = ", ".join(names)
                raise ValueError(f"unknown field {unknown[0]!r}; known fields: {accepted}")
        return body


class ListQuery(BaseModel):
    """Which page of a list."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(50, ge=1, le=MAX_LIMIT, description="how many at most")
    cursor: Filter[str] = Field(
        None, max_length=4000, description="`next_cursor` of the page before"
    )


class Listing(BaseModel, Generic[T]):
    """One page of a list, newest first."""

    items: list[T]
    next_cursor: str | None = Field(description="`cursor` of the next page; null on the last")


def show_time(moment: datetime | None) -> str | None:
    """Return a time as RFC 3339 in UTC."""
    return format_time(moment) if moment is not None else None


def show_text(text: str) -> str:
    """Return a message that people will see: no secrets, nothing that UTF-8 cannot hold."""
    return mask_secrets(printable(text))


def printable(text: str) -> str:
    """Return text without lone surrogates, which no JSON answer could carry."""
    return text.encode("utf-8", "replace").decode()


def show_json(raw: object) -> Any:
    """Return JSON text decoded; as it is where it is no JSON that an answer could carry."""
    if raw is None:
        return None
    if not isinstance(raw, str):
        return show_value(raw) if _is_shallow(raw) else _TOO_DEEP
    text = printable(raw)
    try:
        value = orjson.loads(text)
    except orjson.JSONDecodeError:
        return text
    return value if _is_shallow(value) else text


def show_value(value: Any) -> Any:
    """Return a stored value with JSON's types, whatever it is."""
    match value:
        case None | bool() | int():
            return value
        case str():
            return printable(value)
        case float():
            # JSON knows neither infinity nor "not a number".
            return value if value - value == 0 else None
        case datetime():
            return format_time(value if value.tzinfo else value.replace(tzinfo=UTC))
        case Mapping():
            return {printable(str(name)): show_value(held) for name, held in value.items()}
        case list() | tuple():
            return [show_value(held) for held in value]
        case _:
            return printable(str(value))


def _is_shallow(value: object) -> bool:
    """Return whether a decoded value is nested so little that it can be encoded again."""
    level = [value]
    for _ in range(_MAX_DEPTH):
        level = [
            held
            for container in level
            if isinstance(container, Mapping | list)
            for held in (container.values() if isinstance(container, Mapping) else container)
        ]
        if not level:
            return True
    return False
