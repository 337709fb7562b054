"""A publisher that lists items by time, and knows which run of which import it served what."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from server.fetching.answers import FetchedFeed, Validators
from tests.fake_publisher import FakePublisher, render
from tests.roles import Server

HOUR = timedelta(hours=1)
# Where each hour's items lie in it.
_AT = timedelta(minutes=10)


@dataclass(frozen=True, slots=True)
class Served:
    """What one run was answered: titles by guid."""

    import_id: str
    titles: Mapping[str, str]


class IntervalPublisher(FakePublisher):
    """Lists the two items of each hour: one in its interval alone, one also in that behind.

    ``runs`` holds what each run was served last, by its revision; :meth:`follow` tells it of the
    runs of a server.
    """

    url = "https://news.example/items?from={start}&to={ended}"

    def __init__(self, begun: datetime) -> None:
        super().__init__()
        self._begun = begun
        self._versions: dict[int, str] = {}
        self._run = threading.local()
        self.runs: dict[int, Served] = {}

    def follow(self, server: Server) -> None:
        """Learn of each run of a server before it asks; the run asks on the thread it began on."""
        imports = server.stores.imports
        mark = imports.mark_fetching

        def remember(import_id: str, revision: int, now: datetime) -> bool:
            self._run.key = (import_id, revision)
            return mark(import_id, revision, now)

        imports.mark_fetching = remember  # type: ignore[method-assign]

    def change(self, hour: int, version: str) -> None:
        """Let the items of an hour, counted from the beginning, have this version from now on."""
        self._versions[hour] = version

    def fix(self) -> None:
        """Let every item that was ever changed have a sound version of its own."""
        self._versions = dict.fromkeys(self._versions, "fixed")

    def titles(self, start: datetime, ended: datetime, *, overlap: bool = True) -> dict[str, str]:
        """Return what an interval lists now."""
        first = int((start - self._begun - HOUR) / HOUR) - 2
        last = int((ended - self._begun) / HOUR) + 2
        found: dict[str, str] = {}
        for hour in range(first, last):
            moment = self._begun + hour * HOUR + _AT
            title = f"{self._versions.get(hour, 'first')} {hour}"
            if start <= moment < ended:
                found |= {f"own{hour}": title, f"shared{hour}": title}
            elif overlap and start - HOUR <= moment < ended:
                found[f"shared{hour}"] = title
        return found

    def fetch(self, url: str, *, validators: Validators | None = None, **_: Any) -> FetchedFeed:
        """Answer for an interval, and note for which run."""
        asked = parse_qs(urlsplit(url).query)
        start, ended = (_time(asked[name][0]) for name in ("from", "to"))
        titles = self.titles(start, ended)
        self._shown[url] = render(titles)
        import_id, revision = self._run.key
        self.runs[revision] = Served(import_id, titles)
        return super().fetch(url, validators=validators)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text).astimezone(UTC)
