"""A publisher over HTTP that lists items by time, for back-fills with real servers and workers."""

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.fake_publisher import render
from tests.processes import Deployment, wait_until
from tests.publisher import Answer, Publisher, Received

_PATH = "/hours"
STEP = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class IntervalFeed:
    """A feed whose window begins now, so that only its back-fill has something to read.

    ``hours`` intervals lie before that, each with ``items`` items of its own. With ``free``, those
    asked for when so many others have been are not answered before :attr:`may_end` is set.
    """

    source: str
    hours: int
    items: int
    begins: datetime
    free: int | None
    may_end: threading.Event = field(default_factory=threading.Event)
    _asked: dict[datetime, int] = field(default_factory=dict)

    @classmethod
    def add(
        cls,
        deployed: Deployment,
        publisher: Publisher,
        *,
        hours: int,
        items: int,
        free: int | None = None,
    ) -> "IntervalFeed":
        """Let a server know the feed, and the publisher serve it."""
        now = datetime.now(UTC).replace(microsecond=0)
        feed = cls("past", hours, items, now, free)
        url = publisher.script(_PATH, feed._answer) + "?from={start}&to={ended}"
        window = {"from": feed.begins.isoformat(), "step_s": int(STEP.total_seconds())}
        body = {"url": url, "source": feed.source, "window": window}
        answer = deployed.api.post("/feeds", json=body)
        assert answer.status_code == 201, answer.text
        return feed

    @property
    def item_ids(self) -> set[str]:
        """The ids of all items of its past."""
        moments = [self.begins - (hour + 1) * STEP for hour in range(self.hours)]
        return {f"{self.source}#{guid}" for start in moments for guid in self._titles(start)}

    def start_backfill(self, deployed: Deployment) -> None:
        """Ask for the import of all of its past."""
        wanted = {"from": (self.begins - self.hours * STEP).isoformat()}
        answer = deployed.api.post(f"/feeds/{self.source}/backfill", json=wanted)
        assert answer.status_code == 202, answer.text

    def see_backfill(self, deployed: Deployment) -> dict[str, Any]:
        """Return the back-fill as the API shows it; {} while no server answers."""
        answer = deployed.get(f"/feeds/{self.source}/backfill")
        shown: dict[str, Any] = answer.json() if answer and answer.status_code == 200 else {}
        return shown

    def wait_for_done(self, deployed: Deployment, done: int, *, within_s: float) -> None:
        """Wait until so many of its intervals have come to their end."""

        def look() -> bool:
            shown = self.see_backfill(deployed)
            return bool(shown) and shown["intervals"]["done"] >= done

        wait_until(look, f"{done} intervals are done", within_s=within_s)

    def change_backfill(self, deployed: Deployment, what: str) -> None:
        """Pause or resume the back-fill."""
        answer = deployed.api.post(f"/feeds/{self.source}/backfill/{what}")
        assert answer.status_code == 200, answer.text

    def _answer(self, request: Received) -> Answer:
        asked = parse_qs(urlsplit(request.path).query)
        start = datetime.fromisoformat(asked["from"][0])
        sent = {"Content-Type": "application/feed+json"}
        body = render(self._titles(start))
        place = self._asked.setdefault(start, len(self._asked))
        if self.free is None or place < self.free:
            return Answer(200, body, sent)
        return Answer(200, headers=sent, pieces=lambda: self._hold(body))

    def _hold(self, body: bytes) -> Iterator[bytes]:
        self.may_end.wait(60)
        yield body

    def _titles(self, start: datetime) -> dict[str, str]:
        named = int(start.timestamp())
        return {f"{named}-{number}": f"Item {number}" for number in range(self.items)}
