"""Keys that may only read: in the API, and in a session of the dashboard."""

from collections.abc import Iterator

import pytest
from fastapi.routing import APIRoute

from server.dashboard.pages import ROUTERS
from server.dashboard.site import COOKIE, LOGIN_PATH
from shared.queue import RedisConnection
from shared.store import Stores
from tests.api import Api, open_api

KEY, READ_KEY, OTHER = "k" * 32, "r" * 32, "o" * 32
READING = {"Authorization": f"Bearer {READ_KEY}"}


@pytest.fixture
def locked(redis_client: RedisConnection, stores: Stores) -> Iterator[Api]:
    with open_api(redis_client, stores, api_key=KEY, api_read_keys=f"{OTHER},{READ_KEY}") as api:
        api.client.follow_redirects = False
        yield api


def begin_session(api: Api, key: str) -> None:
    answer = api.client.post(LOGIN_PATH, data={"key": key})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_read_only_key_reads_and_changes_nothing(locked: Api) -> None:
    for path in ("/feeds", "/items", "/queues", "/dlq", "/metrics", "/openapi.json"):
        assert locked.client.get(path, headers=READING).status_code == 200
    for method in ("POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY"):
        for path in ("/feeds/lwn", "/imports/start", "/nothing"):
            answer = locked.client.request(method, path, headers=READING)
            assert answer.status_code == 403, (method, path)
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.json()["detail"] == (
                f"{method} not allowed with a read-only key; use the server's API_KEY"
            )
    assert locked.client.head("/nothing", headers=READING).status_code == 404
    full = {"Authorization": f"Bearer {KEY}"}
    assert locked.post("/imports/start", headers=full).status_code == 202


def test_keys_are_shown_nowhere(locked: Api) -> None:
    begin_session(locked, READ_KEY)
    answers = [locked.client.get("/settings", headers=READING).text]
    answers += [locked.show_page(path) for path in ("/", "/admin/settings", "/docs")]
    for text in answers:
        assert not [key for key in (KEY, READ_KEY, OTHER) if key in text]


def test_every_form_of_a_read_only_session_is_refused_but_signing_out(locked: Api) -> None:
    begin_session(locked, READ_KEY)
    routes = [each for router in ROUTERS for each in router.routes if isinstance(each, APIRoute)]
    forms = [route.path for route in routes if "POST" in (route.methods or ())]
    assert len(forms) > 10
    for path in {*forms} - {LOGIN_PATH, "/admin/logout"}:
        answer = locked.client.post(path.replace("{", "").replace("}", ""), data={})
        assert answer.status_code == 403, path
        assert "This session is read-only" in answer.text
    refused = locked.client.post("/admin/imports", headers={"HX-Request": "true"})
    assert (refused.status_code, refused.headers["hx-retarget"]) == (403, "#messages")
    assert locked.client.post("/admin/logout").status_code == 303
    assert COOKIE not in locked.client.cookies


def test_pages_of_a_read_only_session_are_marked(locked: Api) -> None:
    begin_session(locked, READ_KEY)
    page = locked.show_page("/")
    assert 'data-access="read"' in page
    assert ">Read-only</span>" in page
    begin_session(locked, KEY)
    page = locked.show_page("/")
    assert "data-access" not in page
    assert "Read-only" not in page


def test_session_ends_when_its_key_is_taken_away(
    locked: Api, redis_client: RedisConnection, stores: Stores
) -> None:
    begin_session(locked, READ_KEY)
    session = {"Cookie": f"{COOKIE}={locked.client.cookies[COOKIE]}"}
    for keys, status in ((READ_KEY, 200), (OTHER, 303)):
        with open_api(redis_client, stores, api_key=KEY, api_read_keys=keys) as api:
            answer = api.client.get("/", headers=session, follow_redirects=False)
            assert answer.status_code == status
