"""A visitor in the machine's Chromium; whatever goes wrong in the pages fails the test."""

import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from playwright.sync_api import expect
from pymongo import MongoClient

from shared.queue import RedisConnection
from tests.chromium import SCREENSHOTS, Visitor, chromium_running, find_chromium
from tests.processes import Deploy, Deployment, deployment

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


@pytest.fixture(scope="module")
def deploy_once(
    tmp_path_factory: pytest.TempPathFactory,
    valkey_url: str,
    session_redis_client: RedisConnection,
    mongodb_url: str,
    session_mongo_client: MongoClient[dict[str, Any]],
) -> Iterator[Deploy]:
    """As ``deploy``, for all tests of a module."""
    session_redis_client.flushdb()
    name = f"test_{uuid.uuid4().hex[:16]}"
    with ExitStack() as stack:

        def build(**settings: str) -> Deployment:
            folder, url = tmp_path_factory.mktemp("deployed"), f"{mongodb_url}/{name}"
            return stack.enter_context(deployment(folder, valkey_url, url, **settings))

        yield build
    session_mongo_client.drop_database(name)


def let_mongodb_refuse(deployed: Deployment, title: str | None) -> None:
    """Let a schema of the operator's refuse titles that begin so; None: let it take all."""
    validator = {"title": {"$not": {"$regex": f"^{title}"}}} if title is not None else {}
    database = deployed.mongo.get_default_database()
    database.command("collMod", "items", validator=validator)
