"""Who gets to see the dashboard when there is an API key."""

from collections.abc import Iterator
from html import escape
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest
from fastapi.routing import APIRoute

from server.dashboard.mounting import is_page
from server.dashboard.pages import ROUTERS
from server.dashboard.site import COOKIE, LOGIN_PATH, MAX_AGE_S
from shared.queue import RedisConnection
from shared.store import Stores
from tests.api import Api, open_api, seed_item
from tests.factories import make_letter_of
from tests.pages import Page

KEY = "k" * 32


@pytest.fixture
def locked(redis_client: RedisConnection, stores: Stores) -> Iterator[Api]:
    with open_api(redis_client, stores, api_key=KEY) as opened:
        opened.client.follow_redirects = False
        yield opened


def log_in(api: Api, key: str = KEY, **fields: str) -> Any:
    return api.client.post(LOGIN_PATH, data={"key": key, **fields})


def test_every_page_but_the_login_asks_for_the_key(locked: Api) -> None:
    routes = [each for router in ROUTERS for each in router.routes if isinstance(each, APIRoute)]
    assert len(routes) > 3
    for route in routes:
        assert is_page(route.path)
        if route.path in (LOGIN_PATH, "/admin/logout"):
            continue
        path = route.path.replace("{", "").replace("}", "")
        for method in route.methods:
            answer = locked.client.request(method, path)
            assert answer.status_code == 303, (method, path)
            assert answer.headers["location"].startswith(LOGIN_PATH)
            assert answer.text == ""


def test_script_without_a_session_is_sent_to_the_login(locked: Api) -> None:
    shown = {"HX-Request": "true", "HX-Current-URL": "http://testserver/admin/items?q=a"}
    answer = locked.client.get("/", headers=shown)
    assert answer.status_code == 401
    assert answer.headers["hx-redirect"] == "/admin/login?next=%2Fadmin%2Fitems%3Fq%3Da"
    assert answer.text == ""


def test_key_opens_the_page_that_was_asked_for_until_logout(locked: Api) -> None:
    asked = locked.client.get("/admin/nothing?a=b&c=d")
    assert asked.headers["location"] == "/admin/login?next=%2Fadmin%2Fnothing%3Fa%3Db%26c%3Dd"
    form = locked.client.get(asked.headers["location"])
    assert 'name="next" value="/admin/nothing?a=b&amp;c=d"' in form.text
    answer = log_in(locked, next="/admin/nothing?a=b&c=d")
    assert (answer.status_code, answer.headers["location"]) == (303, "/admin/nothing?a=b&c=d")
    assert locked.client.get("/").status_code == 200
    assert "Sign out" in locked.client.get("/").text
    locked.client.post("/admin/logout")
    assert locked.client.get("/").status_code == 303


@pytest.mark.parametrize("guid", ["a#b", "a/b?c=d&e", "100% wool", "a//b", "Zeitung – ☃"])
def test_login_leads_back_to_a_page_whose_path_holds_an_odd_id(locked: Api, guid: str) -> None:
    item_id = seed_item(locked, guid)
    path = f"/admin/items/{quote(item_id, safe='')}"
    for headers in ({}, {"HX-Request": "true", "HX-Current-URL": f"http://testserver{path}"}):
        asked = locked.client.get(f"{path}?whole=1" if not headers else "/", headers=headers)
        login = asked.headers.get("location") or asked.headers["hx-redirect"]
        [wanted] = parse_qs(urlsplit(login).query)["next"]
        answer = log_in(locked, next=wanted)
        assert answer.status_code == 303
        led_to = locked.client.get(answer.headers["location"])
        assert led_to.status_code == 200, answer.headers["location"]
        assert escape(item_id) in led_to.text
        locked.client.cookies.clear()


def test_script_that_names_no_address_of_ours_is_sent_to_the_overview(locked: Api) -> None:
    for shown in ("http://[", "not an address", ""):
        headers = {"HX-Request": "true", "HX-Current-URL": shown}
        answer = locked.client.get("/", headers=headers)
        assert answer.headers["hx-redirect"] == "/admin/login?next=%2F"


def test_cookie_is_kept_from_scripts_and_other_sites(locked: Api) -> None:
    written = log_in(locked).headers["set-cookie"].lower()
    assert "httponly" in written
    assert "samesite=strict" in written
    assert "secure" not in written
    secured = locked.client.post(f"https://testserver{LOGIN_PATH}", data={"key": KEY})
    assert "secure" in secured.headers["set-cookie"].lower()


def test_wrong_key_is_refused_and_few_tries_are_allowed(locked: Api) -> None:
    statuses = [log_in(locked, "wrong").status_code for _ in range(11)]
    assert statuses == [401] * 10 + [429]
    assert COOKIE not in locked.client.cookies
    assert "Too many attempts" in log_in(locked).text


@pytest.mark.parametrize(
    "target", ["//evil.example/", "https://evil.example/", "/\\evil.example", "/admin/login", ""]
)
def test_login_leads_to_no_other_site(locked: Api, target: str) -> None:
    assert log_in(locked, next=target).headers["location"] == "/"


def test_forged_and_expired_sessions_are_none(locked: Api) -> None:
    log_in(locked)
    real = locked.client.cookies[COOKIE]
    for forged in (real[:-1], real + "A", real.replace("operator", "operatos"), "operator", "é"):
        answer = locked.client.get("/", headers={"Cookie": f"{COOKIE}={forged}".encode()})
        assert answer.status_code == 303
    locked.clock.advance(seconds=MAX_AGE_S)
    assert locked.client.get("/").status_code == 200
    locked.clock.advance(seconds=2)
    assert locked.client.get("/").status_code == 303


def test_new_key_ends_all_sessions(
    locked: Api, redis_client: RedisConnection, stores: Stores
) -> None:
    log_in(locked)
    session = {"Cookie": f"{COOKIE}={locked.client.cookies[COOKIE]}"}
    with open_api(redis_client, stores, api_key=KEY) as same:
        assert same.client.get("/", headers=session, follow_redirects=False).status_code == 200
    with open_api(redis_client, stores, api_key=KEY + "2") as rotated:
        assert rotated.client.get("/", headers=session, follow_redirects=False).status_code == 303


def test_api_takes_no_cookie(locked: Api) -> None:
    log_in(locked)
    assert locked.client.get("/feeds").status_code == 401


def test_without_a_key_there_is_no_login(api: Api) -> None:
    assert api.client.get("/").status_code == 200
    assert "Sign out" not in api.client.get("/").text
    answer = api.client.get(LOGIN_PATH, follow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


def test_pages_lead_to_the_api_reference_with_a_key_and_without(api: Api, locked: Api) -> None:
    death = make_letter_of("1")
    locked.stores.dead_letters.record_many([death])
    log_in(locked)
    letter = f"/admin/dlq/{quote(death.item_id, safe='')}"
    for path in ("/", "/admin/dlq", letter):
        for one in (api, locked):
            assert "/docs" in Page(one.show_page(path)).links()
    assert "/docs#/Dead%20letters" in Page(locked.show_page(letter)).links()
