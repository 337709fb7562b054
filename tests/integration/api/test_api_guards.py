"""What stands before the API: key, limits, origin, headers; and health."""

from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from server.dashboard.mounting import is_page
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
    assert api.client.put("/feeds/news").headers["allow"] == "DELETE, GET, PATCH"
    assert api.client.put("/imports/start").headers["allow"] == "GET, POST"


def test_answers_carry_safe_headers(api: Api) -> None:
    for path in ("/feeds", "/nothing", "/healthz"):
        headers = api.client.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]


def test_docs_work_offline(api: Api) -> None:
    page = api.client.get("/docs")
    assert "http" not in page.text.replace("http-equiv", "")
    assert "script-src" not in page.headers["content-security-policy"]
    for path in ("/docs/swagger-ui.js", "/docs/swagger-ui.css", "/docs/start.js", "/openapi.json"):
        assert api.client.get(path).status_code == 200
    assert api.client.get("/docs/swagger-ui.map").status_code == 404


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
