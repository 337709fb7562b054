"""Kills: an import goes on while its server and its workers are killed again and again."""

import json
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from tests.feeds.make_feed import make_feed
from tests.processes import HEAVY_QUEUE, QUEUE, Deployment, counts_of, pause, wait_until
from tests.publisher import Publisher

WORKERS = 2
# Locks run out soon, and no item dies of its workers' deaths.
SETTINGS = {
    "WORKER_LOCK_MS": "1000",
    "WORKER_STALLED_MS": "100",
    "WORKER_MAX_STALLED": "1000000",
    # Slow enough that all kills come while items are on their way.
    "WORKER_RATE_LIMIT_MAX": "200",
}
LONGEST_PAUSE_S = 0.4
CLOSES_WITHIN_S = 150.0


@dataclass(frozen=True)
class Kills:
    """What is killed how often, at moments that follow from ``seed``."""

    items: int
    worker_kills: int
    server_kills: int
    seed: int

    def run(self, deployed: Deployment, publisher: Publisher) -> str:
        """Import while killing; check that nothing is lost, counted twice or left over.

        Returns a line with the figures. ``deployed`` must have been made with :data:`SETTINGS`.
        """
        started_s = time.monotonic()
        url = publisher.serve("/kills.xml", make_feed(self.items, self.seed))
        killer = _Killer(self, deployed)
        import_id = deployed.start_import(url=url, source="kills")
        open_kills = killer.kill_all(import_id)
        # On a machine with much else to do some may come late.
        assert open_kills > (self.worker_kills + self.server_kills) * 0.7
        killed_s = time.monotonic() - started_s
        ended = deployed.wait_until_closed(import_id, within_s=CLOSES_WITHIN_S)
        took_s = time.monotonic() - started_s
        self._check(deployed, ended)
        return (
            f"seed {self.seed}: {self.items} items, {self.worker_kills} workers and "
            f"{self.server_kills} servers killed in {killed_s:.1f} s "
            f"({open_kills} while the import was open), "
            f"{killer.reclaimed()} jobs reclaimed, closed after {took_s:.1f} s"
        )

    def _check(self, deployed: Deployment, ended: dict[str, object]) -> None:
        assert ended["state"] == "completed", ended
        assert ended["counts"] == counts_of(fetched=self.items, new=self.items)
        stored = deployed.documents()
        expected = {f"kills#item-{number}" for number in range(1, self.items + 1)}
        assert (len(stored), set(stored)) == (self.items, expected)
        letters = deployed.api.get("/dlq").json()["items"]
        assert letters == []
        wait_until(lambda: deployed.leftovers() == [], "Redis is clean", within_s=10)


class _Killer:
    """The processes that are killed, and how many kills are left."""

    def __init__(self, kills: Kills, deployed: Deployment) -> None:
        self._kills = kills
        self._deployed = deployed
        self._chance = random.Random(kills.seed)
        self._server = deployed.start_server()
        self._workers = [deployed.start_worker() for _ in range(WORKERS)]

    def kill_all(self, import_id: str) -> int:
        """Kill as planned; return how many kills came while the import was open."""
        open_kills = 0
        # The first falls on the fetch, the rest on items: spread over seven tenths of them.
        for victim, settled_before in self._plan():
            self._wait_for_settled(settled_before)
            self._kill_one(victim)
            if self._deployed.settled_jobs() < self._kills.items:
                open_kills += 1
        self._deployed.wait_until_ready(self._server)
        return open_kills

    def reclaimed(self) -> int:
        """Return how many jobs of killed workers went back into line, as far as logs tell."""
        lines = [line for log in self._deployed.logs() for line in log.splitlines()]
        events = [json.loads(line) for line in lines if '"jobs_reclaimed"' in line]
        return sum(event["requeued"] for event in events)

    def _plan(self) -> list[tuple[str, int]]:
        kills = self._kills
        rest = ["worker"] * kills.worker_kills + ["server"] * (kills.server_kills - 1)
        self._chance.shuffle(rest)
        step = kills.items * 0.7 / len(rest)
        moments = [int(step * (at + self._chance.random())) for at in range(len(rest))]
        return [("server", 0), *zip(rest, moments, strict=True)]

    def _wait_for_settled(self, wanted: int) -> None:
        wait_until(
            lambda: self._deployed.settled_jobs() >= wanted,
            f"{wanted} items are settled",
            within_s=60,
        )

    def _kill_one(self, victim: str) -> None:
        if victim == "server":
            self._hold_items_until(lambda: self._deployed.is_ready())
            self._server.kill()
            self._server = self._deployed.launch("server")
        else:
            number = self._chance.randrange(WORKERS)
            self._hold_items_until(lambda: "worker_started" in self._workers[number].said())
            self._workers[number].kill()
            self._workers[number] = self._deployed.launch("worker")

    def _hold_items_until(self, is_up: Callable[[], bool]) -> None:
        """Wait for a victim to be up again, and for a random moment after.

        No item is begun while waiting: the import must not be over before its kills.
        """
        queues = [self._deployed.queue(name) for name in (QUEUE, HEAVY_QUEUE)]
        if not is_up():
            for queue in queues:
                queue.pause()
            wait_until(is_up, "the victim is up")
            for queue in queues:
                queue.resume()
        pause(self._chance.uniform(0, LONGEST_PAUSE_S))
