"""What an error of a dead letter or an import means, and what to do about it. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from shared.error_kinds import ErrorKind

DOCS_PATH = "/docs#/dead%20letters"


@dataclass(frozen=True, slots=True)
class Advice:
    """``meaning`` is what happened, ``action`` what to do about it.

    ``is_replayable`` is False where a replay has nothing that it could run.
    """

    meaning: str
    action: str
    is_replayable: bool = True


ADVICE: Mapping[str, Advice] = {
    "too_large": Advice(
        "The item has more bytes than JOB_MAX_BYTES allows, or than a MongoDB document may have.",
        "Are such items wanted? Raise JOB_MAX_BYTES on servers and workers, start them again, then"
        " replay. If not, remove the letter: the same content stays away.",
    ),
    "rejected_by_store": Advice(
        "MongoDB refused the document: by a validator or a unique index of the collection items.",
        'Read the reason, then look at the validator (db.getCollectionInfos({name: "items"}))'
        " and the indexes (db.items.getIndexes()). Correct the one that is wrong, then replay.",
    ),
    "stalled": Advice(
        "Its worker vanished or hung while it ran this item, at last when it ran alone.",
        "Look for workers that were killed at that time (out of memory?) and at their log. Fix the"
        " cause, then replay.",
    ),
    "invalid": Advice(
        "A field of the job has a type that no item has, or source or guid is missing. Feeds make"
        " no such jobs: another program added it to the queue.",
        "Fix that program and let it add the item again; storing it clears the letter. A replay"
        " of the same data fails again.",
    ),
    "undecodable": Advice(
        "The job's data is not JSON. Feeds make no such jobs: another program added it.",
        "Fix that program and let it add the item again, then remove the letter. There is nothing"
        " that a replay could run.",
        is_replayable=False,
    ),
    "unencodable": Advice(
        "The item holds a value that MongoDB cannot store, like a number of more than 64 bits.",
        "Only the publisher can change it. Other content of the item is tried when it is fetched."
        " Remove the letter to stop seeing it.",
    ),
    "unreadable": Advice(
        "The feed's entry could not be read when it was fetched, so it is not whole on record.",
        "Tell the publisher. The entry is tried anew at each fetch; when the feed is fixed, start"
        " an import. There is nothing that a replay could run.",
        is_replayable=False,
    ),
}
_UNKNOWN = Advice(
    "An error that this version of Feedmill has no advice for.",
    "Read the reason and the data, and the worker's log of that time.",
)
REMOVED = Advice(
    "An operator removed this item. The same content stays away until other content is stored.",
    "Nothing has to be done. To have the item back, its publisher has to change it.",
    is_replayable=False,
)
IMPORT_ADVICE: Mapping[str, str] = {
    ErrorKind.REFUSED_ADDRESS: (
        "The URL leads into a private network or to a port that is not the web's. If it is "
        "yours, start the server with FETCH_ALLOW_PRIVATE=true."
    ),
    ErrorKind.BAD_URL: "The URL is not one that can be fetched: correct it.",
    ErrorKind.NO_URL: (
        "The feed has no URL: it was made by importing a document. Import the document again, or "
        "give the feed a URL."
    ),
    ErrorKind.DNS: (
        "The host's name was not found. Check its spelling; if it is right, wait: the next "
        "fetches look for it again."
    ),
    ErrorKind.CONNECT: (
        "The host does not take connections. If other feeds work, it is the publisher's to fix; "
        "if none does, check this server's network."
    ),
    ErrorKind.TLS: (
        "The host's certificate is not in order. Check the URL; only the publisher can fix "
        "the rest."
    ),
    ErrorKind.TIMEOUT: (
        "The host did not answer in time. It is tried again by itself; for a slow publisher raise"
        " FETCH_TIMEOUT_S. A feed of many slow URLs is better split into several."
    ),
    ErrorKind.HTTP_STATUS: (
        "The host answered with an error. Open the URL in a browser: at 401 or 403 the feed "
        "may need a header (its form has a field for that), at 404 it has moved, at 5xx only "
        "waiting helps."
    ),
    ErrorKind.BLOCKED: (
        "The host refuses this reader. Ask the publisher, or give the feed the header that it "
        "wants; asking more often makes it worse."
    ),
    ErrorKind.WAF_CHALLENGE: (
        "The host asks for a check that only browsers pass. Ask the publisher to let feed readers"
        " in, or look for another URL of the feed."
    ),
    ErrorKind.GONE: (
        "The publisher says that the feed is gone for good. Look for its new URL, or delete "
        "the feed; its items stay."
    ),
    ErrorKind.RATE_LIMITED: (
        "The host wants to be asked less often. It is left alone for as long as it asks; lengthen"
        " the feed's interval if this returns."
    ),
    ErrorKind.TOO_LARGE: (
        "The document is larger than FETCH_MAX_BYTES. Raise that, or take a URL that lists less."
    ),
    ErrorKind.REDIRECT: (
        "The URL leads round in circles or nowhere. Open it in a browser, and edit the feed "
        "to where it ends."
    ),
    ErrorKind.ENCODING: (
        "The answer is packed in a way that cannot be read. Only the publisher can fix that."
    ),
    ErrorKind.HTML: (
        "The URL answers with a web page. Add it once more as a new feed: the feeds that the "
        "page names are then looked for."
    ),
    ErrorKind.JSON_ERROR: (
        "The URL answers with an error in JSON instead of a feed. Open it in a browser to read it."
    ),
    ErrorKind.EMPTY: "The answer is empty. If it stays so, look for another URL of the feed.",
    ErrorKind.NOT_A_FEED: (
        "What is at the URL is no RSS, Atom or JSON feed. Look for the feed's own URL."
    ),
    ErrorKind.DAMAGED: (
        "The document is so damaged that no item of it is whole. Only the publisher can fix it."
    ),
    ErrorKind.REFUSED: "The document does what no feed needs (entities, depth) and is refused.",
    ErrorKind.LIMITS: "Reading the document took more time or memory than is allowed.",
    ErrorKind.RUN_LOST: (
        "The server that ran this import stopped or hung, each time it was begun. It is fetched "
        "again by itself; look into the log of the servers for why they end."
    ),
    ErrorKind.UNREADABLE_FEED: (
        "The feed's document in MongoDB was changed into what cannot be read. Run 'feedmill "
        "doctor': it names the document and what is wrong with it."
    ),
    ErrorKind.UNREADABLE_RECORD: (
        "A document of this import in MongoDB was changed into what cannot be read. Run 'feedmill "
        "doctor', then import the feed again."
    ),
    ErrorKind.INTERNAL: (
        "This is an error of Feedmill itself; the server's log says more. Please report it with "
        "the feed."
    ),
    ErrorKind.FEED_DELETED: "The feed was deleted while the import ran. Nothing is to be done.",
    ErrorKind.STALE_EPOCH: (
        "The feed was rolled back, or its back-fill ended, while the import ran. What it would "
        "have read is read again; nothing is to be done."
    ),
    ErrorKind.REPLAY_LOST: (
        "The server stopped while it was replaying. The dead letters are still there: replay them"
        " again."
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
