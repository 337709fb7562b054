"""A publisher without a network: answers as ``Fetcher.fetch`` does, and knows what it served."""

import hashlib
import json
from collections import defaultdict
from collections.abc import Collection, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from server.fetching.answers import FetchedFeed, Validators
from server.parsing import ParsedFeed, parse_feed
from shared.errors import FetchError, ParseError
from shared.models import content_hash, job_data, make_item_id
from shared.urls import host_of
from tests.mongodb_features import Feature, require

# A title that MongoDB is made to refuse, see ``Harness``.
POISON = "poison"
# Where a document of ours names its damaged items.
_DAMAGED = "_damaged"


class FakePublisher:
    """Prints feeds: titles by guid, at one URL a source; the ETag is made of them.

    ``served`` holds the content hashes that were ever answered, by item id.
    """

    def __init__(self) -> None:
        self._shown: dict[str, bytes] = {}
        self._refusals: dict[str, FetchError] = {}
        self._said: dict[str, dict[str, Any]] = {}
        self._is_down = False
        self._retry_after_s: float | None = None
        self.served: dict[str, set[str]] = defaultdict(set)
        self.requests = 0

    def show(self, source: str, items: Mapping[str, str], *, damaged: Collection[str] = ()) -> None:
        """Let a source's feed list these titles by guid from now on.

        ``damaged`` are the guids of items that only a lenient reader can read.
        """
        if any(title.startswith(POISON) for title in items.values()):
            require(Feature.VALIDATORS)
        self._shown[feed_url(source)] = render(items, damaged=damaged)

    def show_document(self, source: str, body: str | bytes) -> None:
        """Let a source's feed be this document from now on, be it a feed or not."""
        self._shown[feed_url(source)] = body.encode() if isinstance(body, str) else body

    def show_at(self, url: str, items: Mapping[str, str], **named: Any) -> None:
        """Let a URL list these titles by guid; ``named`` as for :func:`render`."""
        self._shown[url] = render(items, **named)

    def refuse(self, source: str, kind: str, **fields: Any) -> None:
        """Answer a source's feed with this error from now on."""
        url = feed_url(source)
        self._refusals[url] = FetchError(url, kind, f"refused: {kind}", host=host_of(url), **fields)

    def admit(self, source: str) -> None:
        """Answer a source's feed properly again."""
        self._refusals.pop(feed_url(source), None)

    def say(self, source: str, **fields: Any) -> None:
        """Let all answers of a source's feed say this too: fields of ``FetchedFeed``."""
        self._said[feed_url(source)] = fields

    def break_down(self) -> None:
        """Answer everything with 500 from now on."""
        self._is_down = True

    def recover(self) -> None:
        """Answer properly again."""
        self._is_down = False

    def ask_for_rest(self, retry_after_s: float | None) -> None:
        """Answer everything with 429 and this Retry-After from now on; None ends it."""
        self._retry_after_s = retry_after_s

    def fetch(
        self,
        url: str,
        *,
        validators: Validators | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float | None = None,
    ) -> FetchedFeed:
        self.requests += 1
        if self._is_down:
            raise FetchError(
                url, "http_status", "server answered 500", retryable=True, http_status=500
            )
        if url in self._refusals:
            raise self._refusals[url]
        if self._retry_after_s is not None:
            raise FetchError(
                url,
                "rate_limited",
                "server answered 429",
                http_status=429,
                retry_after_s=self._retry_after_s,
                host=host_of(url),
            )
        body = self._shown.get(url, _EMPTY)
        digest = hashlib.sha256(body).hexdigest()
        etag = f'"{digest[:16]}"'
        if validators is not None and validators.etag == etag:
            answer = _answer(url, 304, b"", validators)
        else:
            self._remember(url, body)
            carried = Validators(etag=etag, body_hash=digest, final_url=url)
            answer = _answer(url, 200, body, carried)
        return replace(answer, **self._said.get(url, {}))

    def close(self) -> None:
        """Nothing is open."""

    def hashes(self, source: str) -> dict[str, str]:
        """Return what is shown now: content hashes by item id."""
        return _hashes(source, self._shown.get(feed_url(source), _EMPTY))

    def _remember(self, url: str, body: bytes) -> None:
        for item_id, digest in _hashes(_source_of(url), body).items():
            self.served[item_id].add(digest)


def feed_url(source: str) -> str:
    """Return where a source's feed is."""
    return f"https://{source}.example/feed.json"


def render(
    items: Mapping[str, str],
    *,
    damaged: Collection[str] = (),
    next_url: str | None = None,
    published_at: str | None = None,
) -> bytes:
    """Return a JSON Feed of items: titles by guid, each item at a link of its own."""
    listed = [
        {
            "id": guid,
            "url": f"https://news.example/{guid}",
            "title": title,
            "content_text": title,
        }
        | ({"date_published": published_at} if published_at is not None else {})
        for guid, title in items.items()
    ]
    feed = {"version": "https://jsonfeed.org/version/1.1", "title": "Feed", "items": listed}
    feed |= {"next_url": next_url} if next_url is not None else {}
    return json.dumps(feed | ({_DAMAGED: sorted(damaged)} if damaged else {})).encode()


def read_leniently(parsed: ParsedFeed, body: bytes) -> ParsedFeed:
    """Return what a document says, its damaged items as the lenient reader would bring them."""
    if _DAMAGED.encode() not in body:
        return parsed
    damaged = set(json.loads(body)[_DAMAGED])
    return replace(
        parsed,
        entries=tuple(
            entry._replace(item=entry.item._replace(read_by="feedparser"))
            if entry.item.guid in damaged
            else entry
            for entry in parsed.entries
        ),
    )


_EMPTY = render({})


def hash_of(guid: str, title: str) -> str:
    """Return the content hash of one item."""
    [digest] = _hashes("any", render({guid: title})).values()
    return digest


def _hashes(source: str, body: bytes) -> dict[str, str]:
    now = datetime(2026, 11, 1, tzinfo=UTC)
    try:
        parsed = parse_feed(body, content_type=None, url=None, now=now)
    except ParseError:
        return {}
    return {
        make_item_id(source, entry.item.guid): content_hash(job_data(source, entry.item))
        for entry in parsed.entries
    }


def _source_of(url: str) -> str:
    return url.removeprefix("https://").partition(".example")[0]


def _answer(url: str, status: int, body: bytes, validators: Validators) -> FetchedFeed:
    return FetchedFeed(
        url=url,
        final_url=url,
        http_status=status,
        not_modified=status == 304,
        body=body,
        content_type="application/feed+json",
        validators=validators,
        cache_max_age_s=None,
        retry_after_s=None,
        permanent_url=None,
        duration_s=0.0,
    )
