"""Whether the record agrees with itself and with what the queues show of it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from server.doctor.facts import RecordLook
from server.doctor.findings import Finding, blame, fine, name_some, warn
from shared.store import Import, ImportState

GROUP = "record"
# A fetch takes 280 s at most, three times, for each of its URLs.
FETCH_PATIENCE = timedelta(minutes=30)
# An import that does not move is audited every minute; one that does, not before it is done.
AUDIT_PATIENCE = timedelta(minutes=10)
# A few show what is wrong with all.
MAX_MISFITS = 5
_HEALED = "a running server puts it right within a minute; if one runs, look at its log"
_SWEPT = "a server's sweep puts it right within the hour; restart one to have it done now"


def check_record(
    look: RecordLook, now: datetime, *, is_work_left: bool = False
) -> Iterator[Finding]:
    """Yield what is to be said of the record; ``is_work_left``: item queues hold jobs."""
    yield _check_journal(look)
    yield _check_feeds(look)
    yield from _check_open_imports(look, now, is_work_left=is_work_left)
    yield from _check_dead_letters(look)
    yield from _check_documents(look)
    if not look.is_redis_matched:
        yield warn(
            GROUP,
            "Redis",
            "Redis is another one, or empty, since the record was last matched with it",
            "let a server run: it adds again what is missing in Redis",
        )


def is_idle(found: Import, now: datetime, *, is_work_left: bool) -> bool:
    """Tell whether nobody can have done anything for an open import for too long."""
    if found.state is ImportState.IMPORTING:
        seen_at = found.audited_at or found.started_at or found.requested_at
        return not is_work_left and now - seen_at > AUDIT_PATIENCE
    return now - (found.started_at or found.requested_at) > FETCH_PATIENCE


def _check_documents(look: RecordLook) -> Iterator[Finding]:
    for text in look.misfits[:MAX_MISFITS]:
        advice = "it is left alone until then; what it stands for is not fetched, audited or shown"
        yield blame(GROUP, "documents", text, advice)
    more = len(look.misfits) - MAX_MISFITS
    if more > 0:
        yield blame(GROUP, "documents", f"{more} more documents cannot be read", "correct them")
    if not look.misfits:
        yield fine(GROUP, "documents", "feeds, imports, sources and dead letters can be read")


def _check_journal(look: RecordLook) -> Finding:
    if not look.stray_journals:
        return fine(GROUP, "journal", "the journal holds what open imports need, and nothing else")
    count = len(look.stray_journals)
    return warn(
        GROUP,
        "journal",
        f"{count} closed or missing imports still have chunks: {name_some(look.stray_journals)}",
        _HEALED,
    )


def _check_feeds(look: RecordLook) -> Finding:
    if not look.lost_imports:
        return fine(GROUP, "feeds", "every import that a feed waits for is there")
    pairs = (f"{source} → {import_id}" for source, import_id in look.lost_imports.items())
    return warn(
        GROUP, "feeds", f"feeds wait for imports that are gone: {name_some(pairs)}", _HEALED
    )


def _check_open_imports(
    look: RecordLook, now: datetime, *, is_work_left: bool
) -> Iterator[Finding]:
    idle = [one for one in look.open_imports if is_idle(one, now, is_work_left=is_work_left)]
    unaudited = [each.import_id for each in idle if each.state is ImportState.IMPORTING]
    unfetched = [each.import_id for each in idle if each.state is not ImportState.IMPORTING]
    if unaudited:
        yield blame(
            GROUP,
            "imports",
            f"{len(unaudited)} open imports were not audited for long: {name_some(unaudited)}",
            "start a server, or restart the one that runs: it goes on with them",
        )
    if unfetched:
        yield warn(
            GROUP,
            "fetches",
            f"{len(unfetched)} imports wait long for their fetch: {name_some(unfetched)}",
            "make sure that a server runs; many feeds of one host take turns (FETCH_PER_HOST)",
        )
    if not idle:
        yield fine(GROUP, "imports", f"{len(look.open_imports)} open imports, all looked after")


def _check_dead_letters(look: RecordLook) -> Iterator[Finding]:
    if look.missing_letters:
        yield warn(
            GROUP,
            "dead letters",
            f"{len(look.missing_letters)} dead letters are missing in the dead-letter queue: "
            f"{name_some(look.missing_letters)}",
            _SWEPT,
        )
    if look.stray_letters:
        yield warn(
            GROUP,
            "dead letters",
            f"{len(look.stray_letters)} jobs of the dead-letter queue are no dead letters: "
            f"{name_some(look.stray_letters)}",
            _SWEPT,
        )
    if not look.missing_letters and not look.stray_letters:
        text = (
            f"the dead-letter queue shows what is on record ({look.letters_looked_at:,} compared)"
        )
        yield fine(GROUP, "dead letters", text)
