"""Bull Board on queues of programs: it shows and moves their jobs, and never answers a 500."""

from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import httpx2
import pytest

from feedmill import Flow, Job, Queue, UnrecoverableError, Worker
from shared.clock import SystemClock
from shared.queue import RedisConnection
from shared.queue.registry import QueueRecord, QueueRegistry
from tests.interop.boards import running_board
from tests.interop.node_driver import NodeMissing

PREFIX = "own"
COURSE = {
    "name": "course",
    "queue_name": "courses",
    "opts": {"job_id": "knots"},
    "children": [
        {"name": "video", "queue_name": "videos", "opts": {"job_id": job_id}}
        for job_id in ("bowline", "anchor")
    ],
}


@pytest.fixture(scope="module")
def board(valkey_url: str) -> Iterator[httpx2.Client]:
    try:
        with running_board(valkey_url, items="offers", prefix=PREFIX) as client:
            yield client
    except NodeMissing as missing:
        pytest.skip(str(missing))


@pytest.fixture
def courses(redis_client: RedisConnection) -> Queue:
    """A queue that a worker has written down, beside that of its videos and of dead letters."""
    registry = QueueRegistry(redis_client, prefix=PREFIX, clock=SystemClock())
    registry.register([QueueRecord(name, "light") for name in ("courses", "videos", "videos_dead")])
    return Queue("courses", redis_client, prefix=PREFIX)


@pytest.fixture
def videos(courses: Queue) -> Queue:
    return Queue("videos", courses.core.client, prefix=PREFIX)


def refuse(job: Job[Any]) -> None:
    raise UnrecoverableError(f"{job.id} is no video")


def ask(board: httpx2.Client, method: str, path: str, **body: Any) -> Any:
    answer = board.request(method, f"/api/queues/{path}", json=body or None)
    assert answer.status_code < 300, f"{method} {path}: {answer.status_code} {answer.text}"
    return answer.json() if answer.text else None


def see_counts(board: httpx2.Client) -> dict[str, dict[str, int]]:
    answer = board.get("/api/queues")
    assert answer.status_code == 200, answer.text
    return {
        queue["name"]: {state: count for state, count in queue["counts"].items() if count}
        for queue in answer.json()["queues"]
    }


def test_board_shows_the_queues_that_workers_have_written_down(
    board: httpx2.Client, courses: Queue, redis_client: RedisConnection
) -> None:
    Flow(redis_client, prefix=PREFIX).add(COURSE)
    counts = see_counts(board)
    assert {name: counts[name] for name in ("courses", "videos", "videos_dead")} == {
        "courses": {"waiting-children": 1},
        "videos": {"waiting": 2},
        "videos_dead": {},
    }
    redis_client.flushdb()
    assert len(see_counts(board)) == 4


def test_board_shows_a_flow_with_its_results(
    board: httpx2.Client, courses: Queue, videos: Queue
) -> None:
    Flow(courses.core.client, prefix=PREFIX).add(COURSE)
    assert Worker(videos, lambda job: f"{job.id}.webm").step()
    shown = ask(board, "GET", "courses/knots/flow")
    assert {job_id for job_id in ("bowline", "anchor") if job_id in str(shown)} == {
        "bowline",
        "anchor",
    }
    assert ask(board, "GET", "courses/knots")["status"] == "waiting-children"
    ask(board, "PUT", "courses/knots/remove-unprocessed-children")
    assert videos.get_job_counts("waiting", "completed") == {"waiting": 0, "completed": 1}
    assert Worker(courses, lambda job: "published").step()


