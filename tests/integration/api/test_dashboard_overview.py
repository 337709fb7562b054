"""The overview on real stores: what it shows while all is well, and while it is not."""

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from server.api.parts import ApiParts
from shared.errors import StoreUnavailable
from shared.queue import NewJob, RedisConnection, WorkerSign, WorkerSigns
from shared.store import Stores
from tests.api import Api, open_api
from tests.processes import wait_until

SIGN = WorkerSign("w1", ("items", "items_heavy"), held_jobs=3, up_s=60.0)
HTMX = {"HX-Request": "true"}


@pytest.fixture
def manned(api: Api) -> Api:
    """An application with a worker that lives."""
    WorkerSigns(api.services.light_queue.client).leave(SIGN)
    return api


def text_of(api: Api, path: str = "/", **options: Any) -> str:
    answer = api.client.get(path, **options)
    assert answer.status_code == 200, answer.text
    return re.sub(r"\s+", " ", answer.text)


def test_overview_of_an_empty_service_shows_that_all_is_well_and_what_to_do(manned: Api) -> None:
    page = text_of(manned)
    assert "All well." in page
    assert "1 worker, no running imports" in page
    assert "Nothing waits" in page
    assert 'href="/admin/feeds-add">Add the first feed' in page
    assert "Backlog and throughput" in page
    for title in ("Items per second", "Waiting jobs", "Oldest waiting job"):
        assert f"<title>{title}</title>" in page


def test_page_is_strict_about_what_it_loads(manned: Api) -> None:
    answer = manned.client.get("/")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'self'" in policy
    assert "unsafe" not in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["x-frame-options"] == "DENY"
    assert answer.headers["referrer-policy"] == "same-origin"
    loaded = re.findall(r'<(?:script|link|img|use)[^>]*(?:src|href)="([^"#]+)', answer.text)
    assert len(loaded) > 5
    for url in loaded:
        assert not urlsplit(url).netloc
        asset = manned.client.get(url)
        assert asset.status_code == 200, url
        assert "immutable" in asset.headers["cache-control"]


def test_running_import_is_shown_with_its_progress(manned: Api) -> None:
    manned.post("/feeds", {"url": "https://quay.example/<feed>", "source": "quay"})
    started = manned.post("/imports/start", {"sources": ["quay"]}).json()["imports"][0]
    page = text_of(manned)
    assert f'href="/admin/imports/{started["id"]}"><span class="feed-title">quay</span></a>' in page
    assert "queued" in page
    assert 'hx-trigger="every 2s, refresh"' in page
    fragment = text_of(manned, "/admin/overview/now", headers=HTMX)
    assert "<html" not in fragment
    assert fragment.strip().startswith('<div class="live" id="now"')


def test_idle_overview_looks_less_often(manned: Api) -> None:
    assert 'hx-trigger="every 5s, refresh"' in text_of(manned)


def test_latest_finished_imports_are_sorted_by_when_they_finished(manned: Api) -> None:
    imports = manned.stores.imports
    for source in ("first", "second", "third"):
        manned.post("/feeds", {"url": f"https://quay.example/{source}", "source": source})
    ids = {}
    for source in ("first", "second", "third"):
        started = manned.post("/imports/start", {"sources": [source]}).json()["imports"]
        ids[source] = started[0]["id"]
        manned.clock.advance(seconds=1)
    for source in ("second", "first"):
        manned.clock.advance(seconds=60)
        outcome = {"finished_at": manned.clock.now(), "error": "no such host", "error_kind": "dns"}
        assert imports.fail(ids[source], None, outcome)
    finished = manned.client.get("/").text.partition("Latest finished")[2]
    assert re.findall(r'class="feed-title">(\w+)</span></a>', finished) == ["first", "second"]


def test_failed_import_says_why_escaped(manned: Api) -> None:
    manned.post("/feeds", {"url": "https://quay.example/feed", "source": "quay"})
    import_id = manned.post("/imports/start", {"sources": ["quay"]}).json()["imports"][0]["id"]
    outcome = {
        "finished_at": manned.clock.now(),
        "error": "<script>alert(1)</script>",
        "error_kind": "not_a_feed",
    }
    assert manned.stores.imports.fail(import_id, None, outcome)
    page = text_of(manned)
    assert "not_a_feed: &lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "<script>alert" not in page


