"""What a fetch gives: an answer, and what to send back next time."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Validators:
    """What a later request sends back to ask only for news: opaque, byte for byte as received.

    ``final_url`` is the address whose answer carried them; they are sent to no other. ``body_hash``
    is ours: the same body again counts as not modified.
    """

    etag: str | None = None
    last_modified: str | None = None
    body_hash: str | None = None
    final_url: str | None = None


@dataclass(frozen=True, slots=True)
class FetchedFeed:
    """An answer of 200 or 304.

    ``not_modified`` is True for 304 (no body then) and for a body equal to the last. ``validators``
    are those that this answer carries, after a 304 the ones that were sent. ``permanent_url`` is
    the target of a chain of none but permanent redirects. Addresses here hold no credentials,
    except ``url``, which is as configured. ``is_cut``: the body ended before its end, as far as
    HTTP tells; ``faults`` say what was wrong with the answer, for people. ``refresh`` and ``link``
    are the headers of these names.
    """

    url: str
    final_url: str
    http_status: int
    not_modified: bool
    body: bytes
    content_type: str | None
    validators: Validators
    cache_max_age_s: float | None
    retry_after_s: float | None
    permanent_url: str | None
    duration_s: float
    is_cut: bool = False
    faults: tuple[str, ...] = ()
    refresh: str | None = None
    link: str | None = None
