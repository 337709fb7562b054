"""What is kept of what publishers answered, so that it can be read again without them."""

from collections.abc import Iterable
from datetime import datetime

from server.fetching.addresses import mask_url
from server.importing.values import Run
from shared.errors import StoreUnavailable
from shared.logs import get_logger
from shared.store import KeptBody, Stores

log = get_logger("server.importing.bodies")


# The URL that was asked, the content type, and the URL that answered.
Origin = tuple[str, str | None, str | None]


def body_to_keep(run: Run, body: bytes, size: int, now: datetime, origin: Origin) -> KeptBody:
    """Return an answer's body, compressed already, as it is kept: its URLs without secrets."""
    url, content_type, final_url = origin
    importing = run.importing
    return KeptBody(
        source=run.source,
        url=mask_url(url) if url else url,
        revision=run.revision,
        import_id=importing.import_id,
        fetched_at=now,
        size=size,
        body=body,
        content_type=content_type,
        final_url=mask_url(final_url) if final_url is not None else None,
        indexer=importing.indexer,
        start=(importing.interval or {}).get("start"),
    )


def keep_bodies(stores: Stores, bodies: Iterable[KeptBody], most: int) -> None:
    """Keep what a committed import read, of each URL ``most`` bodies. Safe to repeat.

    A store that cannot do it just now is logged: the import itself needs none of it.
    """
    for body in bodies if most else ():
        try:
            stores.bodies.keep(body, most)
        except StoreUnavailable as exc:
            log.warning("body_not_kept", import_id=body.import_id, error=str(exc))
            return
