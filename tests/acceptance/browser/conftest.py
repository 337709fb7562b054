"""Visitors in the machine's Chromium; whatever goes wrong in their pages fails the test."""

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, expect

from tests.chromium import Visitor, chromium_running, find_chromium
from tests.processes import Deployment

Visit = Callable[[Deployment], Visitor]


# For a module, not the whole run: where Playwright works, no other test can run an event loop.
@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    executable = find_chromium()
    if executable is None:
        pytest.skip("no Chromium on this machine (Debian: apt-get install chromium)")
    expect.set_options(timeout=20_000)
    with chromium_running(executable) as browser:
        yield browser


@pytest.fixture
def visit(chromium: Browser) -> Iterator[Visit]:
    """Call it with a deployment to get a visitor of its server."""
    visitors: list[Visitor] = []

    def come(deployed: Deployment) -> Visitor:
        visitor = Visitor(chromium, f"http://127.0.0.1:{deployed.port}")
        visitors.append(visitor)
        return visitor

    yield come
    for visitor in visitors:
        visitor.close()
    assert [fault for visitor in visitors for fault in visitor.faults] == []


def let_mongodb_refuse(deployed: Deployment, title: str | None) -> None:
    """Let a schema of the operator's refuse titles that begin so; None: let it take all."""
    validator = {"title": {"$not": {"$regex": f"^{title}"}}} if title is not None else {}
    database = deployed.mongo.get_default_database()
    database.command("collMod", "items", validator=validator)
