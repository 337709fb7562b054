"""The first login of an embedded store, and the wait until it answers."""

from pymongo import MongoClient
from pymongo import errors as mongo_errors

from shared.store.database import Document, mapped_errors, open_database
from shared.store.stores import COLLECTIONS, Stores

_USER_EXISTS = 51003
_ATTEMPT_TIMEOUT_MS = 1000
_PLACEHOLDER = "placeholder"


def is_answering(url: str) -> bool:
    """Return whether a MongoDB answers at ``url`` and accepts the login in it."""
    try:
        with _connect(url) as client:
            client.admin.command("ping")
            client.get_default_database("feedmill").command("listCollections", nameOnly=True)
    except mongo_errors.PyMongoError:
        return False
    return True


def set_password(url: str, user: str, password: str) -> None:
    """Create a user that may do everything, or give it a new password if it is there already.

    For a server without access control; the caller has it stopped properly afterwards.

    Raises:
        StoreError: the server refused it, or does not answer.
    """
    with mapped_errors(), _connect(url) as client:
        try:
            client.admin.command("createUser", user, pwd=password, roles=["root"])
        except mongo_errors.OperationFailure as exc:
            if exc.code != _USER_EXISTS:
                raise
            client.admin.command("updateUser", user, pwd=password)


def make_collections(url: str) -> None:
    """Make every collection, so that none is new when the store is killed for the first time.

    SecantusDB 0.7 makes a collection's table at its first write and cannot open its data again
    when it is killed at that moment; the caller has it stopped properly after this.

    Raises:
        StoreError: the server refused it, or does not answer.
    """
    database = open_database(url)
    try:
        stores = Stores.of(database)
        stores.ensure_indexes()
        for name in COLLECTIONS:
            collection = database.collection(name)
            with mapped_errors():
                collection.insert_one({"_id": _PLACEHOLDER})
                collection.delete_one({"_id": _PLACEHOLDER})
    finally:
        database.close()


def _connect(url: str) -> MongoClient[Document]:
    return MongoClient(
        url,
        directConnection=True,
        serverSelectionTimeoutMS=_ATTEMPT_TIMEOUT_MS,
        connectTimeoutMS=_ATTEMPT_TIMEOUT_MS,
        socketTimeoutMS=10 * _ATTEMPT_TIMEOUT_MS,
        maxPoolSize=1,
    )
