"""Hosts that limit the rate: seen over HTTP and on the dashboard, and asked again early."""

from datetime import timedelta
from urllib.parse import quote

from tests.api import Api
from tests.pages import get_page, post_form

HOST = "news.example"
PATH = f"/hosts/{quote(HOST, safe='')}"


def hold(api: Api) -> None:
    api.post("/feeds", {"url": f"https://{HOST}/feed", "source": "news"})
    api.stores.hosts.block(HOST, api.services.clock.now() + timedelta(hours=2))


def test_a_held_host_is_listed_and_lifted(api: Api) -> None:
    hold(api)
    [shown] = api.client.get("/hosts").json()["items"]
    assert shown == {"host": HOST, "retry_after_until": "2026-11-01T14:00:00.000Z", "feeds": 1}
    assert api.client.delete(PATH).status_code == 204
    assert api.client.get("/hosts").json() == {"items": [], "next_cursor": None}
    missing = api.client.delete(PATH)
    assert missing.status_code == 404
    assert HOST in missing.json()["detail"]


def test_a_held_host_is_shown_and_lifted_on_the_page_of_feeds(api: Api) -> None:
    assert "Rate-limited" not in get_page(api, "/admin/feeds").text
    hold(api)
    page = get_page(api, "/admin/feeds")
    assert f"Rate-limited by {HOST} until 2026-11-01 14:00:00 UTC 1 feed" in page.text
    assert "Ask again now" in page.text
    post_form(api, "/admin/hosts-lift", host=HOST)
    assert api.stores.hosts.find_blocked(api.services.clock.now(), 10) == {}
    assert "Rate-limited" not in get_page(api, "/admin/feeds").text
