"""How much one document may hold, so that its items cost the server no more than its bytes did.

A few bytes make an item, an element or a value, and each of them a hundred times as much in memory
and in what is handed back. Feeds of the size that may be fetched stay far below both limits.
"""

from shared.errors import ParseError

MAX_ITEMS = 100_000
# Elements and attributes, or entries of lists.
MAX_PARTS = 1_000_000


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
