"""Which of its texts identifies an entry: never its position, never a date alone, never a base."""

import hashlib

import orjson

from shared.models import FeedItem, make_guid

# What systems write where they have no guid.
PLACEHOLDERS = frozenset(
    {"", "0", "-", "#", "n/a", "na", "none", "null", "nil", "undefined", "nan", "guid", "unknown"}
)


def choose_guid(
    *,
    written_guid: str | None,
    written_link: str | None,
    enclosure_url: str | None,
    fallback: tuple[str | None, ...],
    feed_urls: frozenset[str],
) -> tuple[str, str] | None:
    """Return an entry's guid and the rung it came from; None where nothing identifies the entry.

    The rungs, from the top: the guid as written, the link as written, the first enclosure's URL,
    a hash of ``fallback``. Blanks, known placeholders and the feed's own addresses count as
    missing.
    """
    rungs = (("guid", written_guid), ("link", written_link), ("enclosure", enclosure_url))
    for rung, text in rungs:
        identity = (text or "").strip()
        if identity.lower() not in PLACEHOLDERS and identity not in feed_urls:
            return make_guid(identity), rung
    if any(fallback):
        return hash_guid(fallback), "hash"
    return None


def identifying_texts(item: FeedItem, written_date: str | None) -> tuple[str | None, ...]:
    """Return what identifies an item that has no guid, link or enclosure.

    Title, date as written and author; without a title all the item's other texts too, for many
    untitled items may share a date.
    """
    if item.title:
        return (item.title, written_date, item.author)
    extra = tuple(f"{field.name}={field.value}" for field in item.extra)
    return (written_date, item.author, item.summary, item.content, *item.categories, *extra)


def hash_guid(texts: tuple[str | None, ...]) -> str:
    """Return the guid of an entry that has none but in the sum of its texts."""
    encoded = orjson.dumps([text or "" for text in texts])
    return "sha256:" + hashlib.sha256(encoded).hexdigest()


def other_scheme(guid: str) -> str | None:
    """Return a guid that is a URL with ``https`` for ``http``, or the other way round."""
    if guid.startswith("http://"):
        return "https://" + guid.removeprefix("http://")
    if guid.startswith("https://"):
        return "http://" + guid.removeprefix("https://")
    return None
