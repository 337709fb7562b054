"""What the jobs of a declared queue carry: by the annotation of its function, checked by pydantic.

Data is checked when it is added, as it is written, and again when it is run, as it is read.
"""

import inspect
from collections.abc import Callable
from typing import Any, Generic, TypeVar, get_args, get_origin, get_type_hints

import orjson
from pydantic import BaseModel, TypeAdapter, ValidationError
from pydantic.errors import PydanticUserError
from pydantic_core import PydanticSerializationError

from feedmill.jobs import Job
from shared.errors import InvalidJobOptions, QueueError, UnrecoverableError

M = TypeVar("M")

_MAX_NAMED = 3


class PayloadType(Generic[M]):
    """The type of a queue's data: a pydantic model, or anything else that pydantic knows."""

    def __init__(self, annotation: Any) -> None:
        self._adapter: TypeAdapter[M] = TypeAdapter(annotation)
        self.name = getattr(annotation, "__name__", str(annotation))
        self._annotation = annotation

    def written_fields(self) -> set[str] | None:
        """Return the names of all fields as JSON has them; None where they cannot be known."""
        annotation = self._annotation
        if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)):
            return None
        if annotation.model_config.get("extra") == "allow":
            return None
        named = {
            field.serialization_alias or name for name, field in annotation.model_fields.items()
        }
        return named | set(annotation.model_computed_fields)

    def write(self, data: M) -> object:
        """Return data as JSON holds it, once it is sure that it can be read again.

        Raises:
            InvalidJobOptions: it does not fit the type.
        """
        try:
            checked = self._adapter.validate_python(data)
            written = self._adapter.dump_json(checked, by_alias=True)
            self._adapter.validate_json(written)
        except ValidationError as exc:
            raise InvalidJobOptions("data", data, f"{self.name} ({describe(exc)})") from exc
        except PydanticSerializationError as exc:
            raise InvalidJobOptions("data", data, f"what JSON can hold ({exc})") from exc
        return orjson.loads(written)

    def read(self, data: object) -> M:
        """Return data that JSON held.

        Raises:
            UnrecoverableError: it does not fit the type, and never will.
        """
        try:
            return self._adapter.validate_json(orjson.dumps(data))
        except ValidationError as exc:
            raise UnrecoverableError(f"data is no {self.name}: {describe(exc)}") from exc


def read_payload_type(
    name: str, function: Callable[..., object], *, in_batches: bool = False
) -> PayloadType[Any]:
    """Return what ``function``, which works queue ``name``, takes: ``Job[Email]`` takes an Email.

    ``list[Job[Email]]`` takes many of them, ``in_batches``. A ``Job`` alone takes whatever JSON can
    hold.

    Raises:
        QueueError: its first parameter is annotated otherwise, or with what pydantic cannot check.
    """
    wanted = "a list[Job[...]]" if in_batches else "a Job[...]"
    shape = f"queue {name!r}: the first parameter of {function.__name__} must be {wanted}"
    given = annotation = _read_annotation(name, function, shape)
    if get_origin(given) is list and not in_batches:
        raise QueueError(f"{shape}; a list of jobs is for @queue(..., batch=500)")
    if in_batches:
        annotation = next(iter(get_args(given)), None) if get_origin(given) is list else None
    if annotation is Job:
        return PayloadType(Any)
    if get_origin(annotation) is not Job:
        found = "it is not annotated" if given is None else f"not {given!r}"
        raise QueueError(f"{shape} of the type of its data; {found}")
    try:
        return PayloadType(get_args(annotation)[0])
    except PydanticUserError as exc:
        first = str(exc).splitlines()[0]
        raise QueueError(f"{shape} of a type that pydantic can check: {first}") from exc


def _read_annotation(name: str, function: Callable[..., object], shape: str) -> Any:
    """Return what the first parameter of a function is annotated with, None if with nothing."""
    parameters = list(inspect.signature(function).parameters)
    if not parameters:
        raise QueueError(f"{shape}; it has none")
    if inspect.iscoroutinefunction(function):
        raise QueueError(f"queue {name!r}: {function.__name__} is async; a worker runs plain ones")
    try:
        return get_type_hints(function).get(parameters[0])
    except NameError as exc:
        raise QueueError(f"{shape} of a type that is there already: {exc}") from exc


def describe(error: ValidationError) -> str:
    """Return in one line what is wrong with data, and where."""
    found = error.errors(include_url=False, include_context=False, include_input=False)
    faults = [
        ": ".join(filter(None, (".".join(map(str, each["loc"])), each["msg"])))
        for each in found[:_MAX_NAMED]
    ]
    more = len(found) - _MAX_NAMED
    return "; ".join(faults) + (f"; and {more} more" if more > 0 else "")
