"""Tags of feeds: short lower-case words by which people group them. Pure."""

import re
from collections.abc import Iterable

from shared.errors import InvalidRequestError

MAX_TAGS = 20
MAX_TAG_LENGTH = 40
# Letters of any script; a tag begins with a letter or a digit.
_TAG = re.compile(r"[^\W_][\w.+-]*")
ACCEPTED = f"a tag is 1 to {MAX_TAG_LENGTH} letters, digits or - _ . +"


def read_tag(text: str) -> str:
    """Return a tag as it is stored: in lower case, a blank within it becomes a hyphen.

    Raises:
        InvalidRequestError: it cannot be a tag.
    """
    tag = "-".join(text.lower().split())
    if len(tag) > MAX_TAG_LENGTH or not _TAG.fullmatch(tag):
        raise InvalidRequestError(f"tag {text[:MAX_TAG_LENGTH]!r}: {ACCEPTED}")
    return tag


def read_tags(texts: Iterable[str]) -> list[str]:
    """Return tags as they are stored, each once, sorted.

    Raises:
        InvalidRequestError: one cannot be a tag, or there are more than 20.
    """
    tags = sorted({read_tag(text) for text in texts})
    if len(tags) > MAX_TAGS:
        raise InvalidRequestError(f"a feed can have at most {MAX_TAGS} tags, not {len(tags)}")
    return tags
