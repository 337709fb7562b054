"""Hosts: until when each of them asked to be left alone."""

from collections.abc import Iterable
from datetime import datetime

from pymongo import ASCENDING, DESCENDING
from pymongo import errors as mongo_errors

from shared.store.database import Database, Document, find_by_ids, map_error, mapped_errors


class HostStore:
    """Collection ``hosts``, ``_id`` = the host as ``host_of`` gives it."""

    def __init__(self, database: Database) -> None:
        self._hosts = database.collection("hosts")

    def ensure_indexes(self) -> None:
        """Make the index that finds what has run out."""
        with mapped_errors():
            self._hosts.create_index([("retry_after_until", ASCENDING)])

    def block(self, host: str, until: datetime) -> None:
        """Note that a host is not to be asked before ``until``; an earlier time changes nothing."""
        update: Document = {"$max": {"retry_after_until": until}}
        try:
            self._hosts.update_one({"_id": host}, update, upsert=True)
        except mongo_errors.DuplicateKeyError:
            # Another answer of the host was noted first, at the same moment.
            with mapped_errors():
                self._hosts.update_one({"_id": host}, update)
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc

    def blocked_until(self, host: str, now: datetime) -> datetime | None:
        """Return until when a host is not to be asked, None when it may be."""
        with mapped_errors():
            found = self._hosts.find_one({"_id": host, "retry_after_until": {"$gt": now}})
        return found["retry_after_until"] if found is not None else None

    def read_blocked(self, hosts: Iterable[str], now: datetime) -> dict[str, datetime]:
        """Return those of these hosts that are not to be asked, and until when."""
        found = find_by_ids(self._hosts, hosts, {"retry_after_until": True})
        until = {document["_id"]: document.get("retry_after_until") for document in found}
        return {
            host: moment
            for host, moment in until.items()
            if isinstance(moment, datetime) and moment > now
        }

    def find_blocked(self, now: datetime, limit: int) -> dict[str, datetime]:
        """Return the hosts that are not to be asked, and until when; the longest first."""
        query: Document = {"retry_after_until": {"$gt": now}}
        with mapped_errors():
            found = self._hosts.find(query).sort("retry_after_until", DESCENDING).limit(limit)
            return {
                document["_id"]: document["retry_after_until"]
                for document in found
                if isinstance(document["_id"], str)
            }

    def release(self, host: str) -> bool:
        """Let a host be asked again; False when it was not held."""
        with mapped_errors():
            return self._hosts.delete_one({"_id": host}).deleted_count == 1

    def delete_expired(self, now: datetime) -> int:
        """Forget the hosts that may be asked again; returns how many."""
        with mapped_errors():
            result = self._hosts.delete_many({"retry_after_until": {"$lte": now}})
        return int(result.deleted_count)
