"""Dead letters: items whose attempts are used up, and items that an operator removed."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime

from pymongo import ASCENDING, DESCENDING, DeleteOne, UpdateOne
from pymongo import errors as mongo_errors

from shared.models import Rank
from shared.store.causes import Cause, group_by_cause
from shared.store.database import (
    FIND_IDS,
    Database,
    Document,
    find_by_ids,
    is_duplicate_id,
    is_unavailable,
    map_error,
    mapped_errors,
)
from shared.store.dead_letter_documents import (
    DeadLetter,
    LetterKind,
    push_to_history,
    put_beneath_top,
    put_on_top,
    read_letter,
    up_to,
)
from shared.store.pages import Page, PagedList
from shared.store.reading import find_misfits, read_document, read_those_that_fit

LETTERS = "dead_letters"
MAX_LISTED_DATA_BYTES = 64 * 1024
# What a slow store can write, three times over, in the time that one call has; a whole feed may be
# unreadable.
LETTERS_A_CALL = 350
# Whole letters in one answer of MongoDB: most have kilobytes, a few have megabytes.
WHOLE_LETTERS = 16


class DeadLetterStore:
    """Collection ``dead_letters``, ``_id`` = item id."""

    def __init__(self, database: Database) -> None:
        self._letters = database.collection(LETTERS)
        self._list = PagedList(self._letters, "failed_at")

    def ensure_indexes(self) -> None:
        """Make the indexes of the list, of its filters, of the causes and of their sizes."""
        # The last one holds all that grouping by cause reads, so that no letter is read for it.
        filters: Sequence[list[str]] = (
            [],
            ["source"],
            ["cause"],
            ["history.import_id"],
            ["cause", "source"],
        )
        with mapped_errors():
            for leading in filters:
                self._letters.create_index(
                    [
                        ("kind", ASCENDING),
                        *((name, ASCENDING) for name in leading),
                        ("failed_at", DESCENDING),
                        ("_id", DESCENDING),
                    ]
                )
            self._letters.create_index(
                [("kind", ASCENDING), ("cause", ASCENDING), ("data_bytes", ASCENDING)]
            )

    def record_many(self, letters: Sequence[DeadLetter]) -> None:
        """Put letters on record: the highest rank on top, the others into the history only.

        An equal revision replaces a dead one (its replay failed again), not a removal. Each id at
        most once a call. Safe to repeat; survives a crash when it returns.

        Raises:
            StoreUnavailable: nothing is known of any of them.
        """
        for start in range(0, len(letters), LETTERS_A_CALL):
            self._record(letters[start : start + LETTERS_A_CALL])

    def _record(self, letters: Sequence[DeadLetter]) -> None:
        overtaken = self._put_on_top(letters)
        if overtaken:
            # One recorded at the same moment makes a duplicate key, even if it is lower.
            overtaken = self._put_on_top(overtaken)
        if not overtaken:
            return
        # Ordered: what replaced an equal one is in the history by then, and not added again.
        others = [write for letter in overtaken for write in put_beneath_top(letter)]
        with mapped_errors():
            self._letters.bulk_write(others)

    def read_many(self, item_ids: Iterable[str]) -> dict[str, DeadLetter]:
        """Return the dead letters of these items, without data and stack traces."""
        found = find_by_ids(self._letters, item_ids, {"data": False, "stacktrace": False})
        return {
            letter.item_id: letter for letter in read_those_that_fit(LETTERS, found, read_letter)
        }

    def get(self, item_id: str) -> DeadLetter | None:
        """Return the whole dead letter of one item."""
        with mapped_errors():
            found = self._letters.find_one({"_id": item_id})
        return read_document(LETTERS, found, read_letter) if found is not None else None

    def find_misfits(self, limit: int) -> list[str]:
        """Return in words what is wrong with letters that cannot be read; looks at ``limit``."""
        with mapped_errors():
            found = self._letters.find({}, {"data": False, "stacktrace": False}).limit(limit)
            return list(find_misfits(LETTERS, found, read_letter))

    def clear_many(self, stored_ranks: Mapping[str, Rank]) -> int:
        """Delete the dead letters of stored items, unless their rank is above the stored one.

        Returns how many were deleted.
        """
        operations = [
            DeleteOne({"_id": item_id} | guard)
            for item_id, rank in stored_ranks.items()
            for guard in up_to(rank)
        ]
        if not operations:
            return 0
        with mapped_errors():
            return int(self._letters.bulk_write(operations, ordered=False).deleted_count)

    def mark_removed(self, item_id: str, now: datetime) -> DeadLetter | None:
        """Turn a dead letter into a removal by an operator.

        Returns the letter as it was, without data; None when there is none to turn.
        """
        while True:
            letter = self.read_many([item_id]).get(item_id)
            if letter is None or letter.kind is LetterKind.REMOVED:
                return None
            removal = replace(letter, kind=LetterKind.REMOVED, failed_at=now)
            with mapped_errors():
                result = self._letters.update_one(
                    {"_id": item_id, "kind": LetterKind.DEAD, "revision": letter.revision},
                    {
                        "$set": {"kind": LetterKind.REMOVED},
                        "$push": push_to_history(removal.history_entry),
                    },
                )
            # Else it ended again meanwhile, at a higher revision: that one is meant, too.
            if result.modified_count == 1:
                return letter

    def withdraw_removal(self, letter: DeadLetter, marked_at: datetime) -> None:
        """Undo :meth:`mark_removed`: the letter is dead again, unless something replaced it."""
        end = {"revision": letter.revision, "kind": LetterKind.REMOVED, "at": marked_at}
        with mapped_errors():
            self._letters.update_one(
                {
                    "_id": letter.item_id,
                    "kind": LetterKind.REMOVED,
                    "revision": letter.revision,
                },
                {"$set": {"kind": LetterKind.DEAD}, "$pull": {"history": end}},
            )

    def renew_hashes(self, renewed: Iterable[tuple[DeadLetter, str]]) -> None:
        """Give letters another hash of their content, unless something replaced them."""
        operations = [
            UpdateOne(
                {"_id": letter.item_id, "content_hash": letter.content_hash},
                {"$set": {"content_hash": content_hash}},
            )
            for letter, content_hash in renewed
        ]
        if operations:
            with mapped_errors():
                self._letters.bulk_write(operations, ordered=False)

    def select_removed(self, contents: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        """Return which contents an operator removed last: pairs of item id and hash.

        One find a hundred items.
        """
        wanted = set(contents)
        letters = self.read_many({item_id for item_id, _ in wanted})
        return {
            (item_id, content_hash)
            for item_id, content_hash in wanted
            if item_id in letters and letters[item_id].has_removed(content_hash)
        }

    def readmit(self, contents: Iterable[tuple[str, str]]) -> None:
        """Let contents in again that an operator removed: pairs of item id and hash.

        A removal stays on record, and holds for its revision and lower ones.
        """
        operations = [
            UpdateOne(
                {"_id": item_id, "kind": LetterKind.REMOVED, "content_hash": content_hash},
                {"$set": {"content_hash": ""}},
            )
            for item_id, content_hash in contents
        ]
        if operations:
            with mapped_errors():
                self._letters.bulk_write(operations, ordered=False)

    def has_any(self, source: str) -> bool:
        """Return whether anything, dead or removed, is on record of a source; one look-up."""
        # The ids of a source lie between its name with a # and with what comes next.
        ids = {"$gte": f"{source}#", "$lt": f"{source}$"}
        with mapped_errors():
            return self._letters.find_one({"_id": ids}, {"_id": True}) is not None

    def find_page(
        self,
        *,
        source: str | None = None,
        cause: str | None = None,
        import_id: str | None = None,
        limit: int,
        cursor: str | None,
    ) -> Page[DeadLetter]:
        """Return dead ones (not removed ones), latest first.

        With ``import_id`` those that ended in this import, though they may have failed again since.
        Data of over 64 KiB is left out, so that no page can fill the memory: :meth:`get` has it.
        """
        page = self._list.find(
            self._dead(source=source, cause=cause, import_id=import_id),
            limit=limit,
            cursor=cursor,
            fields={"data": False, "stacktrace": False},
        )
        data = self._read_small_data([document["_id"] for document in page.items])
        whole = (document | data.get(document["_id"], {}) for document in page.items)
        letters = list(read_those_that_fit(LETTERS, whole, read_letter))
        return Page(letters, page.next_cursor)

    def find_dead(self, *, source: str | None = None, cause: str | None = None) -> list[str]:
        """Return the ids of dead ones (not removed ones) that fit, ordered, so by source."""
        query = self._dead(source=source, cause=cause)
        with mapped_errors():
            found = self._letters.find(query, {"_id": True}).sort("_id", ASCENDING)
            return [document["_id"] for document in found]

    def select_dead(self, item_ids: Iterable[str]) -> list[str]:
        """Return those of the ids whose letter is dead (not removed), ordered, so by source."""
        # Asked for by id alone: given the kind too, SecantusDB 0.7 would read all that are dead.
        found = find_by_ids(self._letters, set(item_ids), {"kind": True})
        return sorted(letter["_id"] for letter in found if letter.get("kind") == LetterKind.DEAD)

    def read_whole(self, item_ids: Sequence[str]) -> list[DeadLetter]:
        """Return whole dead letters, with data, ordered by id."""
        with mapped_errors():
            found = self._letters.find({"_id": {"$in": list(item_ids)}}).sort("_id", ASCENDING)
            return list(read_those_that_fit(LETTERS, found, read_letter))

    def iterate_whole(self, item_ids: Sequence[str]) -> Iterator[DeadLetter]:
        """Yield whole dead letters, with data, ordered by id; a few are in memory at a time."""
        ordered = sorted(item_ids)
        for start in range(0, len(ordered), FIND_IDS):
            query = {"_id": {"$in": ordered[start : start + FIND_IDS]}}
            with mapped_errors():
                found = self._letters.find(query).sort("_id", ASCENDING).batch_size(WHOLE_LETTERS)
                yield from read_those_that_fit(LETTERS, found, read_letter)

    def find_causes(self, *, source: str | None = None) -> list[Cause]:
        """Return the 100 most frequent causes of dead ones (not removed ones), that one first."""
        return group_by_cause(self._letters, self._list, self._dead(source=source))

    def count(self, kind: LetterKind) -> int:
        """Return how many there are of a kind; counted in the index."""
        with mapped_errors():
            return self._letters.count_documents({"kind": kind})

    def count_small(
        self, cause: str, max_bytes: int, *, source: str | None = None, limit: int
    ) -> int:
        """Return how many dead ones of a cause have at most so many bytes of data.

        ``limit`` when there are that many or more; an index finds them.
        """
        small = {"data_bytes": {"$lte": max_bytes}}
        with mapped_errors():
            return self._letters.count_documents(
                self._dead(source=source, cause=cause) | small, limit=limit
            )

    def iterate_ids(
        self, *, batch_size: int, kind: LetterKind | None = None
    ) -> Iterable[list[str]]:
        """Yield the ids of all dead letters in batches, ordered by id."""
        last_id = ""
        while True:
            query: Document = {"_id": {"$gt": last_id}}
            if kind is not None:
                query["kind"] = kind
            with mapped_errors():
                found = [
                    document["_id"]
                    for document in self._letters.find(query, {"_id": True})
                    .sort("_id", ASCENDING)
                    .limit(batch_size)
                ]
            if not found:
                return
            yield found
            last_id = found[-1]

    def delete_some(self, letters: Iterable[DeadLetter]) -> None:
        """Delete dead ones, unless something replaced them. Safe to repeat."""
        operations = [
            DeleteOne(
                {
                    "_id": letter.item_id,
                    "kind": LetterKind.DEAD,
                    "revision": letter.revision,
                    "import_id": letter.import_id,
                }
            )
            for letter in letters
        ]
        if operations:
            with mapped_errors():
                self._letters.bulk_write(operations, ordered=False)

    def delete_dead_before(
        self, moment: datetime, keep_ids: Iterable[str], *, keep_sources: Iterable[str] = ()
    ) -> int:
        """Delete dead ones older than ``moment``; returns how many.

        But for ``keep_ids``, and all of ``keep_sources``.
        """
        query = {
            "kind": LetterKind.DEAD,
            "failed_at": {"$lt": moment},
            "_id": {"$nin": list(keep_ids)},
            "source": {"$nin": list(keep_sources)},
        }
        with mapped_errors():
            return int(self._letters.delete_many(query).deleted_count)

    def _read_small_data(self, item_ids: Sequence[str]) -> dict[str, Document]:
        query = {"_id": {"$in": list(item_ids)}, "data_bytes": {"$lte": MAX_LISTED_DATA_BYTES}}
        with mapped_errors():
            found = self._letters.find(query, {"data": True, "stacktrace": True})
            return {document["_id"]: document for document in found}

    def _dead(
        self, *, source: str | None = None, cause: str | None = None, import_id: str | None = None
    ) -> Document:
        query: Document = {"kind": LetterKind.DEAD}
        if source is not None:
            query["source"] = source
        if cause is not None:
            query["cause"] = cause
        if import_id is not None:
            query["history.import_id"] = import_id
        return query

    def _put_on_top(self, letters: Sequence[DeadLetter]) -> list[DeadLetter]:
        """Put letters on top of lower ones; return those that there is none below."""
        if not letters:
            return []
        try:
            self._letters.bulk_write([put_on_top(letter) for letter in letters], ordered=False)
        except mongo_errors.BulkWriteError as exc:
            failures = exc.details["writeErrors"]
            if is_unavailable(exc) or not all(map(is_duplicate_id, failures)):
                raise map_error(exc) from exc
            return [letters[failure["index"]] for failure in failures]
        except mongo_errors.PyMongoError as exc:
            raise map_error(exc) from exc
        return []
