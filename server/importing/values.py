"""The line of an import, and the values that go along it. Pure.

::

    importer.begin    Run        the import, its feed, the revision of all that it finds
    feed_reader.read  Fetched    what each URL answered, parsed; or Failure: nothing at all
    merging.merge     Merged     items, each guid once
    selecting.select  Selected   what is to be journaled, and counts that are final
    importer.commit   Import     journaled, committed, its feed's step done
    enqueueing        jobs       one call a chunk

Each stage takes the values of those before it and returns the next; none changes one.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from server.feeds.history import UrlHistory
from server.fetching.addresses import mask_url
from server.parsing import ParsedFeed, RejectedEntry
from shared.error_kinds import ErrorKind
from shared.errors import FetchError, ParseError
from shared.models import FeedItem, content_hash, counters_hash, get_reader
from shared.store import DeadLetter, Feed, Import, JournalEntry, KeptBody, StoredValidators
from shared.store.feed_documents import tidy_title

# The place of a handed-in document among a feed's validators: no URL is empty.
DOCUMENT_URL = ""


@dataclass(frozen=True, slots=True)
class Run:
    """One run of an import: its feed as read at the start, and the revision of all it finds."""

    importing: Import
    feed: Feed
    revision: int

    @property
    def source(self) -> str:
        """The source, first half of the ids of all that it finds."""
        return self.importing.source

    @property
    def feed_to_change(self) -> Feed | None:
        """The feed, if what is fetched says something of its URLs.

        An interval's answer does not, and where kept bodies are read nobody was asked.
        """
        return None if self.importing.indexer or self.is_reparse else self.feed

    @property
    def is_reparse(self) -> bool:
        """Whether it reads kept bodies, and asks nobody."""
        return self.importing.bodies_since is not None

    @property
    def content_revision(self) -> int:
        """The revision of the items it finds: its own, but for what is older than all others."""
        return self.importing.content_revision or self.revision


@dataclass(frozen=True, slots=True)
class UrlAnswer:
    """What one URL answered, or the handed-in document: ``url`` is empty then.

    ``parsed`` is the document of a 200 that could be read; ``error`` why there is none.
    ``history`` is what is to be remembered of the URL, None: what was. ``validators`` are those of
    a whole document, to be stored at the commit. ``is_look``: it was asked without conditions
    after nothing but 304s, and answered with another body. ``final_url`` is the URL behind all
    redirects, ``size`` the bytes of the body. ``next_page`` is the URL of the page behind this one,
    unless that was read too. ``body`` is what is to be kept of the answer.
    """

    url: str
    http_status: int | None = None
    is_not_modified: bool = False
    parsed: ParsedFeed | None = None
    error: FetchError | ParseError | None = None
    warnings: tuple[str, ...] = ()
    validators: StoredValidators | None = None
    history: UrlHistory | None = None
    max_age_s: float | None = None
    is_look: bool = False
    final_url: str | None = None
    size: int = 0
    next_page: str | None = None
    body: KeptBody | None = None

    @property
    def shown_url(self) -> str:
        """The URL without what may be secret in it."""
        return mask_url(self.url) if self.url != DOCUMENT_URL else "the document"

    @property
    def shown_error(self) -> str | None:
        """The error with its kind, for people."""
        return f"{self.error.kind}: {self.error}" if self.error is not None else None

    @property
    def retry_after_s(self) -> float | None:
        """How long its host asks to be left alone."""
        return self.error.retry_after_s if isinstance(self.error, FetchError) else None

    @property
    def was_asked(self) -> bool:
        """Whether its host was asked, and not left alone because its Retry-After runs."""
        return not (
            isinstance(self.error, FetchError)
            and self.error.kind == ErrorKind.RATE_LIMITED
            and self.error.http_status is None
        )

    def show(self) -> dict[str, Any]:
        """Return it as an entry of the import's ``fetches``."""
        return {
            "url": None if self.url == DOCUMENT_URL else self.shown_url,
            "http_status": self.http_status,
            "not_modified": self.is_not_modified,
            "error": self.shown_error,
        }


