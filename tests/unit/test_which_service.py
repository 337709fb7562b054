"""Which service a command talks to, and when it names it."""

import os
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from shared.running import Running, write_running
from tests.stub_service import StubService
from tests.typed import Run


@pytest.fixture(autouse=True)
def _one_queue_list(service: StubService) -> None:
    service.answer("/queues", 200, {"items": [], "next_cursor": None})


def write_file(folder: Path, url: str) -> None:
    folder.mkdir()
    write_running(folder, Running(os.getpid(), url, "redis://r", "mongodb://m"))


def test_service_that_a_variable_names_is_named_beside_the_answer(
    service: StubService, feedmill: Run
) -> None:
    done = feedmill("queue", "status", "--json")
    assert done.named_service == f"Service: {service.url} (from FEEDMILL_URL)\n"
    assert (done.json, done.stderr) == ([], "")


def test_own_service_of_the_current_folder_is_not_named(
    service: StubService, feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEEDMILL_URL")
    monkeypatch.delenv("DATA_DIR", raising=False)
    write_file(Path("data"), service.url)
    assert feedmill("queue", "status").named_service == ""


def test_service_of_another_folder_is_named_with_its_file(
    service: StubService, feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEEDMILL_URL")
    monkeypatch.setenv("DATA_DIR", "elsewhere")
    write_file(Path("elsewhere"), service.url)
    done = feedmill("queue", "status")
    assert done.named_service == f"Service: {service.url} (from elsewhere/feedmill.json)\n"


def test_service_at_the_port_alone_is_named(
    service: StubService, feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("FEEDMILL_URL")
    monkeypatch.delenv("DATA_DIR", raising=False)
    monkeypatch.setenv("PORT", str(urlsplit(service.url).port))
    named = feedmill("queue", "status").named_service
    assert named == (
        f"Service: {service.url} (from HOST and PORT; there is no data/feedmill.json)\n"
    )


def test_service_that_does_not_answer_is_an_error_that_says_what_names_it(
    feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDMILL_URL", "http://127.0.0.1:1")
    done = feedmill("queue", "status")
    assert (done.code, done.named_service) == (1, "")
    assert done.stderr == (
        "feedmill: no Feedmill answers at http://127.0.0.1:1, which FEEDMILL_URL names\n"
    )
