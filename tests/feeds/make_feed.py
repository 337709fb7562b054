"""Write an RSS feed with N invented items to standard output: ``python make_feed.py N [SEED]``.

The same arguments give the same bytes. Guids are ``item-1`` to ``item-N``, newest last.
"""

import random
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from xml.sax.saxutils import escape

_ROLES = ("Beekeeper", "Bell founder", "Cartographer", "Kite maker", "Night baker", "Tide clerk")
_PLACES = ("Lower Quay", "Upper Quay", "Mill Lane", "The Old Kiln", "Fogside", "Anywhere dry")
_TYPES = ("Full Time", "Part Time", "Seasonal")
_START = datetime(2026, 1, 1, tzinfo=UTC)
_HEAD = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:job="https://quayjobs.example/ns">
<channel>
<title>Quay Jobs</title>
<link>https://quayjobs.example/</link>
<description>Invented work in an invented town</description>
"""
_TAIL = "</channel>\n</rss>\n"


def make_feed(item_count: int, seed: int = 0) -> str:
    """Return a feed of ``item_count`` items; equal arguments give equal text."""
    return _HEAD + "".join(_items(item_count, random.Random(seed))) + _TAIL


def _items(item_count: int, chance: random.Random) -> Iterator[str]:
    for number in range(1, item_count + 1):
        role, place = chance.choice(_ROLES), chance.choice(_PLACES)
        published = format_datetime(_START + timedelta(minutes=number), usegmt=True)
        text = f"<p>We need a <b>{role.lower()}</b> at {place}, number {number} & counting.</p>"
        yield (
            f"<item><title>{escape(role)} ({number})</title>"
            f"<link>https://quayjobs.example/jobs/{number}</link>"
            f'<guid isPermaLink="false">item-{number}</guid>'
            f"<pubDate>{published}</pubDate>"
            f"<category>{escape(role)}</category>"
            f"<description>{escape(text)}</description>"
            f"<job:company>{escape(place)} Works</job:company>"
            f"<job:type>{chance.choice(_TYPES)}</job:type></item>\n"
        )


if __name__ == "__main__":
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    sys.stdout.write(make_feed(count, int(sys.argv[2]) if len(sys.argv) > 2 else 0))
