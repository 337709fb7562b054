"""``feedmill feeds add``: options made into the API's body; the feed behind a page; its import."""

from collections.abc import Sequence
from typing import Any

from server.commands.api_client import ApiClient
from server.commands.feed_arguments import KnownFeed
from server.commands.importing import ImportRun, Progress, follow_imports, run_imports
from shared.errors import InvalidRequestError, NotFoundError
from shared.masking import mask_secrets

# The service may take FETCH_TIMEOUT_S (280 at most) to fetch, and a minute to parse.
DISCOVERY_TIMEOUT_S = 360.0
_LATEST = 10


def make_feed_body(
    urls: Sequence[str],
    *,
    source: str | None,
    interval_s: int | None,
    cron: str | None,
    is_scheduled: bool,
    headers: Sequence[str],
    weight: str | None,
) -> dict[str, Any]:
    """Return the body of ``POST /feeds``; what was not chosen is left to the service.

    Without URLs it is a body of ``PATCH``: only what was chosen is changed.

    Raises:
        InvalidRequestError: options that exclude one another, or a header without a colon.
    """
    if sum((interval_s is not None, cron is not None, not is_scheduled)) > 1:
        raise InvalidRequestError("choose one of --interval-s, --cron and --no-schedule")
    place: dict[str, Any] = {"url": urls[0]} if len(urls) == 1 else {"urls": list(urls)}
    body = place if urls else {}
    chosen = {
        "source": source,
        "interval_s": interval_s,
        "cron": cron,
        "headers": _read_headers(headers) or None,
        "weight": weight,
    }
    body |= {name: value for name, value in chosen.items() if value is not None}
    return body if is_scheduled else {**body, "interval_s": None, "cron": None}


def discover(client: ApiClient, url: str) -> list[dict[str, Any]]:
    """Return the feeds that an address leads to: itself as it was written, if it is a feed.

    Raises:
        NotFoundError: a page that names none.
        ServiceError: it could not be fetched.
    """
    answer = client.post("/feeds/discover", {"url": url}, timeout_s=DISCOVERY_TIMEOUT_S)
    found: list[dict[str, Any]] = answer["feeds"]
    if not found:
        raise NotFoundError(f"{mask_secrets(url)} is a web page that names no feed")
    if answer["is_feed"]:
        # The service masks credentials, and they are needed.
        return [{**found[0], "url": url}]
    return found


def import_added(client: ApiClient, added: dict[str, Any], progress: Progress) -> ImportRun:
    """Import a feed that was just added and wait for the end; its schedule may have been faster.

    Then that import is the one: the publisher is not asked twice.
    """
    source, added_at = added["source"], added["next_fetch_at"]
    if added_at is not None:
        latest = client.get("/imports", source=source, limit=_LATEST)["items"]
        recent = [each for each in reversed(latest) if each["requested_at"] >= added_at]
        if recent:
            run = ImportRun(imports=recent)
            follow_imports(client, run, progress=progress)
            return run
    return run_imports(client, [KnownFeed(source)], force=False, progress=progress)


def _read_headers(texts: Sequence[str]) -> dict[str, str]:
    headers: dict[str, str] = {}
    for text in texts:
        name, colon, value = text.partition(":")
        if not colon or not name.strip():
            # What was written may be a secret: it is not repeated.
            raise InvalidRequestError("--header must be 'Name: value': it has no colon or no name")
        if name.strip().lower() in {given.lower() for given in headers}:
            raise InvalidRequestError(f"--header {name.strip()!r} is given twice")
        headers[name.strip()] = value.strip()
    return headers
