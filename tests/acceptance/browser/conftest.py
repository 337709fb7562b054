"""A visitor in the machine's Chromium; whatever goes wrong in the pages fails the test."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.chromium import SCREENSHOTS, Visitor, chromium_running, find_chromium
from tests.processes import Deployment

Visit = Callable[[Deployment], Visitor]


# For a module, not the whole run: where Playwright works, no other test can run an event loop.
@pytest.fixture(scope="module")
def window() -> Iterator[Visitor]:
    """One window for all visitors of a module, in turn."""
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    expect.set_options(timeout=20_000)
    with chromium_running(executable) as browser:
        yield Visitor(browser)


@pytest.fixture
def visit(window: Visitor, request: pytest.FixtureRequest) -> Iterator[Visit]:
    """Call it with a deployment to get a new visitor of its server.

    What a visitor sees when the test fails is kept as a picture.
    """

    def come(deployed: Deployment) -> Visitor:
        window.come(f"http://127.0.0.1:{deployed.port}")
        return window

    failed_before = request.session.testsfailed
    yield come
    if request.session.testsfailed > failed_before:
        window.take_picture(SCREENSHOTS / f"failed-{request.node.name}.png")
    assert window.leave() == []


def let_mongodb_refuse(deployed: Deployment, title: str | None) -> None:
    """Let a schema of the operator's refuse titles that begin so; None: let it take all."""
    validator = {"title": {"$not": {"$regex": f"^{title}"}}} if title is not None else {}
    database = deployed.mongo.get_default_database()
    database.command("collMod", "items", validator=validator)