def test_no_worker_is_a_problem(api: Api) -> None:
    page = text_of(api)
    assert "No worker is running." in page
    assert "feedmill worker" in page


def test_open_breaker_says_why(api: Api) -> None:
    sign = WorkerSign("w1", ("items",), 3, 60.0, "mongodb://me:secret@db/ is away", 65.0)
    WorkerSigns(api.services.light_queue.client).leave(sign)
    api.services.light_queue.add_many([NewJob(id="a#1", name="item", data={}, revision=1)])
    page = text_of(api)
    assert "Circuit breaker open for 1 min 5 s: mongodb://***@db/ is away." in page
    assert "breaker open: mongodb://***@db/ is away (items)" in page
    assert "secret" not in page


def test_paused_queue_dead_letters_and_failing_feeds_are_shown_with_their_actions(
    manned: Api,
) -> None:
    manned.services.heavy_queue.pause()
    manned.services.dead_letter_queue.add_many([NewJob(id="a#1", name="dead", data={})])
    manned.post("/feeds", {"url": "https://quay.example/feed", "source": "quay"})
    assert manned.stores.feeds.update("quay", {"error": "http_status: 404"})
    page = text_of(manned)
    assert "Queue items_heavy is paused." in page
    assert 'action="/admin/queues/items_heavy/resume"' in page
    assert "1 feed is failing." in page
    assert "1 dead letter." in page
    assert "All well" not in page
    assert "<span>2 more</span>" in page


def test_charts_show_what_was_sampled(manned: Api) -> None:
    site: Any = manned.client.app.state.dashboard  # type: ignore[attr-defined]
    manned.services.light_queue.add_many(
        [NewJob(id=f"a#{number}", name="item", data={}, revision=1) for number in range(7)]
    )
    parts: ApiParts = manned.client.app.state.parts  # type: ignore[attr-defined]
    for _ in range(3):
        manned.clock.advance(seconds=10)
        site.samples.add(parts.queue_status.show_all())
    page = text_of(manned)
    assert "Waiting jobs over the last 5 min: now 7, at most 7." in page
    assert "Oldest waiting job over the last 5 min: now 30 s, at most 30 s." in page


def test_sampler_of_the_application_feeds_the_charts(manned: Api) -> None:
    site: Any = manned.client.app.state.dashboard  # type: ignore[attr-defined]
    wait_until(lambda: site.samples.depths("items"), "a sample was taken")


@pytest.fixture
def without_mongodb(
    redis_client: RedisConnection, stores: Stores, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Api]:
    def refuse(*_: Any, **__: Any) -> None:
        raise StoreUnavailable("MongoDB cannot serve: nobody answers")

    with open_api(redis_client, stores) as opened:
        monkeypatch.setattr(type(stores.imports), "find_open", refuse)
        yield opened


def test_overview_without_mongodb_still_shows_the_queues(without_mongodb: Api) -> None:
    page = text_of(without_mongodb)
    assert "MongoDB does not answer." in page
    assert "MONGODB_URL" in page
    assert "Unknown while MongoDB does not answer." in page
    assert "feed_fetch_queue" in page


def test_unknown_page_is_a_page(manned: Api) -> None:
    answer = manned.client.get("/admin/<b>nothing")
    assert answer.status_code == 404
    assert "/admin/&lt;b&gt;nothing" in answer.text
    assert "Go to overview" in answer.text


def test_problem_of_a_script_is_a_message_for_the_page_that_is_shown(manned: Api) -> None:
    answer = manned.client.get("/admin/nothing", headers=HTMX)
    assert answer.status_code == 404
    assert answer.headers["hx-retarget"] == "#messages"
    assert answer.text.strip().startswith('<div class="message problem" role="alert">')


def test_form_of_another_site_is_refused(manned: Api) -> None:
    answer = manned.client.post("/admin/logout", headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403


def test_unexpected_error_of_a_page_is_a_page(manned: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(type(manned.stores.imports), "find_open", fail)
    answer = manned.client.get("/")
    assert answer.status_code == 500
    assert "Internal error" in answer.text
    assert "secret detail" not in answer.text