def test_board_retries_promotes_edits_and_removes_our_jobs(
    board: httpx2.Client, courses: Queue, videos: Queue
) -> None:
    failing, later = videos.add("video", {"n": 1}), videos.add("video", delay=3_600_000)
    assert Worker(videos, refuse).step()
    assert ask(board, "GET", f"videos/{failing.id}")["job"]["failedReason"].endswith("no video")
    ask(board, "PATCH", f"videos/{failing.id}/update-data", jobData={"n": 2})
    ask(board, "PUT", f"videos/{failing.id}/retry")
    ask(board, "PATCH", f"videos/{later.id}/delay", runAt=later.timestamp + 7_200_000)
    assert later.refresh().delay > 7_000_000
    ask(board, "PUT", f"videos/{later.id}/promote")
    assert videos.get_job_counts("waiting", "failed", "delayed") == {
        "waiting": 2,
        "failed": 0,
        "delayed": 0,
    }
    seen: list[object] = []
    worker = Worker(videos, lambda job: seen.append(job.data))
    assert [worker.step(), worker.step(), worker.step()] == [True, True, False]
    assert {"n": 2} in seen
    ask(board, "PUT", f"videos/{failing.id}/clean")
    assert videos.get_job(failing.id) is None


def test_board_answers_no_request_about_our_jobs_with_an_error(
    board: httpx2.Client, courses: Queue, videos: Queue
) -> None:
    client = courses.core.client
    node = Flow(client, prefix=PREFIX).add(COURSE)
    videos.add("video", priority=3)
    videos.add("video", delay=60_000)
    courses.upsert_job_scheduler("weekly", {"pattern": "0 8 * * 1"}, {"name": "course"})
    worker = Worker(videos, refuse, metrics=60)
    assert worker.step()
    ids = {name: [job.id for job in Queue(name, client, prefix=PREFIX).get_jobs()] for name in
           ("courses", "videos")}  # fmt: skip
    assert node.job.id in ids["courses"]
    about = ("metrics", "workers", "rate-limit", "default-job-options", "job-data-schema")
    paths = [f"{name}/{what}" for name in ids for what in about]
    for name, job_ids in ids.items():
        for job_id in map(quote, job_ids):
            paths += [f"{name}/{job_id}", f"{name}/{job_id}/logs", f"{name}/{job_id}/flow"]
    answers = {path: board.get(f"/api/queues/{path}").status_code for path in paths}
    for name in ids:
        for state in ("latest", "active", "waiting", "waiting-children", "prioritized", "completed",
                      "failed", "delayed", "paused"):  # fmt: skip
            path = f"/api/queues?activeQueue={name}&status={state}&page=1&jobsPerPage=10"
            answers[path] = board.get(path).status_code
    answers["schedulers"] = board.get("/api/job-schedulers").status_code
    answers["stats"] = board.get("/api/redis/stats").status_code
    assert {path: code for path, code in answers.items() if code >= 500} == {}


def test_board_shows_and_removes_dead_letters(
    board: httpx2.Client, courses: Queue, videos: Queue
) -> None:
    dead = Queue("videos_dead", courses.core.client, prefix=PREFIX)
    videos.add("video", job_id="bowline")
    assert Worker(videos, refuse, dead_letter=dead).step()
    assert see_counts(board)["videos_dead"] == {"waiting": 1}
    [letter] = dead.get_jobs()
    shown = ask(board, "GET", f"videos_dead/{quote(letter.id, safe='')}")
    assert (shown["status"], shown["job"]["name"]) == ("waiting", "dead")
    assert shown["job"]["data"]["reason"] == "bowline is no video"
    ask(board, "PUT", f"videos_dead/{quote(letter.id, safe='')}/clean")
    assert dead.get_jobs() == []


def test_board_works_on_whole_states_of_our_queues(
    board: httpx2.Client, courses: Queue, videos: Queue
) -> None:
    videos.add_bulk([{"name": "video", "data": number} for number in range(6)])
    worker = Worker(videos, refuse)
    for _ in range(4):
        assert worker.step()
    ask(board, "PUT", "videos/retry/failed")
    assert videos.get_job_counts("waiting", "failed") == {"waiting": 6, "failed": 0}
    assert worker.step()
    # The board leaves what has failed within 5 s.
    [failed] = videos.get_failed()
    videos.core.client.zadd(videos.core.keys.failed, {failed.id: 1})
    videos.core.client.hset(videos.core.keys.job(failed.id), "finishedOn", 1)
    ask(board, "PUT", "videos/clean/failed")
    ask(board, "PUT", "videos/empty")
    assert videos.get_jobs() == []
