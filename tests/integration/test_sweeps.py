"""The hourly sweep of what is old: neither spoilt documents nor failures repeat it or stop it."""

from unittest import mock

import pytest

from server.importing.healer import Healer
from shared.errors import StoreUnavailable, UnreadableDocument
from shared.queue import RedisConnection
from shared.store import Stores
from tests.fakes import FakeClock
from tests.harness import Harness
from tests.integration.test_foreign_documents import live, spoil, subscribe


def test_a_journal_that_cannot_be_read_keeps_only_the_dead_letters_of_its_source(
    redis_client: RedisConnection, stores: Stores
) -> None:
    harness = Harness(redis_client, stores.database, FakeClock(), keep_dead_days=30)
    for source in ("odd", "other"):
        subscribe(harness, source, {"1": "poison"})
    for _ in range(2):
        live(harness)
    harness.publisher.show("odd", {"1": "poison", "2": "fine"})
    imported = harness.poll(source="odd")
    spoil(harness, "journal", {"import_id": imported.import_id}, "ids", "x")
    assert harness.stores.dead_letters.find_dead() == ["odd#1", "other#1"]
    harness.clock.advance(hours=31 * 24)
    harness.server.look()
    assert harness.stores.dead_letters.find_dead() == ["odd#1"]


def test_a_sweep_that_fails_is_not_tried_again_with_each_look(harness: Harness) -> None:
    sweep = mock.Mock(side_effect=UnreadableDocument("journal", "1", "ids is 'x'"))
    with mock.patch.object(Healer, "sweep", sweep):
        for _ in range(10):
            harness.server.look()
            harness.clock.advance(seconds=6)
    assert sweep.call_count == 1


def test_a_sweep_that_a_store_kept_from_ending_is_tried_again_when_it_is_back(
    harness: Harness,
) -> None:
    sweep = mock.Mock(side_effect=[StoreUnavailable("down"), None])
    with mock.patch.object(Healer, "sweep", sweep):
        with pytest.raises(StoreUnavailable):
            harness.server.look()
        for _ in range(3):
            harness.server.look()
            harness.clock.advance(seconds=6)
    assert sweep.call_count == 2
