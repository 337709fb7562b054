"""What an answer says beside its feed: that it is cut, or that the feed is elsewhere. Pure."""

from collections.abc import Iterator

from server.feeds.history import UrlHistory
from server.fetching.addresses import mask_url
from server.fetching.fetched import FetchedFeed
from server.parsing import ParsedFeed
from server.parsing.urls import read_refresh, warn_of_pages
from shared.errors import ErrorKind, FetchError, ParseError

# What a feed may look like of which only the beginning came.
_KINDS_OF_CUT = frozenset(
    {ErrorKind.DAMAGED, ErrorKind.NOT_A_FEED, ErrorKind.JSON_ERROR, ErrorKind.EMPTY}
)


def explain_refusal(error: ParseError, url: str, fetched: FetchedFeed) -> FetchError | ParseError:
    """Return why an answer is no feed, with what HTTP says of it."""
    if fetched.is_cut and error.kind in _KINDS_OF_CUT:
        reason = f"{fetched.faults[0]}; what came holds no whole item"
        return FetchError(url, ErrorKind.CONNECT, reason, retryable=True)
    target = read_refresh(fetched.refresh, url=fetched.final_url)
    if target is not None and not error.retryable and type(error) is ParseError:
        return ParseError(error.kind, f"{error}; its Refresh header leads to {target}")
    return error


def say_other_places(
    url: str, learnt: UrlHistory, parsed: ParsedFeed, fetched: FetchedFeed
) -> Iterator[str]:
    """Yield warnings with the addresses that a feed or its answer names instead of its own."""
    shown = mask_url(url)
    if learnt.said_moved_to is not None:
        target = learnt.said_moved_to
        yield f"{shown}: the feed says that it has moved to {target}; change the feed's url"
    refreshed_to = read_refresh(fetched.refresh, url=fetched.final_url)
    if refreshed_to is not None:
        yield f"{shown}: its Refresh header leads to {refreshed_to}"
    for warning in warn_of_pages(parsed, url=fetched.final_url):
        yield f"{shown}: {warning}"
