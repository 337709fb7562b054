"""Bull Board, as the profile ``bullboard`` runs it, on our queues."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from shared.clock import SystemClock
from shared.dead_jobs import dead_job
from shared.queue import DeadLettering, GroupLimit, JobQueue, NewJob, RedisConnection
from shared.queue.limits import limit_groups
from tests.factories import make_letter
from tests.interop.boards import running_board
from tests.interop.node_driver import NodeMissing

ITEMS, FETCHES, DEAD_LETTERS = "offers", "feed_fetch_queue", "offers_dlq"
PREFIX = "harness"
ITEM_ID = "board#https://board.example/jobs/17?a=b c"
ITEM = {"source": "board", "guid": "https://board.example/jobs/17?a=b c", "title": "Engineer"}


@pytest.fixture(scope="module")
def board(valkey_url: str) -> Iterator[httpx2.Client]:
    """A client of Bull Board; it looks at queues and a prefix that are not the default ones."""
    try:
        with running_board(valkey_url, items=ITEMS, prefix=PREFIX) as client:
            yield client
    except NodeMissing as missing:
        pytest.skip(str(missing))


def make_queue(redis_client: RedisConnection, name: str) -> JobQueue:
    return JobQueue(redis_client, name, prefix=PREFIX, clock=SystemClock())


def add_item(redis_client: RedisConnection) -> JobQueue:
    queue = make_queue(redis_client, ITEMS)
    queue.add_many([NewJob(id=ITEM_ID, name="item", data=ITEM, revision=1, attempts=3)])
    return queue


def dead_letter_item(redis_client: RedisConnection) -> None:
    queue = add_item(redis_client)
    [job] = queue.claim(limit=1, lock_ms=30_000, token="t").jobs
    letter = make_letter(
        item_id=ITEM_ID,
        queue=ITEMS,
        reason="MongoDB refused the document",
        error_type="rejected_by_store",
        attempts=3,
        data=job.raw_data,
    )
    move = DeadLettering(ITEM_ID, "t", letter.reason, "", dead_job(letter))
    queue.dead_letter_many([move], make_queue(redis_client, DEAD_LETTERS))


def see_queues(board: httpx2.Client) -> dict[str, Any]:
    answer = board.get("/api/queues")
    assert answer.status_code == 200, answer.text
    return {queue["name"]: queue for queue in answer.json()["queues"]}


def counts(queue: dict[str, Any]) -> dict[str, int]:
    return {state: count for state, count in queue["counts"].items() if count}


def see_job(board: httpx2.Client, queue_name: str) -> dict[str, Any]:
    answer = board.get(f"/api/queues/{queue_name}/{quote(ITEM_ID, safe='')}")
    assert answer.status_code == 200, answer.text
    seen: dict[str, Any] = answer.json()
    return seen


def test_board_shows_all_four_queues_with_their_counts(
    board: httpx2.Client, redis_client: RedisConnection
) -> None:
    dead_letter_item(redis_client)
    add_item(redis_client)
    make_queue(redis_client, FETCHES).add_many([NewJob(id="feed#board", name="fetch", data={})])
    queues = see_queues(board)
    assert {name: counts(queue) for name, queue in queues.items()} == {
        ITEMS: {"waiting": 1},
        f"{ITEMS}_heavy": {},
        FETCHES: {"waiting": 1},
        DEAD_LETTERS: {"waiting": 1},
    }
    assert not any(queue["readOnlyMode"] for queue in queues.values())


def test_board_shows_a_waiting_job(board: httpx2.Client, redis_client: RedisConnection) -> None:
    add_item(redis_client)
    seen = see_job(board, ITEMS)
    assert seen["status"] == "waiting"
    assert seen["job"]["data"] == ITEM
    assert seen["job"]["opts"]["attempts"] == 3


def test_board_shows_and_removes_an_item_that_waits_for_its_source_s_next_window(
    board: httpx2.Client, redis_client: RedisConnection
) -> None:
    queue = make_queue(redis_client, ITEMS)
    limit_groups(queue, GroupLimit(1, 60_000, "source"))
    queue.add_many([NewJob(id="board#first", name="item", data=ITEM)])
    add_item(redis_client)
    assert [job.id for job in queue.claim(limit=9, lock_ms=60_000, token="t").jobs] == [
        "board#first"
    ]
    assert counts(see_queues(board)[ITEMS]) == {"active": 1, "prioritized": 1}
    assert see_job(board, ITEMS)["status"] == "prioritized"
    path = f"/api/queues/{ITEMS}/{quote(ITEM_ID, safe='')}/clean"
    assert board.put(path).status_code == 204
    assert queue.get_job(ITEM_ID) is None


def test_board_shows_why_an_item_is_dead(
    board: httpx2.Client, redis_client: RedisConnection
) -> None:
    dead_letter_item(redis_client)
    seen = see_job(board, DEAD_LETTERS)
    assert (seen["status"], seen["job"]["name"]) == ("waiting", "dead")
    assert seen["job"]["failedReason"] == "MongoDB refused the document"
    assert seen["job"]["data"]["data"] == ITEM


def test_board_pauses_a_queue_for_our_workers(
    board: httpx2.Client, redis_client: RedisConnection
) -> None:
    queue = make_queue(redis_client, ITEMS)
    assert board.put(f"/api/queues/{ITEMS}/pause").status_code == 200
    assert queue.is_paused()
    assert board.put(f"/api/queues/{ITEMS}/resume").status_code == 200
    assert not queue.is_paused()


def test_board_page_is_served(board: httpx2.Client) -> None:
    page = board.get("/")
    assert page.status_code == 200
    assert "removed items come back" in page.text


@pytest.mark.parametrize(
    "headers",
    [{"sec-fetch-site": "cross-site"}, {"host": "evil.example"}],
    ids=["page of another site", "name of another site"],
)
def test_board_refuses_other_sites(board: httpx2.Client, headers: dict[str, str]) -> None:
    assert board.put(f"/api/queues/{ITEMS}/pause", headers=headers).status_code == 403
    assert board.get("/", headers=headers).status_code == 403
