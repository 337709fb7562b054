"""How much one document may hold, so that its items cost the server no more than its bytes did.

A few bytes make an item, an element or a value, and each of them a hundred times as much in memory
and in what is handed back. Feeds of the size that may be fetched stay far below both limits.
"""

from collections.abc import Sequence

from shared.errors import ItemError, ParseError
from shared.models import FeedItem

MAX_ITEMS = 100_000
# Elements and attributes, or entries of lists.
MAX_PARTS = 2_000_000
# Each of them becomes a dead letter. A feed with more is unreadable as a whole.
MAX_REJECTED = 10_000
# What an item of the largest size that may be set could hold, if each part said something.
MAX_ITEM_PARTS = 50_000


def check_items(count: int) -> None:
    """Refuse a document of too many items.

    Raises:
        ParseError: ``limits``.
    """
    if count > MAX_ITEMS:
        raise ParseError("limits", f"the document has more than {MAX_ITEMS} items")


def check_parts(count: int) -> None:
    """Refuse a document of too many parts, in all its items together.

    Raises:
        ParseError: ``limits``.
    """
    if count > MAX_PARTS:
        raise ParseError("limits", f"the document has more than {MAX_PARTS} parts")


def check_rejected(reasons: Sequence[str]) -> None:
    """Refuse a document of too many items that cannot be read, saying what is wrong with the first.

    Raises:
        ParseError: ``limits``.
    """
    if len(reasons) > MAX_REJECTED:
        what = f"{len(reasons)} items cannot be read, more than {MAX_REJECTED}"
        raise ParseError("limits", f"{what}; the first: {reasons[0]}")


def check_item(item: FeedItem) -> None:
    """Refuse an item of too many parts; the others of its document are read.

    Raises:
        ItemError: ``unreadable``.
    """
    count = len(item.extra) + len(item.categories) + len(item.enclosures)
    if count > MAX_ITEM_PARTS:
        raise ItemError("unreadable", f"the item has {count} parts, more than {MAX_ITEM_PARTS}")
