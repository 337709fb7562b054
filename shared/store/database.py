"""The connection to MongoDB, its guarantees, and the one place where its errors are sorted."""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any, TypeAlias

from bson.codec_options import CodecOptions, DatetimeConversion
from pymongo import MongoClient
from pymongo import errors as mongo_errors
from pymongo.collection import Collection
from pymongo.database import Database as MongoDatabase
from pymongo.read_concern import ReadConcern
from pymongo.write_concern import WriteConcern

from shared.errors import StoreError, StoreRefused, StoreUnavailable

Document: TypeAlias = dict[str, Any]

DEFAULT_DATABASE = "feedmill"
# Ids in one find. MongoDB would take more, but SecantusDB 0.7 compares each document with each id:
# 500 ids at once cost 260 ms, in hundreds 80 ms.
FIND_IDS = 100
# The same where most are there: what is not found is compared with nothing.
FIND_STORED_IDS = 50
# How long MongoDB may take to have a write on a majority's journals.
WRITE_TIMEOUT_MS = 10_000
# Longer than the longest write, so that the server's own answer comes first.
SOCKET_TIMEOUT_MS = 20_000
# Longer than a heartbeat: one failed heartbeat must not look like an outage.
HEARTBEAT_MS = 2_000
SERVER_SELECTION_TIMEOUT_MS = 5_000

# Errors of the store's state, not of the operation: shutting down, no primary, interrupted,
# out of disk, out of time, write concern not met, a cursor that a failover took along.
_UNAVAILABLE_CODES = frozenset(
    {6, 7, 24, 43, 46, 50, 64, 79, 89, 91, 100, 112, 133, 134, 175, 189, 202, 262, 365, 384}
    | {9001, 10107, 11600, 11602, 13435, 13436, 14031}
)
# Errors of this login: not authorised, not who it says, and Atlas's own code for either.
_REFUSED_CODES = frozenset({13, 18, 8000})
# How MongoDB, SecantusDB and Atlas name the action that they refuse.
_REFUSED_ACTION = re.compile(
    r"execute command \{ (\w+):|\(action: (\w+)\)|do action \[(\w+)\]|command (\w+) requires"
)


def find_by_ids(
    collection: Collection[Document],
    ids: Iterable[str],
    fields: Document | None = None,
    *,
    at_once: int = FIND_IDS,
) -> Iterator[Document]:
    """Yield the documents with these ids, whole or some ``fields`` of them, in any order.

    One round trip ``at_once`` ids.

    Raises:
        StoreUnavailable: some may not have been read.
    """
    wanted = list(ids)
    for start in range(0, len(wanted), at_once):
        some = {"_id": {"$in": wanted[start : start + at_once]}}
        with mapped_errors():
            # As a list: document by document the driver takes twice the time.
            found = list(collection.find(some, fields))
        yield from found


class Database:
    """One MongoDB database with Feedmill's guarantees; made once a process, safe for threads.

    ``collection`` writes with ``w: majority, j: true`` and reads with read concern majority.
    """

    def __init__(self, client: MongoClient[Document], name: str) -> None:
        self._client = client
        self._database: MongoDatabase[Document] = client.get_database(
            name,
            codec_options=CodecOptions(
                tz_aware=True,
                tzinfo=UTC,
                # A date beyond Python's range must not make a document unreadable.
                datetime_conversion=DatetimeConversion.DATETIME_CLAMP,
            ),
            write_concern=WriteConcern(w="majority", j=True, wtimeout=WRITE_TIMEOUT_MS),
            read_concern=ReadConcern("majority"),
        )
        self.name = name

    def collection(self, name: str) -> Collection[Document]:
        """Return a collection; it is made by its first write."""
        return self._database[name]

    def ping(self) -> None:
        """Ask the server for a sign of life.

        Raises:
            StoreUnavailable: there is none.
        """
        self.ask("ping")

    def ask(self, command: str) -> Document:
        """Return the server's answer to a command without arguments, as ``hello``.

        Raises:
            StoreError: it refuses the command, or does not answer.
        """
        with mapped_errors():
            return dict(self._database.command(command))

    def drop(self) -> None:
        """Delete the whole database: for tests."""
        with mapped_errors():
            self._client.drop_database(self.name)

    def close(self) -> None:
        """Close all connections."""
        self._client.close()


