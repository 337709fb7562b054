"""Help: the documentation within the dashboard."""

from tests.api import Api
from tests.factories import make_letter_of
from tests.pages import get_page

TROUBLESHOOTING = "/admin/help/troubleshooting"


def test_help_lists_its_pages_and_each_can_be_read(api: Api) -> None:
    listed = get_page(api, "/admin/help")
    assert "/admin/help/troubleshooting#failed-imports" in listed.links()
    page = get_page(api, "/admin/help/troubleshooting")
    assert "The host's name was not found" in page.text
    assert page.all("h3", id="dns")
    assert page.all("a", href="/admin/help", **{"aria-current": "page"})


def test_a_help_page_that_does_not_exist_is_not_found(api: Api) -> None:
    assert "/admin/help/nowhere" in get_page(api, "/admin/help/nowhere", 404).text


def test_what_to_do_about_an_error_links_to_its_section(api: Api) -> None:
    api.post("/feeds", {"source": "news", "url": "https://example.org/news.xml"})
    api.stores.feeds.update("news", {"error": "gone: server answered 410"})
    assert f"{TROUBLESHOOTING}#gone" in get_page(api, "/admin/feeds/news").links()
    letter = make_letter_of("7", item_id="news#7", error_type="too_large")
    api.stores.dead_letters.record_many([letter])
    for path in ("/admin/dlq", "/admin/dlq/news%237"):
        assert f"{TROUBLESHOOTING}#item-too_large" in get_page(api, path).links()
