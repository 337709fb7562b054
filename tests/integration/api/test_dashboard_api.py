"""The page that shows the API: behind the session, with a token for what is tried out there."""

from collections.abc import Iterator
from typing import Any

import pytest

from server.dashboard.site import COOKIE, LOGIN_PATH
from shared.queue import RedisConnection
from shared.store import Stores
from tests.api import Api, open_api
from tests.pages import Page

KEY, READ_KEY = "k" * 32, "r" * 32


@pytest.fixture
def locked(redis_client: RedisConnection, stores: Stores) -> Iterator[Api]:
    with open_api(redis_client, stores, api_key=KEY, api_read_keys=READ_KEY) as opened:
        opened.client.follow_redirects = False
        yield opened


def read_token(api: Api, key: str = KEY) -> dict[str, str]:
    """Sign in; return the header that the page sends."""
    api.client.post(LOGIN_PATH, data={"key": key})
    answer = api.client.get("/docs/token")
    assert answer.headers["cache-control"] == "no-store"
    return {"Authorization": f"Bearer {answer.json()['token']}"}


def test_page_loads_nothing_from_elsewhere_and_nothing_inline(api: Api) -> None:
    answer = api.client.get("/docs")
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert "http://" not in answer.text
    assert "https://" not in answer.text
    page = Page(answer.text)
    assert "<style" not in answer.text
    assert " style=" not in answer.text
    loaded = [found["src"] for found in page.all("script")]
    loaded += [found["href"] for found in page.all("link")]
    assert len(loaded) > 5
    for path in (*loaded, "/docs/openapi.json"):
        assert api.client.get(path).status_code == 200, path
    assert api.client.get("/docs/swagger-ui.map").status_code == 404
    assert api.client.get("/docs/nothing").status_code == 404


def test_page_without_scripts_lists_every_operation(api: Api) -> None:
    text = api.show_page("/docs")
    document = api.client.get("/openapi.json").json()
    assert api.client.get("/docs/openapi.json").json() == document
    for path, operations in document["paths"].items():
        for method in operations:
            assert f"<code>{method.upper()} {path}</code>" in text


def test_without_a_key_the_page_asks_for_no_token(api: Api) -> None:
    assert "data-token" not in api.show_page("/docs")
    assert api.client.get("/docs/token").json()["token"] is None


def test_page_and_its_token_need_the_session(locked: Api) -> None:
    for path in ("/docs", "/docs/openapi.json", "/docs/token", "/docs/swagger-ui.js"):
        answer = locked.client.get(path, headers={"Authorization": f"Bearer {KEY}"})
        assert answer.status_code == 303
        assert answer.headers["location"].startswith(LOGIN_PATH)


def test_token_opens_the_api_for_an_hour(locked: Api) -> None:
    token = read_token(locked)
    assert 'data-token="/docs/token"' in locked.show_page("/docs")
    assert KEY not in locked.show_page("/docs")
    locked.client.cookies.clear()
    assert locked.client.get("/feeds", headers=token).status_code == 200
    assert locked.post("/imports/start", headers=token).status_code == 202
    locked.clock.advance(seconds=3600)
    assert locked.client.get("/feeds", headers=token).status_code == 200
    locked.clock.advance(seconds=2)
    answer = locked.client.get("/feeds", headers=token)
    assert (answer.status_code, "expired" in answer.json()["detail"]) == (401, True)


def test_token_of_a_read_only_session_only_reads(locked: Api) -> None:
    token = read_token(locked, READ_KEY)
    assert locked.client.get("/feeds", headers=token).status_code == 200
    assert locked.post("/imports/start", headers=token).status_code == 403


def test_tokens_and_sessions_are_not_taken_for_one_another(locked: Api) -> None:
    token = read_token(locked)
    session = locked.client.cookies[COOKIE]
    as_bearer: Any = {"Authorization": f"Bearer {session}"}
    assert locked.client.get("/feeds", headers=as_bearer).status_code == 401
    locked.client.cookies.clear()
    as_session = {"Cookie": f"{COOKIE}={token['Authorization'].removeprefix('Bearer ')}"}
    assert locked.client.get("/", headers=as_session).status_code == 303


def test_token_ends_with_its_key(
    locked: Api, redis_client: RedisConnection, stores: Stores
) -> None:
    token = read_token(locked, READ_KEY)
    with open_api(redis_client, stores, api_key=KEY) as api:
        assert api.client.get("/feeds", headers=token).status_code == 401
