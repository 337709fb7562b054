"""Fetchers of a test, which are closed when it ends."""

import contextlib
from collections.abc import Callable, Iterator

from server.fetching.fetcher import Fetcher
from shared.clock import SystemClock

MakeFetcher = Callable[..., Fetcher]


@contextlib.contextmanager
def open_fetchers(**defaults: object) -> Iterator[MakeFetcher]:
    """Yield a function that makes fetchers, of these arguments and those it is given."""
    with contextlib.ExitStack() as stack:

        def make(**overrides: object) -> Fetcher:
            arguments = {
                "allow_private": True,
                "user_agent": "Feedmill-test/1 (+https://feedmill.example)",
                "clock": SystemClock(),
                **defaults,
                **overrides,
            }
            return stack.enter_context(contextlib.closing(Fetcher(**arguments)))  # type: ignore[arg-type]

        yield make
