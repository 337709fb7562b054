"""Every sample feed with items, with one of its items damaged in each of many ways.

A sample of the feeds in a usual run, all of them with ``FEEDMILL_ALL_DAMAGE=1``: then the table
also says what feedparser reads of each, which takes most of the time.
"""

import functools
import io
import os
import re
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from random import Random

import feedparser
import pytest

from server.parsing import ParsedFeed, parse_feed
from shared.errors import ParseError
from shared.models import content_hash, job_data
from tests.corpus import CORPUS, needs_corpus, read_samples
from tests.damage import KINDS, item_spans

pytestmark = needs_corpus

NOW = datetime(2026, 11, 3, tzinfo=UTC)
IS_ALL = bool(os.environ.get("FEEDMILL_ALL_DAMAGE"))
EVERY = 1 if IS_ALL else 40
OWN = Path(__file__).parents[1] / "feeds"
REAL = CORPUS.parent / "cases" / "real"
_DECLARATION = re.compile(r"<\?xml[^>]*\?>")


def parse(text: str) -> ParsedFeed:
    return parse_feed(text.encode(), content_type=None, url=None, now=NOW)


def fingerprints(feed: ParsedFeed) -> list[tuple[str, str]]:
    return [(e.item.guid, content_hash(job_data("s", e.item))) for e in feed.entries]


def sound_feeds() -> Iterator[tuple[str, str, ParsedFeed]]:
    """Yield the sound feeds of the sample, as text; those of several items always."""
    bodies = [(sample.name, sample.body) for sample in read_samples()]
    for folder in (OWN, REAL):
        bodies += [(path.name, path.read_bytes()) for path in sorted(folder.glob("*.*"))]
    for number, (name, body) in enumerate(bodies):
        try:
            text = _DECLARATION.sub("", body.decode())
            feed = parse(text)
        except (UnicodeError, ParseError):
            continue
        spans = item_spans(text)
        is_sound = not any("well-formed" in warning for warning in feed.warnings)
        if not is_sound or not spans or len(spans) != len(feed.entries):
            continue
        if len(spans) > 1 or number % EVERY == 0:
            yield name, text, feed


@functools.lru_cache(maxsize=2)
def reference_ids(text: str) -> list[str]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            entries = feedparser.parse(io.BytesIO(text.encode())).entries
        except Exception:  # noqa: BLE001
            return []
    return [entry.get("id") or entry.get("link") or entry.get("title", "") for entry in entries]


class Tally:
    """What became of the feeds, by kind of damage."""

    def __init__(self) -> None:
        self.counts: dict[str, Counter[str]] = {kind: Counter() for kind in KINDS}
        self.lost: list[str] = []
        self.wrong: list[str] = []
        self.refused: list[str] = []

    def add(self, kind: str, name: str, text: str, feed: ParsedFeed) -> None:
        count, random = self.counts[kind], Random(f"{kind} {name}")
        spans = item_spans(text)
        hurt = random.randrange(len(spans))
        start, end = spans[hurt]
        broken = text[:start] + KINDS[kind](text[start:end], random) + text[end:]
        sound = fingerprints(feed)
        others = sound[:hurt] + sound[hurt + 1 :]
        count["feeds"] += 1
        count["undamaged"] += len(others)
        if IS_ALL:
            read, expected = reference_ids(broken), reference_ids(text)
            others_expected = expected[:hurt] + expected[hurt + 1 :]
            count["feedparser"] += len([each for each in others_expected if each in read])
            count["feedparser damaged"] += bool(read)
        try:
            got = parse(broken)
        except ParseError as exc:
            count["refused"] += 1
            if reference_ids(broken):
                self.refused.append(f"{kind}: {name}: {exc}")
            return
        self._compare(kind, name, got, sound, hurt)

    def _compare(
        self, kind: str, name: str, got: ParsedFeed, sound: list[tuple[str, str]], hurt: int
    ) -> None:
        count, pairs = self.counts[kind], Counter(fingerprints(got))
        for pair in sound[:hurt] + sound[hurt + 1 :]:
            if pairs[pair] > 0:
                pairs[pair] -= 1
                count["identical"] += 1
            else:
                self.lost.append(f"{kind}: {name}: {pair[0]}")
        rungs = {entry.item.guid: entry.guid_rung for entry in got.entries}
        ids = {guid for guid, _ in sound}
        # An id that is made of the texts is that of the damaged ones.
        is_wrong = [guid for guid in rungs if guid not in ids and rungs[guid] != "hash"]
        self.wrong += [f"{kind}: {name}: {guid}" for guid in is_wrong]
        count["damaged read"] += sound[hurt][0] in rungs or "hash" in rungs.values()
        count["by fallback"] += any(entry.item.read_by for entry in got.entries)

    def table(self) -> Iterator[str]:
        """Yield a line for each kind; what feedparser reads only where it was asked."""
        asked = ["feedparser", "feedparser damaged"] if IS_ALL else []
        shown = [
            "feeds",
            "undamaged",
            "identical",
            "damaged read",
            "by fallback",
            "refused",
            *asked,
        ]
        yield f"{'damage':18}" + "".join(f"{name:>20}" for name in shown)
        for kind, count in self.counts.items():
            yield f"{kind:18}" + "".join(f"{count[name]:20}" for name in shown)


@pytest.mark.timeout(1800)
def test_damage_in_one_item_costs_no_other_and_no_id(
    record_property: Callable[[str, str], None],
) -> None:
    tally = Tally()
    for name, text, feed in sound_feeds():
        for kind in KINDS:
            tally.add(kind, name, text, feed)
    table = "\n".join(tally.table())
    record_property("figures", table)
    print(table)
    undamaged = sum(count["undamaged"] for count in tally.counts.values())
    identical = sum(count["identical"] for count in tally.counts.values())
    assert undamaged > 0
    assert tally.refused == []
    assert tally.wrong == []
    assert identical >= 0.99 * undamaged, tally.lost[:20]
