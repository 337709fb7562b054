"""What stands before the API: key, limits, origin, headers; and health."""

import threading
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from server.api.examples import PROBLEMS
from server.dashboard.mounting import is_page
from server.dashboard.pages import ROUTERS
from shared.errors import StoreUnavailable
from shared.queue import RedisConnection, connect
from shared.store import Stores, open_database
from tests.api import Api, open_api

KEY = "k" * 32


@pytest.fixture
def locked_api(redis_client: RedisConnection, stores: Stores) -> Iterator[Api]:
    with open_api(redis_client, stores, api_key=KEY) as opened:
        yield opened


def test_every_route_but_health_needs_the_key(locked_api: Api) -> None:
    app: Any = locked_api.client.app
    paths = [route.path for route in app.routes if isinstance(route, Route)]
    paths += list(app.openapi()["paths"])
    assert len(paths) > 20
    for path in {*paths, "/nothing"} - {"/healthz", "/readyz"}:
        if is_page(path):
            continue  # the dashboard's own session, tests/integration/api/test_dashboard_session.py
        for method in ("GET", "POST", "PUT", "DELETE"):
            answer = locked_api.client.request(method, path.replace("{", "").replace("}", ""))
            assert answer.status_code == 401, (method, path)
            assert answer.headers["www-authenticate"].startswith("Bearer")
            assert answer.headers["content-type"] == "application/problem+json"
    for path in ("/healthz", "/readyz"):
        assert locked_api.client.get(path).status_code == 200


def test_only_the_right_key_opens(locked_api: Api) -> None:
    def status(written: str | bytes) -> int:
        return locked_api.client.get("/feeds", headers={"Authorization": written}).status_code

    assert status(f"Bearer {KEY}") == 200
    assert status(f"bearer  {KEY}") == 200
    for wrong in ("Bearer", "Bearer x", f"Basic {KEY}", KEY, f"Bearer {KEY}x", b"Bearer \xff\xe9"):
        assert status(wrong) == 401
    asked = locked_api.client.get("/feeds").json()["detail"]
    assert asked == "API key required: send Authorization: Bearer KEY"
    wrong_key = {"Authorization": "Bearer x"}
    told = locked_api.client.get("/feeds", headers=wrong_key).json()["detail"]
    assert told.startswith("wrong or expired API key")


