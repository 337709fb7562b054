"""Every page, empty and full, on a phone and a desk, light and dark: it stands without a fault."""

from urllib.parse import quote

import pytest
from playwright.sync_api import expect

from server.dashboard.rendering import STATIC
from tests.acceptance.browser.conftest import Visit, let_mongodb_refuse
from tests.acceptance.browser.legibility import find_illegible, find_squeezed
from tests.chromium import DESKTOP, PAGE, PHONE, Visitor
from tests.fake_publisher import POISON, render
from tests.processes import DEAD_LETTER_QUEUE, QUEUE, Deploy, Deployment
from tests.publisher import Publisher

SIZES = {"phone": PHONE, "desktop": DESKTOP}
PAGES = {
    "overview": "/",
    "imports": "/admin/imports",
    "feeds": "/admin/feeds",
    "feeds-add": "/admin/feeds-add",
    "feeds-opml": "/admin/feeds-opml",
    "queues": "/admin/queues",
    "queue": f"/admin/queues/{QUEUE}",
    "dead-letters": "/admin/dlq",
    "dead-letters-latest": "/admin/dlq?view=latest",
    "items": "/admin/items",
    "items-none-fits": "/admin/items?q=nothing-has-this",
    "settings": "/admin/settings",
}
# Long enough to push a page wider than a phone, unless it is broken.
LONG = "a-word-without-an-end-" * 12
# A Sunday noon in Lisbon, where it is summer: UTC is an hour behind.
NOW = "2026-06-07T11:00:00Z"
TIMES = [
    (NOW, "now"),
    ("2026-06-07T11:00:45Z", "in 45 s"),
    ("2026-06-07T10:58:03Z", "2 min ago"),
    ("2026-06-07T11:59:50Z", "in 1 h"),
    ("2026-06-07T12:57:00Z", "in 1 h 57 min"),
    ("2026-06-07T08:00:00Z", "3 h ago"),
    ("2026-06-08T08:50:00Z", "in 22 h"),
    ("2026-06-08T11:00:00Z", "tomorrow"),
    ("2026-06-08T22:59:00Z", "tomorrow"),
    ("2026-06-08T23:00:00Z", "in 2 days"),
    ("2026-06-09T10:30:00Z", "in 2 days"),
    ("2026-06-05T23:00:00Z", "yesterday"),
    ("2026-06-05T22:59:00Z", "2 days ago"),
    ("2026-06-13T11:00:00Z", "in 6 days"),
    ("2026-06-14T11:00:00Z", "Jun 14, 2026, 12:00 PM"),
]


def look_at(visitor: Visitor) -> list[str]:
    """Return what is wrong with how a page is laid out in this window, whatever the theme."""
    wrong = find_squeezed(visitor.page)
    if sideways_px := visitor.sideways_px():
        wrong.append(f"it can be scrolled {sideways_px} px to the side")
    if (titles := visitor.page.locator("h1:visible").count()) != 1:
        wrong.append(f"it has {titles} titles")
    return wrong


def look_at_all(visitor: Visitor, prefix: str, pages: dict[str, str]) -> list[str]:
    """Open each page, and look at it in each size and theme.

    Pictures are kept of the phone in the dark and the desk in the light.
    """
    wrong = []
    for page, path in pages.items():
        visitor.open(path)
        for device, size in SIZES.items():
            visitor.resize(size)
            wrong += [f"{page} ({device}): {each}" for each in look_at(visitor)]
            for theme in ("light", "dark") if device == "phone" else ("dark", "light"):
                visitor.choose_theme(theme)
                found = find_illegible(visitor.page)
                wrong += [f"{page} ({device}, {theme}): {each}" for each in found]
            visitor.keep_picture(f"{prefix}-{device}-{page}")
    return wrong


def fill(deployed: Deployment, publisher: Publisher) -> dict[str, str]:
    """Leave something of everything there; return the paths of it."""
    items = {"a": "Fine", "long": f"Long {LONG}", LONG: "Odd", "bad": f"{POISON} {LONG}"}
    url = publisher.serve(f"/feed.xml?of={LONG}", render(items))
    deployed.start_worker()
    let_mongodb_refuse(deployed, POISON)
    deployed.api.post("/feeds", json={"url": url, "source": "well"})
    import_id = deployed.start_import(sources=["well"])
    deployed.wait_until_closed(import_id)
    missing = deployed.start_import(url=publisher.url("/gone.xml"), source="gone")
    deployed.wait_until_closed(missing)
    add_windowed(deployed, publisher)
    dead = quote("well#bad")
    return {
        "feed": "/admin/feeds/well",
        "feed-edit": "/admin/feeds/well/edit",
        "feed-windowed": "/admin/feeds/windowed",
        "import": f"/admin/imports/{import_id}",
        "import-failed": f"/admin/imports/{missing}",
        "dead-letter": f"/admin/dlq/{dead}",
        "dead-queue": f"/admin/queues/{DEAD_LETTER_QUEUE}",
        "job": f"/admin/queues/{DEAD_LETTER_QUEUE}/jobs/{dead}",
        "item": f"/admin/items/{quote('well#a')}",
        "item-long": f"/admin/items/{quote('well#' + LONG)}",
    }


