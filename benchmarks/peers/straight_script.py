"""What anybody would write first: fetch, parse, upsert in bulk. No queue, no retry, no counts.

``python straight_script.py feedparser|lxml FEED_URL MONGODB_URL`` prints what it took.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import httpx
from pymongo import MongoClient, UpdateOne

AT_ONCE = 1_000
FIELDS = {"title": "title", "link": "link", "summary": "description", "published": "pubDate"}


def main() -> None:
    """Import one feed."""
    parser, feed_url, mongodb_url = sys.argv[1:4]
    parse = {"feedparser": parse_by_feedparser, "lxml": parse_by_lxml}[parser]
    import_modules(parser)
    items = MongoClient(mongodb_url)["script"]["items"]
    started_s, started_cpu_s = time.perf_counter(), time.process_time()
    entries = list(parse(httpx.get(feed_url).content))
    for start in range(0, len(entries), AT_ONCE):
        items.bulk_write([upsert_of(entry) for entry in entries[start : start + AT_ONCE]], False)
    wall_s, cpu_s = time.perf_counter() - started_s, time.process_time() - started_cpu_s
    print(json.dumps({"wall_s": wall_s, "cpu_s": cpu_s}))


def import_modules(parser: str) -> None:
    """Load the parser before the clock runs."""
    __import__("feedparser" if parser == "feedparser" else "lxml.etree")


def parse_by_feedparser(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the entries as feedparser reads them."""
    import feedparser

    for entry in feedparser.parse(body).entries:
        yield {name: entry.get(name) for name in ("id", "title", "link", "summary", "published")}


def parse_by_lxml(body: bytes) -> Iterator[dict[str, Any]]:
    """Yield the items as an XML parser alone gives them."""
    from lxml import etree

    for item in etree.fromstring(body).iter("item"):
        fields = {name: item.findtext(tag) for name, tag in FIELDS.items()}
        yield {"id": item.findtext("guid"), **fields}


def upsert_of(entry: dict[str, Any]) -> UpdateOne:
    """Return the write of one entry."""
    return UpdateOne({"_id": entry["id"]}, {"$set": entry}, upsert=True)


main()
