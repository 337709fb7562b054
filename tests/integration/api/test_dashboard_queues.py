"""The pages of queues and jobs: what is shown, and what can be done."""

from urllib.parse import quote

import pytest

from shared.queue import JobQueue, NewJob, Retry
from shared.store import LetterKind
from tests.api import Api
from tests.factories import make_data, make_job

HOSTILE = "<script>alert(1)</script>"


def job_path(job_id: str, queue: str = "items") -> str:
    return f"/admin/queues/{queue}/jobs/{quote(job_id, safe='')}"


def seed(api: Api, *guids: str) -> None:
    api.services.light_queue.add_many([make_job(make_data(guid)) for guid in guids])


def claim(queue: JobQueue) -> None:
    assert queue.claim(limit=1, lock_ms=30_000, token="t1").jobs


def test_all_queues_are_shown_with_what_limits_them(api: Api) -> None:
    seed(api, "1", "2")
    api.services.light_queue.pause()
    text = api.show_page("/admin/queues")
    for name in ("items", "items_heavy", "feed_fetch_queue", "items_dlq"):
        assert f'href="/admin/queues/{name}"' in text
    assert "Paused by an operator." in text
    assert '<span class="figure">2</span> waiting' in text
    assert 'action="/admin/queues/items/resume"' in text
    assert 'action="/admin/queues/items_heavy/pause"' in text


def test_the_live_part_is_the_same_as_in_the_page(api: Api) -> None:
    seed(api, "1")
    for live, page in (
        ("/admin/live/queues", "/admin/queues"),
        ("/admin/live/queues/items", "/admin/queues/items"),
    ):
        part = api.show_page(live).strip()
        assert part.startswith('<div class="live"')
        assert f'hx-get="{live}"' in part
        assert part in api.show_page(page)


def test_a_queue_is_paused_and_resumed(api: Api) -> None:
    text = api.send_form("/admin/queues/items/pause")
    assert "Queue items is paused" in text
    assert api.services.light_queue.is_paused()
    assert "Resume" in text
    assert "Queue items is resumed." in api.send_form("/admin/queues/items/resume")
    assert not api.services.light_queue.is_paused()


def test_jobs_are_shown_by_state_and_in_pages(api: Api) -> None:
    seed(api, "1", "2", "3")
    claim(api.services.light_queue)
    waiting = api.show_page("/admin/queues/items")
    assert "lwn#2" in waiting
    assert "lwn#1" not in waiting
    assert "lwn#1" in api.show_page("/admin/queues/items?state=active")
    assert "No failed jobs." in api.show_page("/admin/queues/items?state=failed")
    first = api.show_page("/admin/queues/items?limit=1")
    older = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    assert "lwn#2" in api.show_page(older)


def test_the_state_that_has_jobs_is_shown_first(api: Api) -> None:
    seed(api, "1")
    claim(api.services.light_queue)
    assert "lwn#1" in api.show_page("/admin/queues/items")


def test_a_job_is_shown_with_data_errors_and_log(api: Api) -> None:
    queue = api.services.fetch_queue
    data = {"source": "lwn", "import_id": "import1"}
    queue.add_many([NewJob(id="feed#lwn", name="fetch", data=data, attempts=3)])
    claim(queue)
    queue.retry_many([Retry("feed#lwn", "t1", "it timed out", "Traceback: here", 1000)])
    queue.client.rpush("bull:feed_fetch_queue:feed#lwn:logs", "looked up the host")
    assert "it timed out" in api.show_page("/admin/queues/feed_fetch_queue?state=delayed")
    text = api.show_page(job_path("feed#lwn", "feed_fetch_queue"))
    for shown in ("it timed out", "Traceback: here", "looked up the host", "&#34;attempts&#34;: 3"):
        assert shown in text
    assert 'href="/admin/imports/import1"' in text


