"""Whether the record agrees with itself and with what the queues show of it."""

from collections.abc import Iterator
from datetime import datetime, timedelta

from server.doctor.facts import RecordLook
from server.doctor.findings import Finding, blame, fine, name_some, warn
from shared.store import Import, ImportState

GROUP = "record"
# A fetch takes 280 s at most, three times, for each of its URLs.
FETCH_PATIENCE = timedelta(minutes=30)
# An import that does not move is audited every minute.
AUDIT_PATIENCE = timedelta(minutes=10)
_HEALED = "a running server puts it right within a minute; if one runs, look at its log"
_SWEPT = "a server's sweep puts it right within the hour; restart one to have it done now"


def check_record(look: RecordLook, now: datetime) -> Iterator[Finding]:
    """Yield what is to be said of the record."""
    yield _check_journal(look)
    yield _check_feeds(look)
    yield _check_open_imports(look, now)
    yield from _check_dead_letters(look)
    if not look.is_redis_matched:
        yield warn(
            GROUP,
            "Redis",
            "Redis is another one, or empty, since the record was last matched with it",
            "let a server run: it adds again what is missing in Redis",
        )


def is_idle(found: Import, now: datetime) -> bool:
    """Tell whether nobody can have done anything for an open import for too long."""
    if found.state is ImportState.IMPORTING:
        seen_at = found.audited_at or found.started_at or found.requested_at
        return now - seen_at > AUDIT_PATIENCE
    return now - (found.started_at or found.requested_at) > FETCH_PATIENCE


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


def _check_open_imports(look: RecordLook, now: datetime) -> Finding:
    idle = [found.import_id for found in look.open_imports if is_idle(found, now)]
    if not idle:
        return fine(GROUP, "imports", f"{len(look.open_imports)} open imports, all looked after")
    return blame(
        GROUP,
        "imports",
        f"{len(idle)} open imports that nobody has looked after for long: {name_some(idle)}",
        "start a server, or restart the one that runs: it goes on with them",
    )


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
