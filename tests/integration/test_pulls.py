"""Feeds with a window: each interval is imported once, whatever crashes in between."""

from datetime import timedelta
from typing import Any

from shared.store import Feed, Import, ImportState
from shared.store.intervals import IndexerState
from tests.fake_publisher import render
from tests.harness import SOURCE, Harness

URL = "https://news.example/items?from={start}&to={ended}"
STEP_S = 3600


def add_window(harness: Harness, hours: int = 4, url: str = URL, **window: Any) -> Feed:
    """Add a feed whose window began so many hours ago."""
    now = harness.clock.now()
    feed = Feed(
        source=SOURCE,
        urls=[url],
        created_at=now,
        window={"from": now - timedelta(hours=hours), "step_s": STEP_S, **window},
    )
    harness.stores.feeds.insert(feed)
    harness.server.services.windows.begin(feed)
    return feed


def show(harness: Harness, hours: int = 4, items: int = 2) -> None:
    """Let the publisher list items of each of the last hours, and of the one that runs."""
    for number in range(-hours, 1):
        show_hour(harness, number, {f"g{number}-{each}": f"t{number}" for each in range(items)})


def show_hour(harness: Harness, number: int, titles: dict[str, str]) -> None:
    """Let the publisher list these items for the hour that began so many hours from now."""
    started = harness.clock.now() + timedelta(hours=number)
    ended = started + timedelta(hours=1)
    url = URL.replace("{start}", show_time(started)).replace("{ended}", show_time(ended))
    harness.publisher._shown[url] = render(titles)


def show_time(moment: Any) -> str:
    return str(moment.isoformat()).replace("+00:00", "Z")


def fetch_all(harness: Harness) -> None:
    while harness.server.fetch():
        pass


def pull_all(harness: Harness, rounds: int = 12) -> None:
    """Let everybody work until nothing of the window is open any more."""
    for _ in range(rounds):
        harness.server.dispatch()
        fetch_all(harness)
        harness.work()
        harness.server.look()
        harness.clock.advance(seconds=1)
        if not state_of(harness).open:
            return


def state_of(harness: Harness, name: str = SOURCE) -> IndexerState:
    found = harness.stores.intervals.get(name)
    assert found is not None
    return found


def pulls_of(harness: Harness) -> list[Import]:
    """Return all imports of intervals, the earliest first."""
    page = harness.stores.imports.find_page(source=SOURCE, limit=100)
    pulls = [each for each in page.items if each.interval is not None]
    return sorted(pulls, key=lambda each: (each.interval or {})["start"])


def test_each_interval_of_a_window_is_imported_once(harness: Harness) -> None:
    feed = add_window(harness)
    show(harness)

    pull_all(harness)

    pulls = pulls_of(harness)
    assert feed.window is not None
    begun = feed.window["from"]
    assert [each.interval for each in pulls] == [
        {"start": begun + timedelta(hours=n), "ended": begun + timedelta(hours=n + 1)}
        for n in range(4)
    ]
    assert {each.state for each in pulls} == {ImportState.COMPLETED}
    assert [each.counts["new"] for each in pulls] == [2] * 4
    assert harness.stores.items.count(SOURCE, 100) == 8
    state = state_of(harness)
    assert (state.open, state.cursor) == ((), begun + timedelta(hours=4))
