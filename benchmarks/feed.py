"""The feed that is imported: RSS of many items, each of the same size."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from tests.publisher import Publisher

ITEM_BYTES = 620

_PATH = "/feed.xml"
_SMALL_ITEMS = 10

_HEAD = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0"><channel><title>Board</title>'
    "<link>https://board.example/</link><description>Positions</description>\n"
)
_TEXT = (
    "<p>We look for somebody who <b>builds</b> and keeps what others rely on &amp; explain it.</p>"
)


def make_feed(items: int, note: str = "") -> bytes:
    """Return a feed. ``note`` changes the body and none of its items."""
    lines = [_HEAD, f"<!-- {note} -->\n", *(_item(number) for number in range(items))]
    return "".join([*lines, "</channel></rss>\n"]).encode()


def _item(number: int) -> str:
    head = (
        f"<item><title>Engineer {number} for a small team</title>"
        f"<link>https://board.example/positions/{number}</link>"
        f"<guid>https://board.example/positions/{number}</guid>"
        "<pubDate>Sat, 28 Nov 2026 10:00:00 GMT</pubDate><category>engineering</category>"
        f"<description><![CDATA[{_TEXT}"
    )
    tail = "]]></description></item>\n"
    return head + "." * (ITEM_BYTES - len(head) - len(tail)) + tail


@dataclass(frozen=True, slots=True)
class Feed:
    """A published feed at ``url``, and beside it a small one for the first import of a process."""

    publisher: Publisher
    url: str
    small_url: str

    def publish(self, body: bytes) -> None:
        """Serve another body, under an ETag of its own."""
        self.publisher.serve(_PATH, body)


@contextmanager
def published(body: bytes) -> Iterator[Feed]:
    """Serve a feed with an ETag, and 304 to who has it already, until the block ends."""
    with Publisher() as publisher:
        small_url = publisher.serve("/small.xml", make_feed(_SMALL_ITEMS))
        yield Feed(publisher, publisher.serve(_PATH, body), small_url)
