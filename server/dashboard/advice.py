"""What an operator is told about a dead letter: what its error means, and what to press. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

DOCS_PATH = "/docs#/dead%20letters"


@dataclass(frozen=True, slots=True)
class Advice:
    """``meaning`` says what happened, ``action`` what to do about it.

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
        " and the indexes (db.items.getIndexes()). Mend the one that is wrong, then replay.",
    ),
    "stalled": Advice(
        "Its worker vanished or hung while it had this item in hand, at last when it ran alone.",
        "Look for workers that were killed at that time (out of memory?) and at their log. Mend the"
        " cause, then replay.",
    ),
    "invalid": Advice(
        "A field of the job has a type that no item has, or source or guid is missing. Feeds make"
        " no such jobs: another program added it to the queue.",
        "Mend that program and let it add the item again; storing it clears the letter. A replay"
        " of the same data dies again.",
    ),
    "undecodable": Advice(
        "The job's data is not JSON. Feeds make no such jobs: another program added it.",
        "Mend that program and let it add the item again, then remove the letter. There is nothing"
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
        "Tell the publisher. The entry is tried anew at each fetch; when the feed is mended, start"
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


def find_advice(error_type: str) -> Advice:
    """Return what is known of an error."""
    return ADVICE.get(error_type, _UNKNOWN)
