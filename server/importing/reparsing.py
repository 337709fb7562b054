"""Imports a feed again from its kept bodies: what a changed parser or mapping is for."""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import groupby

from server.importing.merging import merge
from server.importing.values import Failure, Fetched, FetchedAt, Merged, Run, UrlAnswer
from server.parsing import ParsedFeed
from shared.error_kinds import ErrorKind
from shared.errors import FetchError, ParseError, Postponed, UnreadableDocument
from shared.models import make_guid
from shared.store import KeptBody, Stores

_WAIT_MS = 1000

# Parses a body, with its content type and the URL it came from, in what is left of a run's time.
Parse = Callable[[bytes, str | None, str | None], ParsedFeed]


def wait_for_others(stores: Stores, run: Run) -> None:
    """Go on when no other import of the source is open; after the run drew its revision.

    So whatever drew a lower one is stored, and is seen, or is waited for.

    Raises:
        Postponed: another import is open.
    """
    for other in stores.imports.find_open(run.source):
        if other.import_id != run.importing.import_id:
            raise Postponed(_WAIT_MS, f"import {other.import_id} of {run.source!r} is open")


def read_bodies(stores: Stores, run: Run, parse: Parse) -> Fetched | Failure:
    """Parse the source's kept bodies, latest read first; one that cannot be read is a warning.

    All of them are noted as read by this revision, before anything can be stored with it. Nothing
    but errors is a failure.
    """
    since = run.importing.bodies_since
    keys = stores.bodies.find_keys(run.source, since) if since is not None else []
    stores.bodies.note_reparsed(keys, run.revision)
    fetched = Fetched(tuple(_read(stores, key, parse) for key in keys))
    if fetched.parsed:
        return fetched
    errors = fetched.errors or [ParseError(ErrorKind.EMPTY, "none of its bodies is kept any more")]
    return Failure(errors[0], fetched)


def merge_bodies(stores: Stores, run: Run, fetched: Fetched) -> Merged:
    """Merge the items of kept bodies; an item counts from the latest answer that lists it.

    The answers of each import are identified alone: together, an item whose link changed in
    between would look like two that share a guid.
    """
    items, rejected, duplicates, seen = [], [], 0, dict[str, FetchedAt]()
    aliases: dict[str, str] = {}
    for fetched_at, answers in _by_revision(run, fetched):
        merged = merge(stores, run.importing, Fetched(answers))
        new = [item for item in merged.items if item.guid not in seen]
        left = [entry for entry in merged.rejected if make_guid(entry.guid) not in seen]
        items += new
        rejected += left
        duplicates += merged.duplicates + len(merged.items) - len(new)
        duplicates += len(merged.rejected) - len(left)
        seen |= dict.fromkeys((item.guid for item in new), fetched_at)
        seen |= dict.fromkeys((make_guid(entry.guid) for entry in left), fetched_at)
        aliases |= merged.aliases
    return Merged(tuple(items), tuple(rejected), duplicates, aliases, seen)


def _by_revision(run: Run, fetched: Fetched) -> Iterator[tuple[FetchedAt, tuple[UrlAnswer, ...]]]:
    """Yield what each import read, the latest first, in the order of the feed's URLs."""
    places = {UrlAnswer(url).shown_url: place for place, url in enumerate(run.importing.urls)}
    read = [(one.body, one) for one in fetched.answers if one.body is not None]
    for revision, some in groupby(read, key=lambda each: each[0].revision):
        pairs = sorted(some, key=lambda each: places.get(each[0].url, len(places)))
        reparsed = tuple({each for body, _ in pairs for each in body.reparsed})
        yield FetchedAt(revision, reparsed), tuple(answer for _, answer in pairs)


def _read(stores: Stores, key: str, parse: Parse) -> UrlAnswer:
    """Return a kept body as an answer; of the body itself only what it is."""
    answer = UrlAnswer("")
    try:
        kept = stores.bodies.get(key)
        if kept is None:
            raise ParseError(ErrorKind.EMPTY, "a kept body was deleted meanwhile")
        answer = UrlAnswer(kept.url, body=replace(kept, body=b""))
        parsed = parse(_decompress(kept), kept.content_type, kept.final_url)
    except (ParseError, FetchError) as exc:
        return replace(answer, error=exc)
    except UnreadableDocument as exc:
        return replace(answer, error=ParseError(ErrorKind.UNREADABLE_RECORD, str(exc)))
    return replace(answer, parsed=parsed, warnings=tuple(parsed.warnings))


def _decompress(kept: KeptBody) -> bytes:
    try:
        return kept.read()
    except zlib.error as exc:
        raise ParseError(ErrorKind.DAMAGED, f"a kept body is damaged: {exc}") from exc