def add_windowed(deployed: Deployment, publisher: Publisher) -> None:
    """Leave a feed with a window and a back-fill; the publisher has nothing for either."""
    year = {"from": "2022-01-01T00:00:00Z", "step_s": 366 * 86400}
    url = publisher.url("/by-time.xml?from={start}")
    deployed.api.post("/feeds", json={"url": url, "source": "windowed", "window": year})
    deployed.api.post("/feeds/windowed/backfill", json={"from": "2012-01-01T00:00:00Z"})


@pytest.fixture(scope="module")
def service(module_deploy: Deploy) -> Deployment:
    """A server without anything; the tests that leave something there come last."""
    deployed = module_deploy(JOB_ATTEMPTS="1", WORKER_FLUSH_MS="50")
    deployed.start_server()
    return deployed


def test_every_page_stands_while_there_is_nothing(service: Deployment, visit: Visit) -> None:
    visitor = visit(service)
    wrong = look_at_all(visitor, "empty", PAGES)
    visitor.expected_statuses.add(404)
    wrong += look_at_all(visitor, "empty", {"no-such-page": "/admin/nowhere"})
    assert wrong == []


def test_text_that_cannot_be_read_is_found(service: Deployment, visit: Visit) -> None:
    visitor = visit(service)
    visitor.open("/")
    assert find_illegible(visitor.page) == []
    visitor.page.evaluate("document.querySelector('h1').style.color = '#ccc'")
    [found] = find_illegible(visitor.page)
    assert 'of "Overview"' in found


def test_the_theme_is_chosen_and_stays(service: Deployment, visit: Visit) -> None:
    visitor = visit(service)
    visitor.open("/admin/items")
    ground = "getComputedStyle(document.body).backgroundColor"
    light = visitor.page.evaluate(ground)
    for shown in ("light", "dark"):
        visitor.button("Theme:", exact=False).click()
        expect(visitor.button("Theme:", exact=False)).to_contain_text(shown)
    dark = visitor.page.evaluate(ground)
    assert dark != light
    visitor.open("/admin/feeds")
    assert visitor.page.evaluate(ground) == dark


def test_times_are_shown_by_how_far_off_they_are_and_by_the_calendar_of_the_viewer(
    window: Visitor,
) -> None:
    window.page.add_script_tag(path=STATIC / "app.js")
    shown = window.page.evaluate(
        "([now, moments]) => moments.map((at) => describeTime(new Date(at), new Date(now)))",
        [NOW, [moment for moment, _ in TIMES]],
    )
    # Some versions put a narrow space before PM.
    assert [text.replace("\u202f", " ") for text in shown] == [text for _, text in TIMES]


def test_a_keyboard_is_enough(service: Deployment, publisher: Publisher, visit: Visit) -> None:
    url = publisher.serve("/known.xml", render({"a": "Fine"}))
    service.api.post("/feeds", json={"url": url, "source": "known"})
    visitor = visit(service)
    keyboard, page = visitor.page.keyboard, visitor.page
    visitor.open("/admin/feeds")
    reached = []
    for _ in range(40):
        keyboard.press("Tab")
        reached.append(visitor.focus())
    names = [name for name, _ in reached]
    wanted = [
        "Skip to the content",
        "Overview",
        "Import all now",
        "Add a feed",
        "Show",
        "Import now",
    ]
    assert [name for name in wanted if name not in names] == []
    assert [name for name, is_seen in reached if name != PAGE and not is_seen] == []

    page.locator("body").click(position={"x": 1, "y": 1})
    keyboard.press("?")
    expect(page.locator("#shortcuts")).to_be_visible()
    keyboard.press("Escape")
    expect(page.locator("#shortcuts")).to_be_hidden()
    keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    page.get_by_role("searchbox").blur()
    keyboard.press("g")
    keyboard.press("q")
    expect(page.get_by_role("heading", level=1)).to_have_text("Queues")


def test_every_page_stands_while_there_is_something(
    service: Deployment, publisher: Publisher, visit: Visit
) -> None:
    pages = fill(service, publisher)
    assert look_at_all(visit(service), "full", PAGES | pages) == []
