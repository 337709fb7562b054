"""Every page of a service in use, at two sizes and in two themes: pictures, and what is wrong.

The pictures that ``make pictures`` takes are in ``.ci/out/screenshots``, named
``scene-SIZE-THEME-PAGE.png``.
"""

import time
from datetime import UTC, datetime
from urllib.parse import quote

import pytest

from shared.store import Stores, open_database
from tests.acceptance.browser.conftest import Visit
from tests.acceptance.browser.legibility import find_cut, find_illegible, find_overlapping
from tests.acceptance.browser.test_browser_looks import add_windowed, look_at
from tests.chromium import PHONE, Visitor
from tests.fake_publisher import render
from tests.processes import DEAD_LETTER_QUEUE, QUEUE, Deploy, Deployment, wait_until
from tests.publisher import Answer, Publisher
from tests.scene import Scene, make_scene

SIZES = {"desktop": (1280, 800), "phone": PHONE}
THEMES = ("light", "dark")
# A page's first look, on a machine that does other things too.
ANSWERS_WITHIN_S = 1.0
# Items of an import that runs while the pictures are taken.
RUNNING_ITEMS = 400


def set_scene(deployed: Deployment, publisher: Publisher) -> Scene:
    """Fill the stores, start the service, and leave an import in each state that is open."""
    database = open_database(deployed.mongodb_url)
    stores = Stores.of(database)
    stores.ensure_indexes()
    mongo = deployed.mongo.get_default_database()
    scene = make_scene(stores, mongo, datetime.now(UTC).replace(microsecond=0))
    database.close()
    deployed.start_server()
    deployed.start_worker()
    add_windowed(deployed, publisher)
    leave_open(deployed, publisher)
    return scene


def leave_open(deployed: Deployment, publisher: Publisher) -> None:
    """Leave one import importing, one fetching, which takes the only place, and one queued."""
    items = {str(number): f"Headline {number}" for number in range(RUNNING_ITEMS)}
    running = deployed.start_import(
        url=publisher.serve("/running.xml", render(items)), source="running"
    )
    wait_for_state(deployed, running, "importing")
    publisher.answer("/slow.xml", Answer(hang=True))
    slow = deployed.start_import(url=publisher.url("/slow.xml"), source="slow")
    wait_for_state(deployed, slow, "fetching")
    deployed.start_import(url=publisher.url("/later.xml"), source="later")


def wait_for_state(deployed: Deployment, import_id: str, state: str) -> None:
    wait_until(lambda: deployed.see_import(import_id).get("state") == state, f"it is {state}")


def pages_of(scene: Scene) -> dict[str, str]:
    """Return the paths to look at, by the names of their pictures."""
    source = scene.feeds[0].source
    cause = quote(scene.cause, safe="")
    return {
        "overview": "/",
        "imports": "/admin/imports",
        "imports-none": "/admin/imports?source=nobody",
        "import": f"/admin/imports/{scene.completed_import}",
        "import-failed": f"/admin/imports/{scene.failed_import}",
        "feeds": "/admin/feeds",
        "feeds-none": "/admin/feeds?q=nothing-has-this",
        "feeds-add": "/admin/feeds-add",
        "feeds-opml": "/admin/feeds-opml",
        "feed": f"/admin/feeds/{source}",
        "feed-failing": f"/admin/feeds/{scene.feeds[3].source}",
        "feed-windowed": "/admin/feeds/windowed",
        "feed-edit": f"/admin/feeds/{source}/edit",
        "queues": "/admin/queues",
        "queue": f"/admin/queues/{QUEUE}",
        "queue-dead": f"/admin/queues/{DEAD_LETTER_QUEUE}",
        "dead-letters": "/admin/dlq",
        "dead-letters-of-source": f"/admin/dlq?source={source}",
        "dead-letters-latest": "/admin/dlq?view=latest",
        "dead-letters-of-cause": f"/admin/dlq?cause={cause}",
        "dead-letter": f"/admin/dlq/{quote(scene.dead_letter, safe='')}",
        "dead-letter-too-large": f"/admin/dlq/{quote(scene.too_large_letter, safe='')}",
        "items": "/admin/items",
        "items-of-source": f"/admin/items?source={source}",
        "items-none": "/admin/items?source=nobody",
        "item": f"/admin/items/{quote(scene.item, safe='')}",
        "settings": "/admin/settings",
        "help": "/admin/help",
        "help-troubleshooting": "/admin/help/troubleshooting",
        "api": "/docs",
    }


def look_at_pages(visitor: Visitor, pages: dict[str, str]) -> list[str]:
    """Look at each page in each size and theme; return what is wrong."""
    wrong = []
    for device, size in SIZES.items():
        visitor.resize(size)
        for page, path in pages.items():
            visitor.open(path)
            found = look_at(visitor)
            for theme in THEMES:
                visitor.choose_theme(theme)
                found += [f"{theme}: {each}" for each in find_illegible(visitor.page)]
                visitor.keep_picture(f"scene-{device}-{theme}-{page}")
            found += find_cut(visitor.page) + find_overlapping(visitor.page)
            wrong += [f"{page} ({device}): {each}" for each in found]
    return wrong


def find_slow(deployed: Deployment, pages: dict[str, str]) -> list[str]:
    """Return the pages that take too long each of three times."""
    wrong = []
    for page, path in pages.items():
        took_s = min(time_answer(deployed, path) for _ in range(3))
        if took_s > ANSWERS_WITHIN_S:
            wrong.append(f"{page}: it took {took_s:.1f} s")
    return wrong


def time_answer(deployed: Deployment, path: str) -> float:
    started_s = time.monotonic()
    answer = deployed.api.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return time.monotonic() - started_s


def find_late_rows(visitor: Visitor) -> list[str]:
    """Return the lists whose first row is not within a phone's first screen."""
    visitor.resize(PHONE)
    wrong = []
    for path in ("/admin/feeds", "/admin/items", "/admin/imports"):
        visitor.open(path)
        bar = visitor.page.locator("nav.places").bounding_box()
        row = visitor.page.locator("main tbody tr").first.bounding_box()
        assert bar is not None
        assert row is not None
        ends_at, free = row["y"] + row["height"], bar["y"]
        if ends_at > free:
            wrong.append(f"{path}: the first row ends at {ends_at:.0f} px of {free:.0f}")
    return wrong


@pytest.mark.long
@pytest.mark.timeout(900)
def test_every_page_of_a_service_in_use_stands_at_two_sizes_and_in_two_themes(
    deploy: Deploy, publisher: Publisher, visit: Visit
) -> None:
    deployed = deploy(
        WORKER_RATE_LIMIT_MAX="1", FETCH_CONCURRENCY="1", FETCH_TIMEOUT_S="280",
        WORKER_FLUSH_MS="50",
    )  # fmt: skip
    pages = pages_of(set_scene(deployed, publisher))
    visitor = visit(deployed)
    wrong = find_late_rows(visitor) + look_at_pages(visitor, pages) + find_slow(deployed, pages)
    assert not wrong, "\n".join(wrong)
