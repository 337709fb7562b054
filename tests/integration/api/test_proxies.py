"""Behind proxies: under a path of its own, and who is believed about a request."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from fastapi.routing import APIRoute

from server.api.guards import OPEN_PATHS
from server.api.routes import ROUTERS as API_ROUTERS
from server.commands.api_client import ApiClient
from server.dashboard.pages import ROUTERS as PAGE_ROUTERS
from server.dashboard.rendering import PLACES
from server.dashboard.site import COOKIE, LOGIN_PATH
from shared.queue import RedisConnection
from shared.setting_values import OWN_PATHS
from shared.store import Stores
from tests.api import Api, open_api, serve_api

KEY = "k" * 32
ROOT = "/feedmill"
NAME = "feeds.example.test"
PAUSE = "/queues/items/pause"
PAUSE_FORM = "/admin/queues/items/pause"


@pytest.fixture
def under_path(redis_client: RedisConnection, stores: Stores) -> Iterator[Api]:
    with open_api(redis_client, stores, root_path=ROOT, api_key=KEY) as opened:
        opened.client.follow_redirects = False
        yield opened


def log_in(api: Api, prefix: str) -> None:
    answer = api.client.post(prefix + LOGIN_PATH, data={"key": KEY})
    assert answer.headers["location"] == f"{ROOT}/"


@pytest.mark.parametrize("prefix", [ROOT, ""], ids=["left on", "taken off"])
def test_pages_link_below_the_root_path_whether_the_proxy_leaves_it_on(
    under_path: Api, prefix: str
) -> None:
    log_in(under_path, prefix)
    session = {"cookie": f"{COOKIE}={under_path.client.cookies[COOKIE]}"}
    for place in PLACES:
        page = under_path.client.get(prefix + place.path, headers=session)
        assert page.status_code == 200, place
        paths = re.findall(r'\b(?:href|src|action|formaction|hx-get)="(/[^"]*)"', page.text)
        assert len(paths) > 10
        for path in paths:
            assert path.startswith(f"{ROOT}/"), (place.path, path)
            asked = under_path.client.get(prefix + path.removeprefix(ROOT), headers=session)
            assert asked.status_code in (200, 303, 404, 405), path
        styles = [path for path in paths if path.startswith(f"{ROOT}/admin/static/")]
        assert all(under_path.client.get(style).status_code == 200 for style in styles)


def test_session_is_for_the_root_path_alone_and_the_login_leads_below_it(under_path: Api) -> None:
    asked = under_path.client.get(f"{ROOT}/admin/feeds?q=a")
    assert asked.headers["location"] == f"{ROOT}/admin/login?next=%2Fadmin%2Ffeeds%3Fq%3Da"
    shown = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{ROOT}/admin/items"}
    part = under_path.client.get(f"{ROOT}/admin/overview/now", headers=shown)
    assert part.headers["hx-redirect"] == f"{ROOT}/admin/login?next=%2Fadmin%2Fitems"
    fields = {"key": KEY, "next": "/admin/feeds?q=a"}
    answer = under_path.client.post(ROOT + LOGIN_PATH, data=fields)
    assert answer.headers["location"] == f"{ROOT}/admin/feeds?q=a"
    assert f"Path={ROOT};" in answer.headers["set-cookie"]


def test_api_is_served_and_described_below_the_root_path(under_path: Api) -> None:
    key = {"authorization": f"Bearer {KEY}"}
    for path in ("/feeds", "/openapi.json", *sorted(OPEN_PATHS)):
        assert under_path.client.get(ROOT + path, headers=key).status_code == 200, path
    described = under_path.client.get(f"{ROOT}/openapi.json", headers=key).json()
    assert described["servers"] == [{"url": ROOT}]
    login = under_path.client.get(f"{ROOT}/docs").headers["location"]
    assert login == f"{ROOT}/admin/login?next=%2Fdocs"
    # Another path that only begins alike is none of ours.
    assert under_path.client.get(f"{ROOT}s/feeds", headers=key).status_code == 404
    assert under_path.client.get(f"{ROOT}/feeds").status_code == 401


def status_of(api: Api, path: str, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return api.client.post(path, headers=named, follow_redirects=False).status_code


@pytest.mark.parametrize(("path", "done"), [(PAUSE, 200), (PAUSE_FORM, 303)])
def test_forms_work_behind_a_proxy_that_passes_no_host_on(
    redis_client: RedisConnection, stores: Stores, path: str, done: int
) -> None:
    with open_api(redis_client, stores, allowed_hosts=NAME) as api:
        inner = "127.0.0.1:8000"
        page = f"https://{NAME}"
        own = "same-origin"
        assert status_of(api, path, host=inner, origin=page, sec_fetch_site=own) == done
        assert status_of(api, path, host=inner, origin=f"{page}:8443", sec_fetch_site=own) == done
        assert status_of(api, path, host=NAME, origin=page) == done
        # A browser too old to say so, and a proxy that hides the name: that cannot be told apart.
        assert status_of(api, path, host=inner, origin=page) == 403
        assert status_of(api, path, host=NAME, origin="null") == 403
        assert status_of(api, path, host=inner, origin="null") == 403
        # Another port is another site.
        assert status_of(api, path, host=NAME, origin=f"{page}:8443") == 403
        assert status_of(api, path, host=f"{NAME}:8443", origin=f"{page}:8443") == done
        assert status_of(api, path, host=NAME, origin=page, sec_fetch_site=own) == done
        evil = "https://evil.example.test"
        assert status_of(api, path, host=inner, origin=evil, sec_fetch_site="cross-site") == 403
        assert status_of(api, path, host=inner, origin=evil, sec_fetch_site="same-site") == 403
        # A name that another site has pointed here makes its pages "same-origin".
        evil_host = "evil.example.test"
        assert status_of(api, path, host=evil_host, origin=evil, sec_fetch_site=own) == 400


def test_refused_origin_is_explained(api: Api) -> None:
    headers = {"host": "127.0.0.1:8000", "origin": f"http://{NAME}"}
    answer = api.client.post(PAUSE, headers=headers)
    assert answer.json()["detail"] == (
        f"requests from pages of another site are refused: the page is at http://{NAME}, "
        "the request is to 127.0.0.1:8000; a proxy must pass on Host"
    )
    marked = {**headers, "sec-fetch-site": "cross-site"}
    answer = api.client.post(PAUSE, headers=marked)
    assert answer.json()["detail"] == "requests from pages of another site are refused"


def test_no_root_path_hides_a_path_of_the_server() -> None:
    routes = [route for router in (*API_ROUTERS, *PAGE_ROUTERS) for route in router.routes]
    firsts = {route.path.split("/")[1] for route in routes if isinstance(route, APIRoute)}
    assert firsts - {""} <= OWN_PATHS, "name the new path in shared/setting_values.py, too"


def test_forwarded_headers_of_a_trusted_proxy_count(
    redis_client: RedisConnection, stores: Stores
) -> None:
    settings: dict[str, Any] = {
        "allowed_hosts": NAME, "trusted_proxies": "*", "api_key": KEY,
    }  # fmt: skip
    with open_api(redis_client, stores, **settings) as api:
        forwarded = {"x-forwarded-host": NAME, "x-forwarded-proto": "https", "host": "127.0.0.1"}
        for tries in range(11):
            answer = api.client.post(
                LOGIN_PATH,
                data={"key": "wrong"},
                headers={**forwarded, "origin": f"https://{NAME}", "x-forwarded-for": "192.0.2.1"},
            )
            assert answer.status_code == (401 if tries < 10 else 429)
        right = {**forwarded, "x-forwarded-for": "192.0.2.2"}
        answer = api.client.post(
            LOGIN_PATH, data={"key": KEY}, headers=right, follow_redirects=False
        )
        assert answer.status_code == 303
        assert "Secure" in answer.headers["set-cookie"]
        foreign = {**forwarded, "x-forwarded-host": "evil.example.test"}
        assert api.client.get(LOGIN_PATH, headers=foreign).status_code == 400
        # A page of another name that points at a proxy which passes all headers on.
        forged = {**forwarded, "host": "evil.example.test"}
        assert api.client.get(LOGIN_PATH, headers=forged).status_code == 400
        several = {**forwarded, "x-forwarded-host": f"evil.example.test, {NAME}"}
        assert api.client.get(LOGIN_PATH, headers=several).status_code == 200


def test_forwarded_headers_of_others_are_left_unread(
    redis_client: RedisConnection, stores: Stores
) -> None:
    settings = {"allowed_hosts": "testserver", "trusted_proxies": "192.0.2.0/24", "api_key": KEY}
    with open_api(redis_client, stores, **settings) as api:
        forwarded = {"x-forwarded-host": "evil.example.test", "x-forwarded-proto": "https"}
        answer = api.client.post(
            LOGIN_PATH, data={"key": KEY}, headers=forwarded, follow_redirects=False
        )
        assert answer.status_code == 303
        assert "Secure" not in answer.headers["set-cookie"]


def test_large_answers_are_packed_and_small_ones_are_not(api: Api) -> None:
    packing = {"accept-encoding": "gzip"}
    for path in ("/", "/openapi.json", "/metrics"):
        answer = api.client.get(path, headers=packing)
        assert answer.headers.get("content-encoding") == "gzip", path
        assert "accept-encoding" in answer.headers["vary"].lower()
        plain = api.client.get(path, headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers
    assert "content-encoding" not in api.client.get("/healthz", headers=packing).headers


def test_command_line_reaches_a_service_under_a_path(
    redis_client: RedisConnection, stores: Stores
) -> None:
    with (
        serve_api(redis_client, stores, root_path=ROOT) as served,
        ApiClient(served.url + ROOT) as client,
    ):
        assert client.get("/feeds") == {"items": [], "next_cursor": None}
