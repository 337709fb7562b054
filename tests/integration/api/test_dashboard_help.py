"""Help: the documentation within the dashboard."""

from tests.api import Api
from tests.pages import get_page


def test_help_lists_its_pages_and_each_can_be_read(api: Api) -> None:
    listed = get_page(api, "/admin/help")
    assert "/admin/help/troubleshooting#failed-imports" in listed.links()
    page = get_page(api, "/admin/help/troubleshooting")
    assert "The host's name was not found" in page.text
    assert page.all("h3", id="dns")
    assert page.all("a", href="/admin/help", **{"aria-current": "page"})


def test_a_help_page_that_does_not_exist_is_not_found(api: Api) -> None:
    assert "/admin/help/nowhere" in get_page(api, "/admin/help/nowhere", 404).text
