"""The pages of dead letters: by cause, one by one, replayed and removed."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import orjson
import pytest

from shared.models import content_hash
from shared.queue import RedisConnection
from shared.store import LetterKind, Stores
from tests.api import Api, open_api
from tests.factories import Bench, make_data, make_letter_of

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def bench(redis_client: RedisConnection, stores: Stores) -> Iterator[Bench]:
    bench = Bench(redis_client, stores)
    yield bench
    bench.close()


def replay_for_real(api: Api, bench: Bench) -> None:
    """Let the application replay, where other tests only want to know what it was asked."""
    replayer = bench.make_replayer()
    app: Any = api.client.app
    parts = app.state.parts
    app.state.parts = replace(parts, services=replace(parts.services, replayer=replayer))


@pytest.fixture
def page(api: Api, bench: Bench) -> Api:
    replay_for_real(api, bench)
    return api


def seed(api: Api, guid: str, *, source: str = "lwn", title: str = "A title", **fields: Any) -> str:
    data = make_data(guid, source=source, title=title)
    values = {"data": orjson.dumps(data).decode(), "content_hash": content_hash(data)}
    death = make_letter_of(guid, item_id=f"{source}#{guid}", source=source, **(values | fields))
    api.stores.dead_letters.record_many([death])
    return death.item_id


def path_of(item_id: str) -> str:
    return f"/admin/dlq/{quote(item_id, safe='')}"


def test_without_dead_letters_the_page_says_that_all_is_well(page: Api) -> None:
    text = page.show_page("/admin/dlq")
    assert "No dead letters." in text
    assert "Replay" not in text


def test_causes_are_shown_with_count_example_and_what_to_do(page: Api) -> None:
    for guid in "123":
        seed(page, guid, error_type="stalled", reason=f"stalled 100{guid} times")
    text = page.show_page("/admin/dlq")
    assert "Worker lost" in text
    assert "stalled: stalled … times" in text
    assert "3 dead" in text
    assert "stalled 1003 times" in text
    assert path_of("lwn#3") in text
    assert "out of memory" in text
    assert text.count('data-confirm="Replay all 3 dead letters?') == 2


def test_causes_of_one_source_are_shown_alone(page: Api) -> None:
    seed(page, "1", reason="boom")
    seed(page, "2", source="ars", reason="bang")
    text = page.show_page("/admin/dlq?source=ars")
    assert "invalid: bang" in text
    assert "invalid: boom" not in text
    assert 'data-confirm="Replay 1 dead letter of ars?' in text
    assert "No dead letters of none." in page.show_page("/admin/dlq?source=none")


def seed_too_large(page: Api, guid: str) -> str:
    limit = page.services.settings.job_max_bytes
    return seed(page, guid, title="x" * limit, error_type="too_large", reason="it is too large")


def test_the_question_before_a_replay_says_how_many_cannot_be_replayed_and_why(page: Api) -> None:
    seed(page, "1", reason="boom")
    for guid in "234":
        seed(page, guid, error_type="unreadable", reason="it is odd")
    seed_too_large(page, "5")
    seed(page, "6", source="ars", error_type="too_large", reason="it is too large")
    text = page.show_page("/admin/dlq")
    assert 'data-confirm="Replay 2 of 6 dead letters? 4 cannot be replayed:' in text
    assert "unreadable (3), too large (1)." in text
    assert 'data-confirm="Replay 1 of 2 dead letters? 1 cannot be replayed: too large (1)."' in text
    assert 'data-confirm="Replay 1 dead letter? They' in text
    assert "Cannot be replayed: unreadable (3)" in text
    of_lwn = page.show_page("/admin/dlq?source=lwn")
    assert "Replay 1 of 5 dead letters of lwn? 4 cannot be replayed" in of_lwn


def test_a_replay_that_cannot_work_is_disabled_with_the_reason(page: Api) -> None:
    large = seed_too_large(page, "1")
    unreadable = seed(page, "2", error_type="unreadable", reason="it is odd")
    text = page.show_page("/admin/dlq")
    assert text.count('<button type="button" disabled>') == 3
    assert "Cannot be replayed: too large (1), unreadable (1)" in text
    assert "Cannot be replayed: too large" in page.show_page(path_of(large))
    assert "Cannot be replayed: unreadable" in page.show_page(path_of(unreadable))
    for cause in ("too_large: it is too large", "unreadable: it is odd"):
        of_cause = page.show_page(f"/admin/dlq?cause={quote(cause)}")
        assert of_cause.count(" disabled>") == 2
        assert "Cannot be replayed" in of_cause
    assert " disabled>" not in page.show_page("/admin/dlq?view=latest")


def test_letters_of_a_cause_an_import_or_all_are_listed_in_pages(page: Api) -> None:
    seed(page, "1", reason="boom", import_id="import1", title="One")
    seed(page, "2", reason="bang", import_id="import2", title="Two")
    both = page.show_page("/admin/dlq?view=latest")
    assert "One" in both
    assert "Two" in both
    assert "Two" not in page.show_page("/admin/dlq?cause=invalid%3A+boom")
    of_import = page.show_page("/admin/dlq?import_id=import2")
    assert "One" not in of_import
    assert "/admin/imports/import2" in of_import
    first = page.show_page("/admin/dlq?view=latest&limit=1")
    assert "One" not in first
    older = first.split('rel="next" href="')[1].split('"')[0].replace("&amp;", "&")
    second = page.show_page(older)
    assert "One" in second
    assert "Two" not in second


def test_a_letter_is_shown_whole_with_its_history_and_ways_on(page: Api) -> None:
    item_id = seed(page, "1", reason="author is int, not str", import_id="import1")
    text = page.show_page(path_of(item_id))
    assert "author is int, not str" in text
    assert "another program added it" in text
    assert "&#34;title&#34;: &#34;A title&#34;" in text
    assert text.count("/admin/imports/import1") == 2
    assert "/admin/feeds/lwn" in text
    assert "cause=invalid%3A%20author%20is%20int%2C%20not%20str" in text


def test_feeds_are_shown_by_their_titles(page: Api) -> None:
    page.post("/feeds", {"source": "lwn", "url": "https://lwn.net/rss", "title": "LWN Weekly"})
    item_id = seed(page, "1")
    for path in ("/admin/dlq", path_of(item_id)):
        assert 'title="lwn">LWN Weekly</a>' in page.show_page(path)


def test_replaying_one_names_its_import_and_storing_it_clears_the_list(
    page: Api, bench: Bench
) -> None:
    item_id = seed(page, "1")
    # Back to the list: the letter's own page may be gone before the browser comes back to it.
    assert 'name="back"' not in page.show_page(path_of(item_id))
    text = page.send_form("/admin/dlq/replay", ids=item_id)
    assert "Replaying 1 dead letter." in text
    [replayed] = page.client.get("/imports").json()["items"]
    assert f'href="/admin/imports/{replayed["id"]}"' in text
    assert "lwn#1" in page.show_page("/admin/dlq?view=latest")
    bench.work()
    assert "lwn#1" not in page.show_page("/admin/dlq?view=latest")
    page.show_page(path_of(item_id), 404)


def test_selected_ones_those_of_a_cause_of_a_source_and_all_are_replayed(page: Api) -> None:
    seed(page, "1", reason="boom")
    seed(page, "2", reason="boom")
    seed(page, "3", source="ars", reason="bang")
    assert "Replaying 2 dead letters." in page.send_form(
        "/admin/dlq/replay", ids=["lwn#1", "lwn#2"]
    )
    assert "Replaying 2 dead letters." in page.send_form("/admin/dlq/replay", cause="invalid: boom")
    assert "Replaying 1 dead letter." in page.send_form("/admin/dlq/replay", source="ars")
    text = page.send_form("/admin/dlq/replay", all="true", back="/admin/dlq?view=latest")
    assert "Replaying 3 dead letters." in text
    assert "See its 2 imports" in text
    assert "Select all on this page" in text


def test_nothing_selected_is_said_and_changes_nothing(page: Api) -> None:
    seed(page, "1")
    for action in ("replay", "remove"):
        assert "Nothing selected" in page.send_form(f"/admin/dlq/{action}")
    assert page.client.get("/imports").json()["items"] == []


def test_a_replay_that_finds_nothing_to_run_says_so(page: Api) -> None:
    seed(page, "1", data="{nonsense", error_type="undecodable")
    text = page.send_form("/admin/dlq/replay", ids="lwn#1")
    assert "Nothing replayed: undecodable (1)." in text
    text = page.send_form("/admin/dlq/replay", source="none")
    assert "Nothing replayed: no dead letter matches." in text


def test_a_replay_of_some_names_how_many_are_not_and_why(page: Api) -> None:
    seed(page, "1")
    seed(page, "2", error_type="unreadable")
    seed(page, "3", title="x" * page.services.settings.job_max_bytes, error_type="too_large")
    text = page.send_form("/admin/dlq/replay", all="true")
    assert "Replaying 1 dead letter; 2 not: too large (1), unreadable (1)." in text


def test_two_ways_to_choose_are_refused_readably(page: Api) -> None:
    assert "exactly one of" in page.send_form("/admin/dlq/replay", 422, ids="lwn#1", all="true")


def test_replays_count_against_the_limit_of_starts(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with open_api(redis_client, stores, api_rate_limit="1/minute") as api:
        assert api.post("/imports/start").status_code == 202
        text = api.send_form("/admin/dlq/replay", 429, all="true")
        assert "More than 1/minute calls that start work (API_RATE_LIMIT); try again in" in text
        assert api.replayer.asked == []


def test_removed_ones_leave_the_list_and_stay_on_record(page: Api) -> None:
    seed(page, "1")
    seed(page, "2")
    assert "2 dead letters removed" in page.send_form("/admin/dlq/remove", ids=["lwn#1", "lwn#2"])
    assert "No dead letters." in page.show_page("/admin/dlq")
    letter = page.stores.dead_letters.get("lwn#1")
    assert letter is not None
    assert letter.kind is LetterKind.REMOVED
    text = page.show_page(path_of("lwn#1"))
    assert "Removed by an operator" in text
    assert "<button" not in text.split("<main")[1].split("<dialog")[0]
    assert "0 dead letters removed" in page.send_form("/admin/dlq/remove", ids="lwn#1")


def test_a_letter_that_is_not_there_is_said_readably(page: Api) -> None:
    assert "There is no dead letter" in page.show_page(path_of("lwn#none"), 404)


@pytest.mark.parametrize("back", ["https://evil.example/", "//evil.example/admin/dlq", "/admin/x"])
def test_actions_lead_back_to_dead_letters_only(page: Api, back: str) -> None:
    answer = page.client.post(
        "/admin/dlq/replay", data={"source": "lwn", "back": back}, follow_redirects=False
    )
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/dlq")


def test_hostile_text_is_escaped_wherever_it_is_shown(page: Api) -> None:
    item_id = seed(
        page, f"{HOSTILE}/../?a=1&b=#c", title=f"\u202e{HOSTILE}", reason=f"it says {HOSTILE}",
        error_type="rejected_by_store", stacktrace=HOSTILE,
    )  # fmt: skip
    cause = quote(f"rejected_by_store: it says {HOSTILE}".replace("1", "…"))
    paths = ["/admin/dlq", "/admin/dlq?view=latest", f"/admin/dlq?cause={cause}", path_of(item_id)]
    for path in paths:
        text = page.show_page(path)
        assert HOSTILE not in text, path
        assert "&lt;script&gt;" in text, path
        assert path_of(item_id) in text or path == path_of(item_id), path


def test_long_data_is_cut_until_all_is_asked_for(page: Api) -> None:
    item_id = seed(page, "1", title="x" * 20_000 + "the end")
    text = page.show_page(path_of(item_id))
    assert "the end" not in text
    more = text.split("Show all 20\u202f")[0].rsplit('href="', 1)[1].split('"')[0]
    assert "the end" in page.show_page(more)
    assert len(page.show_page("/admin/dlq?view=latest")) < 20_000


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        ("{not json <i>", "{not json &lt;i&gt;"),
        ("", "Not kept: it was empty"),
        ('{"title": ["a"]}', "&#34;a&#34;"),
        ('{"a": ' + "[" * 400 + "]" * 400 + "}", "[" * 400),
    ],
)
def test_data_of_any_kind_is_shown(page: Api, data: str, shown: str) -> None:
    item_id = seed(page, "1", data=data)
    assert shown in page.show_page(path_of(item_id))
    assert "lwn#1" in page.show_page("/admin/dlq?view=latest")


def test_one_whose_replay_is_being_run_is_not_removed_and_the_page_says_so(
    page: Api, bench: Bench
) -> None:
    seed(page, "1")
    seed(page, "2")
    bench.add(make_data("1", import_id="replay"))
    bench.take()
    text = page.send_form("/admin/dlq/remove", ids=["lwn#1", "lwn#2"])
    assert "1 dead letter removed" in text
    assert "1 dead letter not removed: being replayed now" in text
    answer = page.client.delete(f"/dlq/{quote('lwn#1', safe='')}")
    assert answer.status_code == 409
    assert "try again when that has ended" in answer.json()["detail"]