@dataclass(frozen=True, slots=True)
class Fetched:
    """The answers of an import's URLs, in the feed's order."""

    answers: tuple[UrlAnswer, ...] = ()

    @property
    def fetches(self) -> list[dict[str, Any]]:
        """What is shown of each URL."""
        return [answer.show() for answer in self.answers]

    @property
    def errors(self) -> list[FetchError | ParseError]:
        """The errors of the URLs that gave nothing."""
        return [answer.error for answer in self.answers if answer.error is not None]

    @property
    def warnings(self) -> list[str]:
        """What people should know of it; the failure of one URL among others is a warning."""
        found: list[str] = []
        for answer in self.answers:
            found += answer.warnings
            if answer.error is not None:
                found.append(f"{answer.shown_url}: {answer.shown_error}")
        return found

    @property
    def parsed(self) -> list[ParsedFeed]:
        """The documents that were read."""
        return [answer.parsed for answer in self.answers if answer.parsed is not None]

    @property
    def title(self) -> str | None:
        """What the documents are called: the title of the first that has one."""
        titles = (tidy_title(parsed.title) for parsed in self.parsed)
        return next((title for title in titles if title is not None), None)

    @property
    def bodies(self) -> list[KeptBody]:
        """The bodies that are to be kept; those that were read again, in a reparse."""
        return [answer.body for answer in self.answers if answer.body is not None]

    @property
    def histories(self) -> dict[str, UrlHistory]:
        """What is to be remembered, by URL."""
        return {one.url: one.history for one in self.answers if one.history is not None}

    @property
    def validators(self) -> dict[str, StoredValidators]:
        """The validators of the URLs that answered with a whole document."""
        return {one.url: one.validators for one in self.answers if one.validators is not None}

    @property
    def next_page(self) -> str | None:
        """The URL of the page behind the last one that was read, if there is one."""
        return next((one.next_page for one in self.answers if one.next_page is not None), None)

    @property
    def is_not_modified(self) -> bool:
        """Whether every URL answered that nothing changed."""
        return bool(self.answers) and all(answer.is_not_modified for answer in self.answers)

    @property
    def max_age_s(self) -> float | None:
        """The longest time for which an answer is fresh."""
        return _longest(answer.max_age_s for answer in self.answers)

    @property
    def retry_after_s(self) -> float | None:
        """The longest time for which a host asks to be left alone."""
        return _longest(answer.retry_after_s for answer in self.answers)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why nothing at all could be imported.

    ``is_outage``: because this server is cut off from its publishers.
    """

    error: FetchError | ParseError
    fetched: Fetched = Fetched()
    is_outage: bool = False

    @property
    def reason(self) -> str:
        """The error with its kind, for people."""
        return f"{self.error.kind}: {self.error}"

    @property
    def kinds(self) -> frozenset[str]:
        """The kinds of all errors that led to it."""
        return frozenset(error.kind for error in self.fetched.errors or [self.error])

    @property
    def was_paused(self) -> bool:
        """Whether no URL was asked, because the Retry-After of every host runs."""
        answers = self.fetched.answers
        return bool(answers) and not any(answer.was_asked for answer in answers)


@dataclass(frozen=True, slots=True)
class FetchedAt:
    """The revision of a kept body, and those of the imports that read it again."""

    revision: int
    reparsed: tuple[int, ...] = ()

    def is_older_than(self, stored: int) -> bool:
        """Return whether what is stored at a revision came from a later answer."""
        return stored > self.revision and stored not in self.reparsed


@dataclass(frozen=True, slots=True)
class Merged:
    """The items of an import, each guid once, and the entries that cannot be read.

    ``duplicates`` counts the entries left out. ``aliases`` holds the guids under which items of the
    source are stored that have others today. ``revisions`` holds by guid the revision at which the
    item was fetched, with those of imports that stored it again: in a reparse only.
    """

    items: tuple[FeedItem, ...] = ()
    rejected: tuple[RejectedEntry, ...] = ()
    duplicates: int = 0
    aliases: Mapping[str, str] = field(default_factory=dict)
    revisions: Mapping[str, FetchedAt] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Candidate:
    """One fetched item: its id, its hashes, and its job's data as JSON, made once for all uses."""

    item_id: str
    content_hash: str
    data_json: bytes
    counters_hash: str | None = None
    is_lenient: bool = False

    @classmethod
    def of(cls, item_id: str, data: Mapping[str, Any], data_json: bytes) -> "Candidate":
        """Return the candidate with this data; ``data_json`` is the same, encoded.

        Raises:
            ItemError: it cannot be hashed.
        """
        return cls(
            item_id,
            content_hash(data),
            data_json,
            counters_hash(data),
            is_lenient=get_reader(data) is not None,
        )

    def entry(self, revision: int) -> JournalEntry:
        """Return it as it is journaled."""
        return JournalEntry(
            self.item_id, revision, self.content_hash, self.data_json, self.is_lenient
        )


@dataclass(frozen=True, slots=True)
class Prepared:
    """Items that can be stored, and dead letters of those that cannot; an id is in it once."""

    candidates: tuple[Candidate, ...]
    dead_letters: tuple[DeadLetter, ...]
    duplicates: int


@dataclass(frozen=True, slots=True)
class Selected:
    """What is to be journaled of an import, and the counts that are final.

    ``counts`` has ``fetched``, ``unchanged``, ``duplicate``, ``dead`` and ``removed``, and in a
    reparse ``superseded``.
    ``dead_letters`` are on record already.
    """

    entries: tuple[JournalEntry, ...] = ()
    counts: Mapping[str, int] = field(default_factory=dict)
    dead_letters: tuple[DeadLetter, ...] = ()


def _longest(durations_s: Iterable[float | None]) -> float | None:
    return max((one for one in durations_s if one is not None), default=None)
