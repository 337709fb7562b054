"""What is typed into the forms for feeds, made into what the API takes. Pure."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from server.fetching.addresses import mask_url
from shared.errors import InvalidRequestError
from shared.store import Feed

UNITS = {"1": "seconds", "60": "minutes", "3600": "hours", "86400": "days"}
_MAX_DIGITS = 9


class FeedForm(BaseModel):
    """The fields as they were typed: kept, whatever is wrong with them."""

    address: str = ""
    source: str = ""
    schedule: str = "interval"
    every: str = ""
    unit_s: str = "60"
    cron: str = ""
    headers: str = ""
    kept_headers: list[str] = []
    weight: str = ""
    as_is: bool = False
    chosen: list[str] = []

    @classmethod
    def of(cls, feed: Feed) -> "FeedForm":
        """Return the form filled with a feed as it is; secrets are masked, headers are names."""
        every, unit_s = _split_interval(feed.interval_s)
        return cls(
            address="\n".join(mask_url(url) for url in feed.urls),
            source=feed.source,
            schedule="cron" if feed.cron else "interval" if feed.interval_s else "none",
            every=every,
            unit_s=unit_s,
            cron=feed.cron or "",
            kept_headers=list(feed.headers),
            weight=feed.weight or "",
        )

    @property
    def addresses(self) -> list[str]:
        """The addresses, one a line; one without a scheme gets ``https://``."""
        lines = (line.strip() for line in self.address.splitlines())
        return [line if "://" in line else f"https://{line}" for line in lines if line]

    def new_feed(self, url: str) -> dict[str, Any]:
        """Return the body that adds a feed with this URL.

        Raises:
            InvalidRequestError: an interval that is no number, or a header without a colon.
        """
        body = {"url": url, **self._schedule(), **self._weight()}
        if self.source.strip():
            body["source"] = self.source.strip()
        if headers := self._typed_headers():
            body["headers"] = headers
        return body

    def changes(self, feed: Feed) -> dict[str, Any]:
        """Return the body that changes a feed into what was typed.

        A masked address is the stored one, and headers that were kept keep their values.

        Raises:
            InvalidRequestError: as for :meth:`new_feed`.
        """
        stored = {mask_url(url): url for url in feed.urls}
        urls = [stored.get(url, url) for url in self.addresses]
        kept = {name: feed.headers[name] for name in self.kept_headers if name in feed.headers}
        body = {**self._schedule(), "weight": self.weight or None}
        body["headers"] = kept | self._typed_headers()
        return body | {"urls": urls} if urls or feed.urls else body

    def _schedule(self) -> dict[str, Any]:
        if self.schedule == "cron":
            return {"cron": self.cron.strip()}
        if self.schedule == "none":
            return {"interval_s": None, "cron": None}
        every = self.every.strip()
        if not every:
            return {}
        if not (every.isascii() and every.isdecimal() and len(every) <= _MAX_DIGITS):
            raise InvalidRequestError(f"every {every[:40]!r}: a whole number is accepted")
        return {"interval_s": int(every) * int(self.unit_s if self.unit_s in UNITS else "1")}

    def _weight(self) -> dict[str, Any]:
        return {"weight": self.weight} if self.weight else {}

    def _typed_headers(self) -> dict[str, str]:
        headers: dict[str, str] = {}
        for line in filter(None, map(str.strip, self.headers.splitlines())):
            name, colon, value = line.partition(":")
            # The value may be a secret: it is not repeated.
            if not colon or not name.strip():
                raise InvalidRequestError(f"header {name[:40]!r}: accepted is Name: value")
            headers[name.strip()] = value.strip()
        return headers


def _split_interval(interval_s: int | None) -> tuple[str, str]:
    """Return an interval as a number and its largest unit, as the form shows it."""
    if interval_s is None:
        return "", "60"
    unit_s = max(int(unit) for unit in UNITS if interval_s % int(unit) == 0)
    return str(interval_s // unit_s), str(unit_s)


def moved_urls(feed: Feed, moved_to: Mapping[str, str], url: str) -> list[str]:
    """Return the feed's URLs with the new address of ``url`` (masked, as shown) in its place.

    Raises:
        InvalidRequestError: it has not moved (any more).
    """
    if url not in moved_to:
        raise InvalidRequestError("the address has not moved, or was changed meanwhile")
    return [moved_to[url] if mask_url(own) == url else own for own in feed.urls]
