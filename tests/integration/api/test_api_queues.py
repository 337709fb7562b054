"""Items, queues and dead letters over HTTP, with ids that hold anything."""

from urllib.parse import quote

import pytest

from shared.queue import NewJob, WorkerSign, WorkerSigns
from shared.store import DeadLetter, LetterKind
from tests.api import Api, seed_item

# No percent sign: the test client decodes twice. test_api_wire.py has one.
GUID = "https://lwn.net/a?b=1&c=/#d é"
ITEM_ID = f"lwn#{GUID}"


def seed_death(
    api: Api, guid: str = GUID, data: str = '{"title": "x"}', reason: str = "bad 'x'"
) -> str:
    death = DeadLetter(
        item_id=f"lwn#{guid}", queue="items", source="lwn", guid=guid, revision=1,
        import_id="import1", content_hash="1:x", kind=LetterKind.DEAD, reason=reason,
        error_type="invalid", attempts=1, failed_at=api.clock.now(), data=data, stacktrace="s",
    )  # fmt: skip
    api.stores.dead_letters.record_many([death])
    return death.item_id


def seed_job(api: Api, job_id: str = ITEM_ID) -> None:
    data = {"source": "lwn", "guid": GUID, "title": "x"}
    api.services.light_queue.add_many([NewJob(id=job_id, name="item", data=data, revision=1)])


def test_item_is_found_by_its_id_percent_encoded_whole(api: Api) -> None:
    seed_item(api, GUID, title="A title", published_at=api.clock.now())
    shown = api.client.get(f"/items/{quote(ITEM_ID, safe='')}").json()
    assert shown["_id"] == shown["id"] == ITEM_ID
    assert shown["published_at"] == "2026-11-01T12:00:00.000Z"
    assert "link" not in shown


def test_items_are_searched_as_text_and_by_time(api: Api) -> None:
    seed_item(api, "1", title="Rust (a.b) news")
    api.clock.advance(seconds=60)
    seed_item(api, "2", summary="other")

    def found(**query: str) -> list[str]:
        answer = api.client.get("/items", params=query)
        assert answer.status_code == 200, answer.text
        return [shown["guid"] for shown in answer.json()["items"]]

    assert found() == ["2", "1"]
    assert found(q="(A.B)") == ["1"]
    assert found(q=".*") == []
    assert found(source="lwn", since="2026-11-01T12:00:30Z") == ["2"]
    assert found(since="2026-11-01T13:01:00+01:00") == ["2"]
    assert found(source="none") == []


def test_items_of_a_source_are_counted_up_to_a_limit(api: Api) -> None:
    for number in range(3):
        seed_item(api, str(number))
    assert api.stores.items.count("lwn", 10) == 3
    assert api.stores.items.count("lwn", 2) == 2
    assert api.stores.items.count("none", 10) == 0


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=501",
        "limit=x",
        "cursor=%00",
        "cursor=WzEsMl0",
        "cursor=WyIwMDAxLTAxLTAxVDAwOjAwOjAwKzIzOjU5IiwiYSJd",
        "cursor=" + "W" * 100,
        "since=yesterday",
        "since=0001-01-01T00:00:00%2B23:59",
        "source[$ne]=",
        "q=%00",
        "sort=title",
    ],
)
def test_unfit_queries_are_refused(api: Api, query: str) -> None:
    answer = api.client.get(f"/items?{query}")
    assert answer.status_code == 422, answer.text
    assert answer.json()["status"] == 422


def test_item_with_any_value_is_shown(api: Api) -> None:
    seed_item(api, "1", extra=[{"name": "n", "value": float("nan")}], odd=b"\xff")
    assert api.client.get("/items/lwn%231").json()["extra"] == [{"name": "n", "value": None}]


