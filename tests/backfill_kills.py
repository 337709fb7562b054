"""Kills: a back-fill goes on while servers and workers are killed again and again."""

import time
from dataclasses import dataclass

from tests.interval_feeds import IntervalFeed
from tests.processes import Deployment, wait_until
from tests.publisher import Publisher

# As fast as may be, with locks that run out soon; no item dies of its workers' deaths.
SETTINGS = {
    "WORKER_LOCK_MS": "1000",
    "WORKER_STALLED_MS": "100",
    "WORKER_MAX_STALLED": "1000000",
    "BACKFILL_RATE_LIMIT": "100000/minute",
    "BACKFILL_IN_FLIGHT": "8",
    "FETCH_PER_HOST": "8",
}


@dataclass(frozen=True)
class BackFillKills:
    """How much is imported, and how often one server and one worker are killed meanwhile."""

    hours: int
    items: int
    server_kills: int
    worker_kills: int
    ends_within_s: float

    def run(self, deployed: Deployment, publisher: Publisher) -> str:
        """Back-fill while killing; check that every item is stored, and was counted once.

        Returns a line with the figures. ``deployed`` must have been made with :data:`SETTINGS`.
        """
        server, worker = deployed.start_server(), deployed.start_worker()
        victims = self._victims()
        parts = len(victims) + 2
        # The last part is held back, so that the back-fill cannot end before all kills.
        free = self.hours * (parts - 1) // parts
        feed = IntervalFeed.add(deployed, publisher, hours=self.hours, items=self.items, free=free)
        started_s = time.monotonic()
        feed.start_backfill(deployed)
        for number, victim in enumerate(victims, 1):
            done = self.hours * number // parts
            feed.wait_for_done(deployed, done, within_s=self.ends_within_s)
            assert feed.see_backfill(deployed)["state"] == "running", "the kill comes too late"
            if victim == "server":
                server.kill()
                server = deployed.start_server()
            else:
                worker.kill()
                worker = deployed.start_worker()
        feed.may_end.set()
        wait_until(
            lambda: feed.see_backfill(deployed).get("state") == "completed",
            "the back-fill is completed",
            within_s=self.ends_within_s,
            every_s=0.2,
        )
        took_s = time.monotonic() - started_s
        self._check(deployed, feed)
        return (
            f"{self.hours} intervals with {self.hours * self.items} items, "
            f"{self.server_kills} servers and {self.worker_kills} workers killed: {took_s:.1f} s"
        )

    def _victims(self) -> list[str]:
        """Return who is killed, in turn."""
        kills = {"server": self.server_kills, "worker": self.worker_kills}
        most = max(kills.values())
        return [who for turn in range(most) for who, times in kills.items() if turn < times]

    def _check(self, deployed: Deployment, feed: IntervalFeed) -> None:
        total = self.hours * self.items
        shown = feed.see_backfill(deployed)
        intervals, items = shown["intervals"], shown["items"]
        assert (intervals["done"], intervals["total"]) == (self.hours, self.hours), shown
        assert items == {"fetched": total, "new": total, "dead": 0}, shown
        stored = deployed.documents()
        assert (len(stored), set(stored)) == (total, feed.item_ids)
        imports = deployed.mongo.get_default_database()["imports"]
        counted = [each["counts"] for each in imports.find({"source": feed.source})]
        assert sum(counts["new"] for counts in counted) == total
        assert sum(counts["fetched"] for counts in counted) == total
        wait_until(lambda: deployed.leftovers() == [], "Redis is clean", within_s=10)
