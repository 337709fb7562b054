"""What an error of a dead letter or an import means, and what to do about it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.error_kinds import ErrorKind

DOCS_PATH = "/docs#/Dead%20letters"


@dataclass(frozen=True, slots=True)
class Advice:
    """``title`` names the error, ``meaning`` is what happened, ``action`` what to do about it.

    ``is_replayable`` is False where a replay has nothing that it could run.
    """

    title: str
    meaning: str
    action: str
    is_replayable: bool = True


ADVICE: Mapping[str, Advice] = {
    "too_large": Advice(
        "Too large",
        "The item has more bytes than JOB_MAX_BYTES allows, or than a MongoDB document can hold.",
        "To store such items, raise JOB_MAX_BYTES on servers and workers, restart them, then"
        " replay. To keep them out, remove the dead letters: the same content stays away.",
    ),
    "rejected_by_store": Advice(
        "Refused by MongoDB",
        "A validator or a unique index of the collection items does not allow the document.",
        'Read the reason, then check the validator (db.getCollectionInfos({name: "items"})) and'
        " the indexes (db.items.getIndexes()). Fix the one that is wrong, then replay.",
    ),
    "stalled": Advice(
        "Worker lost",
        "The worker stopped or hung while it ran this item, in the end with no other item beside"
        " it.",
        "Check the workers' logs of that time, and whether one was killed (out of memory?). Fix"
        " the cause, then replay.",
    ),
    "invalid": Advice(
        "Invalid field",
        "A field of the job has a type that no item has, or source or guid is missing. Feeds make"
        " no such jobs: another program added it to the queue.",
        "Fix that program and let it add the item again; the dead letter is cleared when the item"
        " is stored. One whose data names no item stays: remove it. Replaying the same data fails"
        " again.",
    ),
    "undecodable": Advice(
        "Not JSON",
        "The job's data is not JSON. Feeds make no such jobs: another program added it to the"
        " queue.",
        "Fix that program and let it add the item again, then remove the dead letter. It cannot be"
        " replayed.",
        is_replayable=False,
    ),
    "unencodable": Advice(
        "Value that MongoDB cannot store",
        "The item has a value that MongoDB cannot store, such as a number of more than 64 bits.",
        "Only the publisher can fix it. The item is tried again when its content changes. Remove"
        " the dead letter to hide it.",
    ),
    "unreadable": Advice(
        "Unreadable entry",
        "The feed's entry could not be read when it was fetched, so its content was not kept.",
        "Report it to the publisher. The entry is read again at each fetch: when the feed is"
        " fixed, import it. It cannot be replayed.",
        is_replayable=False,
    ),
}
_UNKNOWN = Advice(
    "Unknown error",
    "This version of Feedmill has no advice for this error.",
    "Read the reason, the data and the workers' log of that time.",
)
REMOVED = Advice(
    "Removed",
    "An operator removed this item. The same content stays away until other content is stored.",
    "Nothing. The item comes back when its publisher changes it.",
    is_replayable=False,
)
IMPORT_ADVICE: Mapping[str, str] = {
    ErrorKind.REFUSED_ADDRESS: (
        "The URL points into a private network, or to a port other than the web's. If it is yours,"
        " set FETCH_ALLOW_PRIVATE=true and restart the server."
    ),
    ErrorKind.BAD_URL: "The URL is not valid: correct it.",
    ErrorKind.NO_URL: (
        "The feed has no URL: it was made by importing a document. Import the document again, or "
        "give the feed a URL."
    ),
    ErrorKind.DNS: (
        "The host name was not found. Check its spelling; if it is right, wait: the next fetch "
        "looks it up again."
    ),
    ErrorKind.CONNECT: (
        "The host does not accept connections. If other feeds work, only the publisher can fix it; "
        "if none does, check this server's network."
    ),
    ErrorKind.TLS: (
        "The host's certificate is not valid. Check the URL; only the publisher can fix the "
        "certificate."
    ),
    ErrorKind.TIMEOUT: (
        "The host did not answer in time. The feed is fetched again automatically; for a slow "
        "publisher raise FETCH_TIMEOUT_S. Split a feed of many slow URLs into several."
    ),
    ErrorKind.HTTP_STATUS: (
        "The host answered with an error. Open the URL in a browser: at 401 or 403 the feed "
        "may need a header (its form has a field for it), at 404 it has moved, at 5xx wait."
    ),
    ErrorKind.BLOCKED: (
        "The host refuses this client. Ask the publisher, or set the header that the host wants; "
        "fetching more often makes it worse."
    ),
    ErrorKind.WAF_CHALLENGE: (
        "The host asks for a check that only browsers pass. Ask the publisher to let feed readers"
        " in, or look for another URL of the feed."
    ),
    ErrorKind.GONE: (
        "The publisher reports that the feed is gone for good. Look for its new URL, or remove "
        "the feed; its items stay."
    ),
    ErrorKind.RATE_LIMITED: (
        "The host limits how often it may be fetched. The feed waits for as long as the host asks;"
        " if this returns, raise the feed's interval."
    ),
    ErrorKind.TOO_LARGE: (
        "The document is larger than FETCH_MAX_BYTES. Raise FETCH_MAX_BYTES, or use a URL that "
        "lists fewer items."
    ),
    ErrorKind.REDIRECT: (
        "The URL redirects in a loop, or to what cannot be fetched. Open it in a browser, and set "
        "the feed's URL to where it ends."
    ),
    ErrorKind.ENCODING: (
        "The answer is compressed or encoded in a way that cannot be read. Only the publisher can "
        "fix it."
    ),
    ErrorKind.HTML: (
        "The URL answers with a web page. Add it again as a new feed: Feedmill then looks for the "
        "feeds that the page names."
    ),
    ErrorKind.JSON_ERROR: (
        "The URL answers with an error in JSON instead of a feed. Open it in a browser to read it."
    ),
    ErrorKind.EMPTY: "The answer is empty. If it stays so, look for another URL of the feed.",
    ErrorKind.NOT_A_FEED: (
        "The URL answers with something other than RSS, Atom or JSON Feed. Look for the feed's own "
        "URL."
    ),
    ErrorKind.DAMAGED: (
        "The document is so damaged that no item of it can be read. Only the publisher can fix it."
    ),
    ErrorKind.REFUSED: (
        "The document uses what no feed needs (entities, very deep nesting), so it is refused. "
        "Only the publisher can fix it."
    ),
    ErrorKind.LIMITS: (
        "Reading the document took more time or memory than is allowed. Use a URL that lists fewer "
        "items."
    ),
    ErrorKind.RUN_LOST: (
        "The server that ran this import stopped or hung, each time it was started. The feed is "
        "fetched again automatically; check the servers' logs for why they stop."
    ),
    ErrorKind.UNREADABLE_FEED: (
        "The feed's document in MongoDB was changed and can no longer be read. Run 'feedmill "
        "doctor': it names the document and what is wrong with it."
    ),
    ErrorKind.UNREADABLE_RECORD: (
        "A document of this import in MongoDB was changed and can no longer be read. Run 'feedmill "
        "doctor', then import the feed again."
    ),
    ErrorKind.INTERNAL: (
        "This is an error in Feedmill itself; the server's log has the details. Please report it "
        "with the feed."
    ),
    ErrorKind.FEED_DELETED: "The feed was removed while the import ran. There is nothing to do.",
    ErrorKind.STALE_EPOCH: (
        "The feed was rolled back, or its back-fill ended, while the import ran. What it would "
        "have read is read again; there is nothing to do."
    ),
    ErrorKind.REPLAY_LOST: (
        "The server stopped during the replay. The dead letters are still there: replay them again."
    ),
}


def find_advice(error_type: str) -> Advice:
    """Return what is known of an error."""
    return ADVICE.get(error_type, _UNKNOWN)


def advise(kind: str | None) -> str | None:
    """Return what an operator can do about an error of this kind, or None when nobody knows."""
    return IMPORT_ADVICE.get(kind or "")


def advise_by_text(error: str | None) -> str | None:
    """As :func:`advise`, for an error that is only there as text: ``kind: what happened``."""
    return advise(error.partition(":")[0]) if error else None


def describe_refused(counts: Mapping[str, int]) -> str:
    """Return why how many are not replayed: ``too large (5), unreadable (2)``; empty for none."""
    frequent = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    return ", ".join(f"{reason.replace('_', ' ')} ({count})" for reason, count in frequent)