def test_queues_show_counts_and_what_holds_them_up(api: Api) -> None:
    seed_job(api)
    names = [shown["name"] for shown in api.client.get("/queues").json()["items"]]
    assert names == ["items", "items_heavy", "feed_fetch_queue", "items_dlq"]
    shown = api.client.get("/queues/items").json()
    assert shown["counts"]["waiting"] == 1
    assert set(shown["counts"]) == {
        "waiting", "prioritized", "delayed", "waiting-children", "active", "completed", "failed"
    }  # fmt: skip
    assert shown["rate_limit"] == {"max_jobs": 100, "duration_ms": 1000}
    assert api.client.post("/queues/items/pause").json()["limited_by"] == "paused"
    assert api.client.post("/queues/items/resume").json()["is_paused"] is False
    assert api.client.get("/queues/none").status_code == 404


def test_jobs_are_listed_and_found_by_whole_id(api: Api) -> None:
    for number in range(3):
        seed_job(api, f"lwn#{number}/a?")
    first = api.client.get("/queues/items/jobs?state=waiting&limit=2").json()
    cursor = first["next_cursor"]
    second = api.client.get("/queues/items/jobs", params={"cursor": cursor, "limit": 2}).json()
    ids = [shown["id"] for shown in first["items"] + second["items"]]
    assert ids == ["lwn#2/a?", "lwn#1/a?", "lwn#0/a?"]
    path = f"/queues/items/jobs/{quote(ids[0], safe='')}"
    assert api.client.get(path).json()["data"]["title"] == "x"


def test_a_job_is_shown_with_what_its_handlers_logged(api: Api) -> None:
    seed_job(api)
    path = f"/queues/items/jobs/{quote(ITEM_ID, safe='')}"
    assert api.client.get(path).json()["logs"] == []
    api.services.light_queue.client.rpush(f"bull:items:{ITEM_ID}:logs", "step 1", "step 2")
    assert api.client.get(path).json()["logs"] == ["step 1", "step 2"]


def test_a_job_that_is_nested_too_deep_spoils_no_list(api: Api) -> None:
    deep = "[" * 300 + "]" * 300
    seed_job(api)
    fields = {"data": deep, "opts": f'{{"a": {deep}}}', "returnvalue": deep}
    api.services.light_queue.client.hset(f"bull:items:{ITEM_ID}", mapping=fields)
    [shown] = api.client.get("/queues/items/jobs").json()["items"]
    assert shown["data"] == shown["result"] == deep
    assert shown["opts"] == "nested deeper than 100 levels"
    path = f"/queues/items/jobs/{quote(ITEM_ID, safe='')}"
    assert api.client.get(path).json()["data"] == deep


def test_removed_job_leaves_a_removed_dead_letter(api: Api) -> None:
    seed_job(api)
    path = f"/queues/items/jobs/{quote(ITEM_ID, safe='')}"
    assert api.client.delete(path).status_code == 204
    assert api.client.delete(path).status_code == 404
    letter = api.stores.dead_letters.get(ITEM_ID)
    assert letter is not None
    assert letter.kind is LetterKind.REMOVED


def test_clean_removes_the_jobs_of_a_state(api: Api) -> None:
    seed_job(api)
    answer = api.post("/queues/items/clean", {"state": "waiting", "grace_ms": 0})
    assert answer.json() == {"removed": 1}
    assert api.post("/queues/items/clean", {"state": "active"}).status_code == 422
    assert api.post("/queues/items/clean", {"state": "wait"}).status_code == 422


def test_dead_letter_is_shown_whole(api: Api) -> None:
    seed_death(api)
    shown = api.client.get(f"/dlq/{quote(ITEM_ID, safe='')}").json()
    assert shown["id"] == ITEM_ID
    assert shown["data"] == {"title": "x"}
    assert shown["cause"] == "invalid: bad …"
    assert shown["history"][0]["kind"] == "dead"


