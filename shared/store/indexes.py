"""Indexes: what is wanted, what is there, and what is wrong where these differ."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, cast

from pymongo import errors as mongo_errors
from pymongo.collection import Collection

from shared.errors import StoreError, StoreRefused
from shared.store.database import Database, Document, is_refused_code, map_error

# What changes which documents an index holds, how long they live, or which queries it serves.
_OPTIONS = (
    "unique",
    "sparse",
    "partialFilterExpression",
    "expireAfterSeconds",
    "collation",
    "hidden",
)
_CONFLICTS = frozenset({85, 86})
_DUPLICATE_KEY = 11000
Keys = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True)
class WantedIndex:
    """An index that a collection is to have; ``options`` are those that matter, as created."""

    collection: str
    keys: Keys
    options: Mapping[str, Any]

    def __str__(self) -> str:
        fields = (f"-{field}" if order == -1 else field for field, order in self.keys)
        return f"{self.collection}({', '.join(fields)})"


@dataclass(frozen=True, slots=True)
class IndexConflict:
    """An index on the wanted fields, called ``name``, whose options are others."""

    wanted: WantedIndex
    name: str
    options: Mapping[str, Any]

    def __str__(self) -> str:
        return (
            f'index "{self.name}" on {self.wanted} is {_describe(self.options)}, '
            f"but Feedmill needs it {_describe(self.wanted.options)}"
        )

    @property
    def remedy(self) -> str:
        """What to do about it."""
        return f"db.{self.wanted.collection}.dropIndex({json.dumps(self.name)})"


@dataclass(frozen=True, slots=True)
class IndexReport:
    """Which indexes a database lacks, and which are there with other options."""

    missing: Sequence[WantedIndex]
    conflicts: Sequence[IndexConflict]


class IndexPlan:
    """A database that makes no indexes, but notes in ``wanted`` which ones were to be made."""

    def __init__(self) -> None:
        self.wanted: list[WantedIndex] = []

    def collection(self, name: str) -> Collection[Document]:
        """Return a stand-in for a collection, good for nothing but ``create_index``."""
        return cast("Collection[Document]", _PlannedCollection(name, self.wanted))


class _PlannedCollection:
    def __init__(self, name: str, wanted: list[WantedIndex]) -> None:
        self._name = name
        self._wanted = wanted

    def create_index(self, keys: Sequence[tuple[str, Any]], **options: Any) -> None:
        self._wanted.append(WantedIndex(self._name, tuple(keys), _options_of(options)))


def compare_indexes(database: Database, wanted: Iterable[WantedIndex]) -> IndexReport:
    """Compare a database's indexes with the wanted ones; one round trip a collection.

    Raises:
        StoreRefused: the login may not list indexes.
        StoreUnavailable: MongoDB cannot serve.
    """
    missing: list[WantedIndex] = []
    conflicts: list[IndexConflict] = []
    for name, of_collection in groupby(wanted, key=lambda index: index.collection):
        present = _list_indexes(database, name)
        for index in of_collection:
            alike = [found for found in present if tuple(found["key"].items()) == index.keys]
            if any(_options_of(found) == index.options for found in alike):
                continue
            if alike:
                found = alike[0]
                conflicts.append(IndexConflict(index, found["name"], _options_of(found)))
            else:
                missing.append(index)
    return IndexReport(missing, conflicts)


def make_indexes(database: Database, wanted: Sequence[WantedIndex]) -> None:
    """Make those of the wanted indexes that are missing.

    Raises:
        StoreError: one is there with other options, or cannot be made; says what to do.
    """
    try:
        report = compare_indexes(database, wanted)
    except StoreRefused:
        # Making what is there already changes nothing: one may do without looking.
        report = IndexReport(wanted, [])
    if report.conflicts:
        conflict = report.conflicts[0]
        raise StoreError(
            f"{conflict}: drop it with {conflict.remedy} in database {database.name}, "
            "then start again"
        )
    for index in report.missing:
        _make(database, index)


def _list_indexes(database: Database, name: str) -> list[Document]:
    try:
        return [dict(found) for found in database.collection(name).list_indexes()]
    except mongo_errors.PyMongoError as exc:
        raise map_error(exc) from exc


def _make(database: Database, index: WantedIndex) -> None:
    try:
        database.collection(index.collection).create_index(list(index.keys), **index.options)
    except mongo_errors.OperationFailure as exc:
        raise _explain(exc, database, index) from exc
    except mongo_errors.PyMongoError as exc:
        raise map_error(exc) from exc


def _explain(
    error: mongo_errors.OperationFailure, database: Database, index: WantedIndex
) -> StoreError:
    mapped = map_error(error)
    place = f"in database {database.name}"
    if is_refused_code(error.code):
        return StoreRefused(
            f"index {index} is missing {place} and the login may not make it ({mapped}): "
            "grant it createIndex, as the role readWrite does",
            what="createIndex",
        )
    if error.code in _CONFLICTS:
        # Only where the login may not list indexes, or somebody made this one a moment ago.
        return StoreError(
            f"index {index} is there {place} with another name or other options ({mapped}): "
            f"drop it with db.{index.collection}.dropIndex(…), then start again"
        )
    if error.code == _DUPLICATE_KEY:
        return StoreError(
            f"index {index} {place} must be unique, and documents that are there are not "
            f"({mapped}): remove the ones that are too many, then start again"
        )
    return mapped


def _options_of(index: Mapping[str, Any]) -> dict[str, Any]:
    # False is how some servers write what is not set; 0 is a time to live.
    given = {name: index.get(name) for name in _OPTIONS}
    return {
        name: value for name, value in given.items() if value is not None and value is not False
    }


def _describe(options: Mapping[str, Any]) -> str:
    if not options:
        return "plain"
    return ", ".join(
        name if value is True else f"{name}={_shorten(value)}" for name, value in options.items()
    )


def _shorten(value: Any) -> str:
    return str(dict(value) if isinstance(value, Mapping) else value)[:80]
