"""The end of a window, cut off at each of its writes: it ends whole, or goes on where it was."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from server.feeds.windows import FeedWindow
from shared.errors import NotFoundError
from shared.store import ImportState
from tests.harness import SOURCE, Harness
from tests.integration.test_pulls import (
    STEP_S,
    URL,
    add_window,
    fetch_all,
    pull_all,
    pulls_of,
    show,
    state_of,
)
from tests.roles import Held, Server

Act = Callable[[Server], object]

HOURS = 4


def take_window(server: Server) -> object:
    return server.services.feeds.change(SOURCE, {"window": None})


def delete_feed(server: Server) -> None:
    server.services.feeds.remove(SOURCE)


def give_window(harness: Harness, hours: int) -> None:
    """Give the feed a window that began so many hours ago, adding the feed if it is gone."""
    window = FeedWindow(harness.clock.now() - timedelta(hours=hours), STEP_S)
    feeds = harness.server.services.feeds
    if feeds.exists(SOURCE):
        feeds.change(SOURCE, {"window": window})
    else:
        feeds.add([URL], source=SOURCE, window=window)


def begin_reading(harness: Harness) -> None:
    """Read two of the window's four intervals, and take the third."""
    add_window(harness, hours=HOURS)
    show(harness, hours=HOURS)
    for _ in range(2):
        harness.server.dispatch()
        fetch_all(harness)
        harness.work()
        harness.server.look()
        harness.clock.advance(seconds=1)
    harness.server.dispatch()
    assert len(pulls_of(harness)) == 3


def crash(harness: Harness, act: Act, store: str, method: str, *, after: bool = False) -> None:
    """Let a server die at a write of ``act``; another one goes on."""
    server = harness.server
    server.crash_at(getattr(server.stores, store), method, lambda: act(server), after=after)
    harness.replace_roles()


def starts_of(harness: Harness, epoch: int) -> list[int]:
    """Return where the intervals of an epoch began, all imported: in whole hours from now."""
    pulls = [each for each in pulls_of(harness) if each.epoch == epoch]
    assert {each.state for each in pulls} == {ImportState.COMPLETED}
    begun = [(each.interval or {})["start"] - harness.clock.now() for each in pulls]
    return [round(each / timedelta(hours=1)) for each in begun]


@pytest.mark.parametrize(("act", "method"), [(take_window, "update"), (delete_feed, "delete")])
def test_a_window_goes_on_where_it_was_when_its_end_was_cut_off_before_the_feed_changed(
    harness: Harness, act: Act, method: str
) -> None:
    begin_reading(harness)

    crash(harness, act, "feeds", method)
    pull_all(harness)
    harness.clock.advance(hours=2)
    pull_all(harness, rounds=24)

    # Nor has a server begun it anew that looks, as it starts, for windows that never began.
    assert (state_of(harness).is_active, state_of(harness).epoch) == (True, 1)
    assert starts_of(harness, epoch=1) == [-6, -5, -4, -3, -2, -1]
    assert harness.publisher.requests == 6


@pytest.mark.parametrize(("act", "method"), [(take_window, "update"), (delete_feed, "delete")])
def test_a_window_goes_on_where_it_was_when_the_feeds_change_was_refused(
    harness: Harness, act: Act, method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begin_reading(harness)

    def refuse(*_: object) -> bool:
        raise NotFoundError("refused")

    with monkeypatch.context() as patched, pytest.raises(NotFoundError):
        patched.setattr(harness.server.stores.feeds, method, refuse)
        act(harness.server)
    pull_all(harness)

    assert state_of(harness).epoch == 1
    assert starts_of(harness, epoch=1) == [-4, -3, -2, -1]


@pytest.mark.parametrize(
    ("act", "store", "method", "after"),
    [
        (take_window, "feeds", "update", True),
        (take_window, "intervals", "swap", False),
        (take_window, "intervals", "swap", True),
        (take_window, "imports", "fail", False),
        (delete_feed, "feeds", "delete", True),
        (delete_feed, "intervals", "swap", False),
        (delete_feed, "intervals", "swap", True),
        (delete_feed, "imports", "fail", False),
    ],
)
def test_a_window_ends_when_its_end_was_cut_off_behind_the_feeds_change(
    harness: Harness, act: Act, store: str, method: str, after: bool
) -> None:
    begin_reading(harness)

    crash(harness, act, store, method, after=after)
    pull_all(harness)
    harness.clock.advance(hours=2)
    pull_all(harness)

    assert (state_of(harness).is_active, state_of(harness).open) == (False, ())
    assert harness.stores.imports.find_open() == []
    assert len(pulls_of(harness)) == 3
    give_window(harness, hours=2)
    pull_all(harness)
    assert starts_of(harness, epoch=2) == [-2, -1]


@pytest.mark.parametrize(("act", "method"), [(take_window, "update"), (delete_feed, "delete")])
def test_the_window_of_a_disabled_feed_ends_within_two_hours_of_such_a_cut(
    harness: Harness, act: Act, method: str
) -> None:
    begin_reading(harness)
    harness.stores.feeds.update(SOURCE, {"enabled": False})
    pull_all(harness)
    harness.server.dispatch()

    crash(harness, act, "feeds", method, after=True)
    harness.clock.advance(hours=2)
    harness.server.dispatch()

    assert not state_of(harness).is_active


@pytest.mark.parametrize("is_paused", [False, True])
@pytest.mark.parametrize("after", [False, True])
def test_a_back_fill_goes_on_or_ends_with_its_feed_when_the_delete_was_cut_off(
    harness: Harness, is_paused: bool, after: bool
) -> None:
    add_window(harness, hours=1)
    backfills = harness.server.services.backfills
    backfills.start(SOURCE, harness.clock.now() - timedelta(hours=9))
    if is_paused:
        backfills.pause(SOURCE)
    harness.server.dispatch()

    crash(harness, delete_feed, "feeds", "delete", after=after)
    harness.clock.advance(hours=2)
    harness.server.dispatch()

    running = harness.server.services.backfills.list_running()
    assert [each.source for each in running] == ([] if after else [SOURCE])


def test_a_window_that_comes_while_the_one_before_is_about_to_end_is_not_ended(
    harness: Harness,
) -> None:
    begin_reading(harness)
    server = harness.server

    with Held(lambda: delete_feed(server), server.stores.feeds, "delete", after=True):
        give_window(harness, hours=2)
    pull_all(harness)

    assert (state_of(harness).is_active, state_of(harness).epoch) == (True, 2)
    assert starts_of(harness, epoch=2) == [-2, -1]


def test_what_waits_fails_also_when_a_round_ends_the_window_first(harness: Harness) -> None:
    begin_reading(harness)
    harness.stores.feeds.update(SOURCE, {"window": None})
    harness.clock.advance(seconds=61)
    harness.server.dispatch()
    assert not state_of(harness).is_active
    harness.server.services.windows.end(SOURCE)
    waiting = [each for each in pulls_of(harness) if each.state is not ImportState.COMPLETED]
    assert [each.state for each in waiting] == [ImportState.FAILED]


def test_a_delete_that_was_cut_off_ends_the_window_when_it_is_repeated(harness: Harness) -> None:
    begin_reading(harness)
    crash(harness, delete_feed, "feeds", "delete", after=True)
    assert state_of(harness).is_active
    with pytest.raises(NotFoundError):
        delete_feed(harness.server)
    assert not state_of(harness).is_active