def test_dead_letters_are_grouped_by_cause(api: Api) -> None:
    assert api.client.get("/dlq/causes").json() == {"items": []}
    seed_death(api, "1")
    seed_death(api, "2", reason="bad 'y'")
    seed_death(api, "3", reason="worse")
    first, second = api.client.get("/dlq/causes").json()["items"]
    assert first == {
        "cause": "invalid: bad …", "error_type": "invalid", "count": 2,
        "sources": ["lwn"], "source_count": 1, "latest_failed_at": "2026-11-01T12:00:00.000Z",
        "example": {"id": "lwn#2", "reason": "bad 'y'"},
    }  # fmt: skip
    assert (second["cause"], second["count"]) == ("invalid: worse", 1)
    assert api.client.get("/dlq/causes?source=ars").json() == {"items": []}
    assert api.client.get("/dlq/causes?sauce=ars").status_code == 422
    [listed] = api.client.get("/dlq", params={"cause": second["cause"]}).json()["items"]
    assert listed["guid"] == "3"


def test_dead_letters_of_an_import_are_listed(api: Api) -> None:
    seed_death(api)
    assert len(api.client.get("/dlq?import_id=import1").json()["items"]) == 1
    assert api.client.get("/dlq?import_id=import2").json()["items"] == []


@pytest.mark.parametrize(
    "data",
    ["not json", '{"a": NaN}', '{"a": "\\ud800"}', "", "[" * 5000, "[" * 300 + "]" * 300],
)
def test_dead_letter_with_undecodable_data_shows_the_text(api: Api, data: str) -> None:
    seed_death(api, data=data)
    [shown] = api.client.get("/dlq?source=lwn").json()["items"]
    assert shown["data"] == data


def test_removed_dead_letter_is_kept_and_not_listed(api: Api) -> None:
    seed_death(api)
    path = f"/dlq/{quote(ITEM_ID, safe='')}"
    assert api.client.delete(path).status_code == 204
    assert api.client.delete(path).status_code == 404
    assert api.client.get("/dlq").json()["items"] == []
    assert api.client.get(path).json()["kind"] == "removed"


def test_replay_passes_on_one_choice(api: Api) -> None:
    answer = api.post("/dlq/replay", {"all": True})
    assert answer.status_code == 202
    assert answer.json() == {
        "replayed": 2,
        "imports": [],
        "not_replayed": [{"reason": "too_large", "count": 5}, {"reason": "unreadable", "count": 1}],
    }
    api.post("/dlq/replay", {"ids": [ITEM_ID]})
    assert [asked["everything"] for asked in api.replayer.asked] == [True, False]
    assert api.replayer.asked[1]["item_ids"] == [ITEM_ID]
    for body in ({}, {"all": False}, {"all": True, "source": "lwn"}, {"ids": "x"}):
        assert api.post("/dlq/replay", body).status_code == 422


def test_workers_and_what_stops_them_are_shown(api: Api) -> None:
    assert api.client.get("/workers").json() == {"items": [], "next_cursor": None}
    signs = WorkerSigns(api.services.light_queue.client)
    signs.leave(WorkerSign("w1", ("items",), 3, 60.0, "mongodb://me:secret@db/ is away", 2.5))
    assert api.client.get("/workers").json()["items"] == [
        {
            "id": "w1",
            "queues": ["items"],
            "held_jobs": 3,
            "up_s": 60.0,
            "breaker_reason": "mongodb://***@db/ is away",
            "breaker_open_s": 2.5,
            "failing_threads": [],
        }
    ]
    seed_job(api)
    shown = api.client.get("/queues/items").json()
    assert shown["limited_by"] == "breaker"
    assert shown["limited_by_text"] == "breaker open: mongodb://***@db/ is away"
    assert shown["totals"] == {"completed": 0, "failed": 0, "retried": 0}
    signs.take_away("w1")
    api.clock.advance(seconds=10)
    assert api.client.get("/queues/items").json()["limited_by"] == "no_worker"
    assert api.client.get("/queues/items_heavy").json()["limited_by_text"] == "nothing waits"