def open_database(url: str, *, app_name: str = "feedmill") -> Database:
    """Open the database that ``url`` names (``feedmill`` if it names none). Connects lazily.

    Timeouts that the URL names itself hold instead of ours, and so does any other option in it.

    Raises:
        StoreError: the URL is not one of MongoDB's.
    """
    try:
        client: MongoClient[Document] = MongoClient(
            url,
            appname=app_name,
            **_timeouts_beside(url),
        )
        name = client.get_default_database(DEFAULT_DATABASE).name
    except (mongo_errors.PyMongoError, ValueError) as exc:
        raise StoreError(f"MONGODB_URL is not a usable MongoDB address: {exc}") from exc
    return Database(client, name)


def _timeouts_beside(url: str) -> dict[str, Any]:
    """Return our timeouts but those that the URL names: the driver prefers what it is passed."""
    ours = {
        "connectTimeoutMS": SERVER_SELECTION_TIMEOUT_MS,
        "socketTimeoutMS": SOCKET_TIMEOUT_MS,
        "heartbeatFrequencyMS": HEARTBEAT_MS,
        "serverSelectionTimeoutMS": SERVER_SELECTION_TIMEOUT_MS,
    }
    # Not urlsplit: the driver takes passwords that it would stumble over.
    options = re.split("[&;]", url.partition("?")[2])
    named = {option.partition("=")[0].lower() for option in options}
    return {name: ms for name, ms in ours.items() if name.lower() not in named}


@contextmanager
def mapped_errors() -> Iterator[None]:
    """Turn pymongo's errors into ours, sorted by whether trying again can help."""
    try:
        yield
    except mongo_errors.PyMongoError as exc:
        raise map_error(exc) from exc


def map_error(error: mongo_errors.PyMongoError) -> StoreError:
    """Return the error to raise for a driver's error that does not concern one item alone."""
    code = getattr(error, "code", None)
    if isinstance(error, mongo_errors.OperationFailure) and is_refused_code(code):
        text = _first_line(error)
        return StoreRefused(f"MongoDB refused: {text}", what=_refused_action(text, code))
    if is_unavailable(error):
        return StoreUnavailable(f"MongoDB cannot serve: {_first_line(error)}")
    return StoreError(f"MongoDB refused: {_first_line(error)}")


def is_unavailable(error: mongo_errors.PyMongoError) -> bool:
    """Return whether an error speaks of the store's state rather than of the operation."""
    if isinstance(
        error,
        mongo_errors.ConnectionFailure
        | mongo_errors.WriteConcernError
        | mongo_errors.ExecutionTimeout
        | mongo_errors.WaitQueueTimeoutError,
    ):
        return True
    if isinstance(error, mongo_errors.BulkWriteError):
        return bool(error.details.get("writeConcernErrors")) or any(
            is_unavailable_code(failure.get("code"))
            for failure in error.details.get("writeErrors", ())
        )
    return isinstance(error, mongo_errors.OperationFailure) and is_unavailable_code(error.code)


def is_unavailable_code(code: int | None) -> bool:
    """Return whether a server's error code is of the store's state, or of our login's rights."""
    return code in _UNAVAILABLE_CODES or is_refused_code(code)


def is_refused_code(code: int | None) -> bool:
    """Return whether a server's error code says that our login may not do it."""
    return code in _REFUSED_CODES


def is_duplicate_id(failure: Document) -> bool:
    """Return whether a write error is a duplicate ``_id``: with us, a guard that no longer held."""
    if failure.get("code") != 11000:
        return False
    pattern = failure.get("keyPattern")
    if pattern is not None:
        return list(pattern) == ["_id"]
    return "_id_" in str(failure.get("errmsg", ""))


def _refused_action(text: str, code: int | None) -> str:
    if code == 18:
        return "its login"
    found = _REFUSED_ACTION.search(text)
    return next(filter(None, found.groups()), "") if found is not None else "an operation"


def _first_line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    # The driver adds its own settings, which are the same in every error, and the whole answer.
    for addition in (" (configured timeouts:", ", full error:"):
        text = text.partition(addition)[0]
    return text.splitlines()[0][:300]