def test_start_is_limited_per_client_and_says_when(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with open_api(redis_client, stores, api_rate_limit="2/minute") as api:
        assert [api.post("/imports/start").status_code for _ in range(3)] == [202, 202, 429]
        refused = api.post("/dlq/replay", {"all": True})
        assert refused.status_code == 429
        assert 1 <= int(refused.headers["retry-after"]) <= 60
        assert api.client.get("/feeds").status_code == 200


def test_body_over_a_mebibyte_is_too_large(api: Api) -> None:
    body = b'{"url": "' + b"x" * (1 << 20) + b'"}'
    answer = api.client.post("/feeds", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 413
    assert answer.json()["title"]


@pytest.mark.parametrize("path", ["/feeds", "/imports/start", "/feeds/opml", "/dlq/replay"])
def test_endless_body_is_cut_off_without_content_length(api: Api, path: str) -> None:
    sent = 0

    def body() -> Iterator[bytes]:
        nonlocal sent
        for _ in range(100):
            sent += 1 << 17
            yield b" " * (1 << 17)

    headers = {"content-type": "application/json"}
    answer = api.client.post(path, content=body(), headers=headers)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize(
    ("path", "body", "said"),
    [
        ("/imports/start", {"trigger": "schedule"}, "body.trigger: must be 'api' or 'cli'"),
        ("/imports/start", {"force": "yes"}, "body.force: must be true or false"),
        ("/imports/start", {"url": 5}, "body.url: must be a text"),
        ("/imports/start", {"url": ""}, "body.url: is too short: at least 1"),
        ("/imports/start", {"sources": "a"}, "body.sources: must be a list"),
        (
            "/imports/start",
            {"sources": ["a"] * 10_001},
            "body.sources: is too long: at most 10000 entries",
        ),
        ("/feeds", {"title": "x" * 201}, "body.title: is too long: at most 200 characters"),
        ("/feeds", {"cron": "x" * 201}, "body.cron: is too long: at most 200 characters"),
        ("/feeds", {"interval_s": 0}, "body.interval_s: must be at least 1"),
        ("/feeds", {"interval_s": 10**8}, "body.interval_s: must be at most 31536000"),
        ("/feeds", {"weight": "big"}, "body.weight: must be 'light' or 'heavy'"),
        ("/feeds/a/rollback", {}, "body.to: is missing"),
        ("/feeds/a/rollback", {"to": -1}, "body.to: must be 0 to 9007199254740991"),
        (
            "/feeds/a/rollback",
            {"to": None},
            "body.to: use RFC 3339, as in 2026-11-01T12:00:00Z, or a page's number",
        ),
        ("/feeds/a/backfill", {"from": 5}, "body.from: use RFC 3339, as in 2026-11-01T12:00:00Z"),
    ],
)
def test_wrong_value_is_refused_with_what_is_accepted(
    api: Api, path: str, body: object, said: str
) -> None:
    answer = api.post(path, body)
    assert (answer.status_code, answer.json()["detail"]) == (422, said)


def test_wrong_value_in_a_query_is_refused_with_what_is_accepted(api: Api) -> None:
    for query, said in (
        ("limit=0", "query.limit: must be at least 1"),
        ("limit=x", "query.limit: must be a whole number"),
        (
            "state=done",
            "query.state: must be 'queued', 'fetching', 'importing', 'completed' or 'failed'",
        ),
    ):
        assert api.client.get(f"/imports?{query}").json()["detail"] == said


def test_body_that_is_not_json_is_refused(api: Api) -> None:
    for content_type in ("application/x-www-form-urlencoded", "text/plain", ""):
        answer = api.client.post(
            "/feeds",
            content=b'{"url": "https://a.example/"}',
            headers={"content-type": content_type},
        )
        assert answer.status_code == 415, content_type


@pytest.mark.parametrize("path", ["/feeds", "/imports/start"])
@pytest.mark.parametrize(
    "body",
    [
        b"[" * 100_000,
        b'{"url": "\\ud800"}',
        b'{"\\ud800": 1}',
        b'{"url": "\xff"}',
        b'{"url": "\\u0000"}',
        b'{"interval_s": ' + b"9" * 5000 + b"}",
        b'{"interval_s": 1e999, "url": "https://a.example/"}',
        b"{",
        b"null",
        b'"x"',
        b'{"source": {"$gt": ""}}',
    ],
)
def test_hostile_json_is_422(api: Api, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = api.client.post(path, content=body, headers=headers)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"


def test_pages_of_other_sites_are_refused(api: Api) -> None:
    foreign = (
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"sec-fetch-site": "cross-site"},
    )
    for headers in foreign:
        assert api.client.post("/queues/items/pause", headers=headers).status_code == 403
    own = {"origin": "http://testserver", "sec-fetch-site": "same-origin"}
    assert api.client.post("/queues/items/pause", headers=own).status_code == 200


def test_unknown_paths_and_methods_are_problems(api: Api) -> None:
    for method, path, status in (
        ("GET", "/nothing", 404),
        ("GET", "/../etc/passwd", 404),
        ("GET", "/feeds/..%2f..%2fetc", 404),
        ("GET", "/items/" + "x" * 10_000, 404),
        ("GET", "/items/a%00b", 404),
        ("GET", "/dlq/%ff%fe", 404),
        ("GET", "/queues/items/jobs/%00", 404),
        ("PUT", "/feeds", 405),
        ("DELETE", "/metrics", 405),
    ):
        answer = api.client.request(method, path)
        assert answer.status_code == status, (path, answer.text)
        assert answer.headers["content-type"] == "application/problem+json"
        assert set(answer.json()) >= {"type", "title", "status", "detail"}


def test_refused_method_names_all_that_are_possible(api: Api) -> None:
    for path, allow in (
        ("/feeds/news", "DELETE, GET, HEAD, PATCH"),
        ("/imports/start", "GET, HEAD, POST"),
    ):
        answer = api.client.put(path)
        assert answer.headers["allow"] == allow
        assert answer.json()["detail"] == f"PUT not allowed; use {allow.replace(', ', ' or ')}"
    answer = api.client.post("/admin/static/app.css", headers={"Accept": "application/json"})
    assert (answer.status_code, answer.json()["detail"]) == (
        405,
        "POST not allowed; use GET or HEAD",
    )


def test_examples_of_problems_are_what_is_answered(locked_api: Api) -> None:
    def ask(method: str, path: str, key: str | None = KEY, **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        return locked_api.client.request(method, path, headers=headers, **options).json()

    assert ask("GET", "/feeds", None) == PROBLEMS[401].example
    assert ask("GET", "/feeds/lwn") == PROBLEMS[404].example
    assert ask("PUT", "/imports/start")["title"] == PROBLEMS[405].example["title"]
    assert ask("POST", "/feeds", json={"url": "x" * 2_000_000}) == PROBLEMS[413].example
    assert ask("POST", "/feeds", data={"url": "x"}) == PROBLEMS[415].example
    body = {"url": "https://lwn.net/headlines/rss", "interval_s": 0}
    assert ask("POST", "/feeds", json=body) == PROBLEMS[422].example
    assert ask("POST", "/feeds", json=body | {"interval_s": 1, "source": "lwn"})["source"] == "lwn"
    taken = ask("POST", "/feeds", json=body | {"interval_s": 1, "source": "lwn"})
    assert taken == PROBLEMS[409].example


def test_answers_carry_safe_headers(api: Api) -> None:
    for path in ("/feeds", "/nothing", "/healthz"):
        headers = api.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_metrics_hold_queues_by_state_and_status(api: Api) -> None:
    text = api.client.get("/metrics").text
    assert 'bullmq_jobs_processed_total{queue="items",status="retried"} 0.0' in text
    assert 'bullmq_queue_size{queue="items_dlq",state="waiting"} 0.0' in text
    assert "feedmill_mongodb_up 1.0" in text


def test_stores_that_are_away_are_named(redis_client: RedisConnection, stores: Stores) -> None:
    away = connect("redis://127.0.0.1:1/0", socket_timeout_s=0.5)
    with open_api(away, stores) as api:
        answer = api.client.get("/readyz")
        assert (answer.status_code, answer.json()["absent"]) == (503, ["Redis"])
        assert api.client.get("/healthz").status_code == 200
        refused = api.client.get("/queues")
        assert (refused.status_code, refused.headers["retry-after"]) == (503, "5")
        assert api.client.get("/metrics").status_code == 200
        assert api.client.get("/feeds").status_code == 200
    missing = Stores.of(open_database("mongodb://127.0.0.1:1/x?serverSelectionTimeoutMS=100"))
    with open_api(redis_client, missing) as api:
        assert api.client.get("/readyz").json()["absent"] == ["MongoDB"]
    missing.database.close()


def test_readiness_names_the_threads_that_fail_but_not_of_what(api: Api) -> None:
    assert api.client.get("/readyz").json() == {"status": "ok"}
    outcomes = iter([ValueError("s3cr3t"), None])

    def step() -> float:
        outcome = next(outcomes)
        if outcome is not None:
            raise outcome
        return 0.0

    loop = api.services.supervisor.loop("auditor", step, threading.Event())
    loop.attempt()
    answer = api.client.get("/readyz")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "failing_threads": ["auditor"]}
    text = api.client.get("/metrics").text
    assert 'feedmill_thread_failures_total{thread="auditor"} 1.0' in text
    loop.attempt()
    assert api.client.get("/readyz").json() == {"status": "ok"}


def test_unexpected_errors_show_no_trace(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise ZeroDivisionError("s3cr3t")

    monkeypatch.setattr(api.replayer, "replay", fail)
    answer = api.post("/dlq/replay", {"all": True})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "s3cr3t" not in answer.text


def test_store_outage_is_503_with_retry_after(api: Api, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(**_: object) -> None:
        raise StoreUnavailable("mongodb://user:s3cr3t@host")

    monkeypatch.setattr(api.replayer, "replay", fail)
    answer = api.post("/dlq/replay", {"all": True})
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "5")
    assert "s3cr3t" not in answer.text


FOREIGN_HOSTS = (
    "evil.example",
    "evil.example:8000",
    "127.0.0.1.evil.example",
    "localhost.evil.example",
    "evil-localhost",
    "192.0.2.1",
    "0.0.0.0",
    "[2001:db8::1]:8000",
    "[::1",
    "user@127.0.0.1",
    "127.0.0.1:port",
    "127.0.0.1, evil.example",
    "",
)
OWN_HOSTS = ("localhost", "LocalHost:8000", "127.0.0.1", "127.0.0.1:1234", "[::1]", "[::1]:8000")


def test_every_route_but_health_refuses_a_foreign_host(api: Api) -> None:
    app: Any = api.client.app
    paths = {route.path for route in app.routes if isinstance(route, Route)}
    paths |= {page.path for router in ROUTERS for page in router.routes if isinstance(page, Route)}
    paths |= {*app.openapi()["paths"], "/nothing", "/docs", "/admin/static/app.css"}
    assert {"/", "/metrics", "/imports/{import_id}/events", "/admin/queues"} <= paths
    # What a rebound page's browser sends: to it, that is its own site.
    rebound = {"host": "evil.example", "origin": "http://evil.example"}
    for path in paths - {"/healthz", "/readyz"}:
        for method in ("GET", "POST", "DELETE"):
            answer = api.client.request(method, path.replace("{", ""), headers=rebound)
            assert answer.status_code == 400, (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
    for path in ("/healthz", "/readyz"):
        assert api.client.get(path, headers=rebound).status_code == 200


@pytest.mark.parametrize("host", FOREIGN_HOSTS)
def test_foreign_host_is_refused_by_name_and_remedy(api: Api, host: str) -> None:
    answer = api.post("/imports/start", headers={"host": host})
    assert answer.status_code == 400
    assert f"host {host!r}" in answer.json()["detail"]
    assert "ALLOWED_HOSTS" in answer.json()["detail"]


def test_shown_host_is_short_and_without_secrets(api: Api) -> None:
    answer = api.client.get("/feeds", headers={"host": "x" * 5000})
    assert (answer.status_code, len(answer.text) < 400) == (400, True)


@pytest.mark.parametrize("host", OWN_HOSTS)
def test_loopback_is_called_by_any_of_its_names(api: Api, host: str) -> None:
    assert api.client.get("/feeds", headers={"host": host}).status_code == 200


def test_named_hosts_are_answered(redis_client: RedisConnection, stores: Stores) -> None:
    settings = {
        "host": "box.example",
        "allow_unauthenticated": True,
        "allowed_hosts": "Feeds.example.com, *.intern.example,fd00::1",
    }
    with open_api(redis_client, stores, **settings) as api:

        def status(host: str) -> int:
            return api.client.get("/feeds", headers={"host": host}).status_code

        for own in ("feeds.example.com", "a.intern.example:80", "BOX.example", "[fd00::1]:8000"):
            assert status(own) == 200, own
        for foreign in ("example.com", "intern.example", "testserver", "www.feeds.example.com"):
            assert status(foreign) == 400, foreign


def test_host_that_stands_for_every_address_names_none(
    redis_client: RedisConnection, stores: Stores
) -> None:
    for host in ("0.0.0.0", "::"):
        settings = {"host": host, "allow_unauthenticated": True}
        with open_api(redis_client, stores, **settings) as api:
            for foreign in ("0.0.0.0:8000", "[::]:8000", "evil.example"):
                headers = {"host": foreign}
                assert api.client.get("/feeds", headers=headers).status_code == 400, foreign


def test_host_is_checked_with_a_key_too(locked_api: Api) -> None:
    headers = {"host": "evil.example", "authorization": f"Bearer {KEY}"}
    assert locked_api.client.get("/feeds", headers=headers).status_code == 400


def test_any_host_may_be_let_in_where_a_key_is_asked_for(
    redis_client: RedisConnection, stores: Stores
) -> None:
    headers = {"host": "evil.example", "authorization": f"Bearer {KEY}"}
    with open_api(redis_client, stores, api_key=KEY, allowed_hosts="*") as api:
        assert api.client.get("/feeds", headers=headers).status_code == 200
