"""What people do at the dashboard, in a real browser, on real processes and stores."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.acceptance.browser.conftest import Visit, let_mongodb_refuse
from tests.acceptance.browser.legibility import find_illegible
from tests.chromium import Visitor
from tests.fake_publisher import POISON, render
from tests.feeds.make_feed import make_feed
from tests.processes import HEAVY_QUEUE, QUEUE, Deploy, Deployment, deployment, wait_until
from tests.publisher import Publisher

PICTURE = Path(__file__).parents[3] / "docs" / "dashboard.png"
IS_PICTURE_TAKEN = os.environ.get("FEEDMILL_KEEP_PICTURES") == "all"
# So slow that the bar is seen moving.
SETTINGS = {
    "WORKER_RATE_LIMIT_MAX": "10",
    "WORKER_FLUSH_MS": "200",
    "JOB_ATTEMPTS": "1",
    "HEAVY_ITEMS": "1000",
}
ITEMS = 50
# For a picture with something to see: one has ended, one is heavy and has a queue of its own.
PICTURED_ITEMS = {"town-gazette": 120, "quay-jobs": 900, "harbour-notices": 1500}


@pytest.fixture(scope="module")
def shared_service(module_deploy: Deploy) -> Deployment:
    deployed = module_deploy(**SETTINGS)
    deployed.start_server()
    deployed.start_worker()
    return deployed


@pytest.fixture
def service(shared_service: Deployment) -> Iterator[Deployment]:
    """A service without feeds; what a test imports may still be there in later ones."""
    yield shared_service
    for name in (QUEUE, HEAVY_QUEUE):
        shared_service.api.post(f"/queues/{name}/resume")
    for feed in shared_service.api.get("/feeds").json()["items"]:
        shared_service.api.delete(f"/feeds/{feed['source']}")


def read_settled(visitor: Visitor) -> int:
    """How many items the bar's caption says are done; 0 while it says anything else."""
    caption = visitor.page.locator("#progress .card-header").inner_text()
    found = re.search(r"([\d,]+) of [\d,]+ items done", caption)
    return int(found[1].replace(",", "")) if found else 0


def expect_completed(visitor: Visitor) -> None:
    expect(visitor.page.locator("#progress .badge")).to_have_text("completed")


def test_a_feed_is_added_and_imported_while_its_bar_moves(
    service: Deployment, publisher: Publisher, visit: Visit
) -> None:
    url = publisher.serve("/quay.xml", make_feed(ITEMS))
    visitor = visit(service)
    page = visitor.page

    visitor.open("/")
    visitor.link("Add the first feed").click()
    page.get_by_label("Add a feed").last.fill(url)
    visitor.button("Add").click()
    expect(visitor.message()).to_contain_text("is added and is being imported")
    page.locator("#imports").get_by_role("link").first.click()

    seen = [wait_until(lambda: read_settled(visitor), "the bar has begun to move")]
    visitor.keep_picture("story-import-runs")
    seen.append(wait_until(lambda: max(read_settled(visitor) - seen[0], 0), "it goes on moving"))
    assert 0 < seen[0] < ITEMS
    expect_completed(visitor)
    expect(page.locator("#progress .legend")).to_contain_text(f"{ITEMS} new")

    publisher.serve("/quay.xml", make_feed(ITEMS + 1))
    visitor.link("Feeds").click()
    visitor.button("Import now").click()
    expect_completed(visitor)
    expect(page.locator("#progress .legend")).to_contain_text("1 new")

    page.get_by_role("main").get_by_role("link", name="Items", exact=True).click()
    page.get_by_role("table").get_by_role("link", name=f"({ITEMS + 1})").first.click()
    expect(page.get_by_role("heading", level=1)).to_contain_text(f"({ITEMS + 1})")
    text = page.frame_locator("iframe.content").first
    expect(text.get_by_text(f"number {ITEMS + 1}")).to_be_visible()
    visitor.keep_picture("story-item")
    for theme in ("light", "dark"):
        visitor.button("Theme:", exact=False).click()
        expect(visitor.button("Theme:", exact=False)).to_contain_text(theme)
    expect(text.locator("body")).to_have_css("color", "rgb(228, 233, 231)")


def test_a_dead_letter_is_opened_replayed_and_leaves_the_list(
    service: Deployment, publisher: Publisher, visit: Visit
) -> None:
    url = publisher.serve("/feed.xml", render({"a": "fine", "b": f"{POISON} of the well"}))
    let_mongodb_refuse(service, POISON)
    service.api.post("/feeds", json={"url": url, "source": "well"})
    service.wait_until_closed(service.start_import(sources=["well"]))
    visitor = visit(service)
    page = visitor.page

    visitor.open("/")
    visitor.keep_picture("story-dead-overview")
    visitor.link("Dead letters").click()
    cause = page.get_by_role("article")
    expect(cause).to_have_count(1)
    expect(cause).to_contain_text("1 dead")
    visitor.keep_picture("story-dead-causes")
    cause.get_by_role("link", name="Show it").click()
    page.get_by_role("table").get_by_role("link", name=f"{POISON} of the well").click()
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{POISON} of the well")
    expect(page.get_by_role("main")).to_contain_text("well#b")
    visitor.keep_picture("story-dead-letter")

    let_mongodb_refuse(service, None)
    visitor.button("Replay").click()
    expect(visitor.message()).to_contain_text("Replaying 1 dead letter")
    visitor.link("See its import").click()
    expect_completed(visitor)
    visitor.link("Dead letters").click()
    expect(page.get_by_role("main")).to_contain_text("No dead letters.")
    visitor.open("/admin/items/well%23b")
    expect(page.get_by_role("heading", level=1)).to_have_text(f"{POISON} of the well")


