"""``feedmill doctor`` as it is typed, without stores: they are not running in an empty folder."""

from importlib.metadata import version

import pytest

from tests.stub_service import StubService
from tests.typed import Done, Run


def levels(done: Done, group: str) -> dict[str, str]:
    """Return the levels of a group's checks."""
    found = [each for each in done.json["findings"] if each["group"] == group]
    return {each["check"]: each["level"] for each in found}


def answer_as(service: StubService, service_version: str) -> None:
    service.answer("/readyz", 200, {"status": "ok"})
    service.answer("/openapi.json", 200, {"info": {"version": service_version}})


def test_doctor_works_while_nothing_runs(feedmill: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("FEEDMILL_URL")
    monkeypatch.setenv("PORT", "1")
    done = feedmill("doctor", "--json")
    assert (done.code, done.json["status"], done.stderr) == (0, "warning", "")
    assert levels(done, "Redis") == {"reachable": "warning"}
    assert levels(done, "MongoDB") == {"reachable": "warning"}
    assert levels(done, "service") == {"answers": "warning"}


def test_service_that_is_named_and_silent_is_a_problem(
    feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEEDMILL_URL", "http://127.0.0.1:1")
    done = feedmill("doctor", "--json")
    assert done.code == 1
    assert levels(done, "service") == {"answers": "problem"}


def test_service_of_this_version_is_fine(service: StubService, feedmill: Run) -> None:
    answer_as(service, version("feedmill"))
    done = feedmill("doctor", "--json")
    assert done.code == 0
    assert levels(done, "service") == {"answers": "ok", "version": "ok"}


def test_private_addresses_are_those_of_the_running_service(
    service: StubService, feedmill: Run
) -> None:
    answer_as(service, version("feedmill"))
    setting = {"name": "FETCH_ALLOW_PRIVATE", "value": True}
    service.answer("/settings", 200, {"groups": [{"name": "Fetching", "settings": [setting]}]})
    found = levels(feedmill("doctor", "--json"), "settings")
    assert found["FETCH_ALLOW_PRIVATE"] == "warning"


def test_service_of_another_version_is_a_warning(service: StubService, feedmill: Run) -> None:
    answer_as(service, "0.0.1")
    done = feedmill("doctor")
    assert done.code == 0
    assert f"it is Feedmill 0.0.1, this is {version('feedmill')}" in done.stdout
    assert "→ run one version everywhere" in done.stdout


def test_service_that_refuses_the_key_is_a_problem(service: StubService, feedmill: Run) -> None:
    service.answer("/readyz", 200, {"status": "ok"})
    service.refuse("/openapi.json", 401, "no key")
    done = feedmill("doctor", "--json")
    assert done.code == 1
    assert levels(done, "service") == {"answers": "ok", "version": "problem"}


def test_wrong_settings_are_a_finding_each_and_nothing_else_is_looked_at(
    feedmill: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("WORKER_LOCK_MS", "900")
    monkeypatch.setenv("PORT", "x")
    done = feedmill("doctor", "--json")
    assert (done.code, done.json["status"]) == (1, "problem")
    texts = [each["text"] for each in done.json["findings"]]
    assert [text.partition("=")[0] for text in texts] == ["WORKER_LOCK_MS", "PORT"]


@pytest.mark.parametrize("url", ["redis://:s3cr3t@127.0.0.1:1/0", "redis://me:s3cr3t@no.invalid"])
def test_no_password_is_shown(feedmill: Run, monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("MONGODB_URL", "mongodb://me:s3cr3t@127.0.0.1:1/x?connectTimeoutMS=100")
    monkeypatch.setattr("shared.store.database.SERVER_SELECTION_TIMEOUT_MS", 200)
    done = feedmill("doctor")
    assert done.code == 1
    assert "s3cr3t" not in done.stdout + done.stderr
    assert done.stdout.count("reachable") == 2
