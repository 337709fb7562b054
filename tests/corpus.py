"""The sample feeds that lie beside the repository: over two thousand, feedparser's own test inputs.

They are not checked in. Where they are missing, the tests that need them are skipped and say so.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import pytest

CORPUS = Path(__file__).parents[1] / ".." / "shared" / "feeds"
# What feedparser's expectations take for the address of a document that came by HTTP.
SERVED_AT = "http://127.0.0.1:8097/"

needs_corpus = pytest.mark.skipif(
    not CORPUS.is_dir(), reason="the sample feeds are not at ../shared/feeds"
)
_CONTENT_TYPE = re.compile(rb"Header:\s*Content-[tT]ype:[ \t]*([^\r\n]+)")


@dataclass(frozen=True)
class Sample:
    """One file; ``content_type`` is the header that its comment asks for, ``url`` its address."""

    name: str
    body: bytes
    content_type: str | None
    url: str | None

    @property
    def is_feed(self) -> bool:
        return self.name.endswith((".xml", ".json"))


@lru_cache(maxsize=1)
def read_samples() -> tuple[Sample, ...]:
    """Return every file of the corpus, also those that are no feeds, by name."""
    paths = sorted(path for path in CORPUS.rglob("*") if path.is_file())
    return tuple(_read(path) for path in paths)


def _read(path: Path) -> Sample:
    name = path.relative_to(CORPUS).as_posix()
    body = path.read_bytes()
    header = _CONTENT_TYPE.search(body)
    return Sample(
        name=name,
        body=body,
        content_type=header[1].decode().strip() if header else None,
        url=SERVED_AT + name if "http" in name else None,
    )