def test_a_dead_letter_job_leads_to_its_letter(api: Api) -> None:
    api.services.dead_letter_queue.add_many([NewJob(id="lwn#1", name="dead", data={})])
    assert 'href="/admin/dlq/lwn%231"' in api.show_page(job_path("lwn#1", "items_dlq"))


def test_a_job_is_removed_whatever_its_id_holds(api: Api) -> None:
    job_id = f"a\r\nb/../?c=1&d#{HOSTILE}é"
    api.services.light_queue.add_many([make_job(make_data("1"), id=job_id)])
    listed = api.show_page("/admin/queues/items")
    action = listed.split("/remove?")[1].split('"')[0].replace("&amp;", "&")
    text = api.send_form(f"/admin/queues/items/remove?{action}")
    assert " removed." in text
    assert api.services.light_queue.get_job(job_id) is None
    letter = api.stores.dead_letters.get("lwn#1")
    assert letter is not None
    assert letter.kind is LetterKind.REMOVED


def test_jobs_of_a_state_are_cleaned_by_age(api: Api) -> None:
    seed(api, "1")
    api.clock.advance(seconds=7200)
    seed(api, "2")
    text = api.send_form("/admin/queues/items/clean", state="waiting", grace_ms="3600000")
    assert "1 waiting job removed." in text
    assert "lwn#1" not in text
    assert "lwn#2" in text
    assert "2 waiting" not in api.send_form("/admin/queues/items/clean", state="waiting")
    assert api.services.light_queue.counts()["waiting"] == 0


def test_what_goes_wrong_is_said_readably(api: Api) -> None:
    assert "There is no queue" in api.show_page("/admin/queues/none", 404)
    assert "There is no queue" in api.send_form("/admin/queues/none/pause", 404)
    assert "There is no job" in api.show_page(job_path("lwn#none"), 404)
    assert "Queue items has no job" in api.send_form("/admin/queues/items/remove?id=none", 404)
    seed(api, "1")
    claim(api.services.light_queue)
    assert "is running; try again" in api.send_form("/admin/queues/items/remove?id=lwn%231", 409)
    assert "state" in api.send_form("/admin/queues/items/clean", 422, state="active")
    assert "state" in api.show_page("/admin/queues/items?state=odd", 422)


def test_removing_and_cleaning_ask_first(api: Api) -> None:
    seed(api, "1")
    text = api.show_page("/admin/queues/items")
    for question in ("Remove job lwn#1?", "Remove the waiting jobs of the chosen age from items"):
        assert f'data-confirm="{question}' in text
        assert f'<input type="checkbox" required> {question}' in text


def test_hostile_jobs_are_escaped(api: Api) -> None:
    queue = api.services.light_queue
    job_id = f"{HOSTILE}/../x"
    queue.add_many([NewJob(id=job_id, name=HOSTILE, data={HOSTILE: HOSTILE}, attempts=2)])
    claim(queue)
    queue.retry_many([Retry(job_id, "t1", HOSTILE, HOSTILE, 0)])
    queue.client.rpush(f"bull:items:{job_id}:logs", HOSTILE)
    for path in ("/admin/queues/items", job_path(job_id)):
        text = api.show_page(path)
        assert HOSTILE not in text
        assert "&lt;script&gt;" in text


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (b"{not json", "{not json"),
        (b"\xff\xfe", "\ufffd"),
        (b'{"import_id": ["x"]}', "&#34;x&#34;"),
        (b"[" * 400 + b"]" * 400, "[" * 400),
        (b'"' + b"y" * 9000 + b'the end"', "Show all"),
    ],
)
def test_jobs_with_any_data_are_shown(api: Api, data: bytes, shown: str) -> None:
    seed(api, "1")
    api.services.light_queue.client.hset("bull:items:lwn#1", "data", data)
    text = api.show_page(job_path("lwn#1"))
    assert shown in text
    assert "the end" not in text
    if shown == "Show all":
        assert "the end" in api.show_page(text.split(shown)[0].rsplit('href="', 1)[1].split('"')[0])
    assert "lwn#1" in api.show_page("/admin/queues/items")