def expect_fold_outlives_refresh(visitor: Visitor) -> None:
    """Unfold the other troubles, and wait until their part of the page is replaced."""
    more = visitor.page.locator("#more-troubles")
    more.locator("summary").click()
    visitor.page.locator("#now").evaluate("part => { part.dataset.isOld = 'yes'; }")
    expect(visitor.page.locator("#now:not([data-is-old])")).to_be_visible()
    expect(more).to_have_attribute("open", "")


def test_a_queue_is_paused_and_resumed_and_says_what_limits_it(
    service: Deployment, publisher: Publisher, visit: Visit
) -> None:
    url = publisher.serve("/feed.xml", make_feed(ITEMS))
    visitor = visit(service)
    visitor.open("/admin/queues")
    queue = visitor.page.get_by_role("region", name="job_import_queue", exact=True)
    queue.get_by_role("button", name="Pause").click()
    main = visitor.page.get_by_role("main")
    expect(main).to_contain_text("Paused by an operator.")
    expect(visitor.message()).to_contain_text("is paused. Running jobs are finished")

    service.start_import(url=url)
    service.api.post("/queues/job_import_queue_heavy/pause")
    visitor.open("/")
    expect(main).to_contain_text("paused by an operator")
    visitor.keep_picture("story-paused-overview")
    expect_fold_outlives_refresh(visitor)
    visitor.link("Queues").click()
    expect(queue).to_contain_text(f"{ITEMS} waiting")
    visitor.link("job_import_queue").click()
    visitor.button("Resume").click()
    expect(main).to_contain_text(re.compile("rate limit", re.IGNORECASE))
    expect(main).to_contain_text("Nothing waits.")


def try_out_in_the_api_reference(visitor: Visitor) -> None:
    visitor.link("API").click()
    operation = visitor.page.locator("#operations-Feeds-list_feeds")
    operation.get_by_role("button").first.click()
    operation.get_by_role("button", name="Try it out").click()
    operation.get_by_role("button", name="Execute").click()
    expect(operation.locator(".live-responses-table")).to_contain_text('"next_cursor": null')
    for theme in ("dark", "light"):
        visitor.choose_theme(theme)
        assert find_illegible(visitor.page) == []
        visitor.keep_picture(f"story-api-{theme}", whole=False)


@pytest.fixture
def locked(service: Deployment, tmp_path: Path) -> Iterator[Deployment]:
    """Another server of the same service, which asks for a key."""
    settings = {**SETTINGS, "API_KEY": "a-key-of-the-harness"}
    with deployment(tmp_path, service.redis_url, service.mongodb_url, **settings) as deployed:
        deployed.start_server()
        yield deployed


def test_the_key_is_asked_once_and_again_after_signing_out(
    locked: Deployment, visit: Visit
) -> None:
    visitor = visit(locked)
    page = visitor.page
    visitor.open("/admin/feeds?q=quay")
    visitor.keep_picture("story-sign-in")
    visitor.expected_statuses.add(401)
    page.get_by_label("API key", exact=True).fill("another")
    page.keyboard.press("Enter")
    expect(visitor.message()).to_contain_text("Wrong key")
    visitor.expected_statuses.clear()

    page.get_by_label("API key", exact=True).fill("a-key-of-the-harness")
    visitor.button("Sign in").click()
    expect(page).to_have_url(re.compile(r"/admin/feeds\?q=quay$"))
    visitor.link("Overview").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Overview")
    try_out_in_the_api_reference(visitor)
    visitor.button("Sign out").click()
    expect(visitor.message()).to_contain_text("Signed out.")
    visitor.open("/")
    expect(page.get_by_label("API key", exact=True)).to_be_focused()


def test_the_page_says_when_the_server_is_away_and_when_it_is_back(
    service: Deployment, publisher: Publisher, visit: Visit
) -> None:
    # While something is imported, the page looks every two seconds.
    import_id = service.start_import(url=publisher.serve("/away.xml", make_feed(20)))
    visitor = visit(service)
    visitor.open("/")
    offline = visitor.page.get_by_text("The server does not answer.")
    expect(offline).to_be_hidden()
    service.roles[0].kill()
    expect(offline).to_be_visible()
    assert visitor.faults
    assert all("net::ERR_" in fault or "htmx" in fault for fault in visitor.faults)
    service.start_server()
    expect(offline).to_be_hidden()
    visitor.faults.clear()
    service.wait_until_closed(import_id)


def test_the_overview_shows_imports_that_run(
    service: Deployment, publisher: Publisher, visit: Visit
) -> None:
    for source, count in PICTURED_ITEMS.items():
        shown = make_feed(count if IS_PICTURE_TAKEN else ITEMS)
        url = publisher.serve(f"/{source}.xml", shown)
        service.api.post("/feeds", json={"url": url, "source": source, "interval_s": 3600})
        service.start_import(sources=[source])
    visitor = visit(service)
    visitor.open("/")
    running = visitor.page.get_by_role("region", name="Running imports")
    expect(running.get_by_role("img")).to_have_count(3)
    expect(visitor.page.locator("#now")).to_contain_text(re.compile("rate limit", re.IGNORECASE))
    if IS_PICTURE_TAKEN:
        wait_until(lambda: service.settled_jobs() > 1000, "there is something to see", within_s=90)
    expect(running).to_contain_text(re.compile(r"\d+ new"))
    visitor.keep_picture("story-overview-runs", whole=False)
    if IS_PICTURE_TAKEN:
        visitor.take_picture(PICTURE, whole=False)
