"""``feedmill import`` against a service that answers from a script."""

import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from server.commands.api_client import ApiClient, find_service, quote_id
from server.commands.import_now import run_import
from server.commands.import_run import ImportRun, make_file_source, read_feed_arguments
from shared.errors import InvalidRequestError, ServiceError
from shared.settings import Settings
from tests.stub_service import Call, StubService, make_import, serve_stub
from tests.typed import ask_often


def answer_imports(service: StubService, *states: dict[str, Any]) -> None:
    service.answer("/imports/start", 202, {"imports": [{"id": "i#1"}]})
    for state in states:
        service.answer("/imports/i%231", 200, state)


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    ask_often(monkeypatch)


@pytest.fixture
def service() -> Iterator[StubService]:
    with serve_stub() as stub:
        yield stub


@pytest.fixture
def feed_file(tmp_path: Path) -> Path:
    file = tmp_path / "My Board!.xml"
    file.write_text("<rss/>")
    return file


def import_feeds(
    service: StubService, *feeds: object, as_json: bool = False, **options: Any
) -> tuple[int, str, str]:
    output, messages = io.StringIO(), io.StringIO()
    code = run_import(
        Settings(feedmill_url=service.url, **options.pop("settings", {})),
        [str(feed) for feed in feeds],
        source=options.get("source"),
        force=options.get("force", False),
        as_json=as_json,
        output=Console(file=output, width=20),
        messages=Console(file=messages, width=20),
    )
    return code, output.getvalue(), messages.getvalue()


def test_import_waits_shows_progress_and_a_summary(service: StubService) -> None:
    answer_imports(
        service,
        make_import("queued"),
        make_import("importing", counts={"fetched": 3, "pending": 3}),
        make_import(counts={"fetched": 3, "new": 1, "updated": 1, "unchanged": 1}),
    )
    code, output, messages = import_feeds(service, "https://lwn.net/feed")
    assert code == 0
    assert messages.splitlines() == ["lwn: queued", "lwn: importing", "lwn: completed"]
    header, row = (line.split() for line in output.splitlines())
    assert header[:5] == ["source", "state", "fetched", "new", "updated"]
    assert "pending" not in header
    assert row == ["lwn", "completed", "3", "1", "1", "1", "0", "0", "0", "0"]


def test_url_is_sent_as_written(service: StubService) -> None:
    answer_imports(service, make_import())
    import_feeds(service, "HTTPS://lwn.net/feed?a=1&b=%20", source="lwn", force=True)
    body = {
        "url": "HTTPS://lwn.net/feed?a=1&b=%20",
        "source": "lwn",
        "force": True,
        "trigger": "cli",
    }
    assert service.calls[1] == Call("POST", "/imports/start", body, None)


def test_file_is_sent_under_a_source_from_its_name(service: StubService, feed_file: Path) -> None:
    answer_imports(service, make_import())
    import_feeds(service, feed_file)
    body = {"document": "<rss/>", "source": "my-board", "force": False, "trigger": "cli"}
    assert service.calls[1].body == body


def test_file_in_another_encoding_is_decoded_as_it_declares(
    service: StubService, tmp_path: Path
) -> None:
    text = '<?xml version="1.0" encoding="ISO-8859-1"?><t>café</t>'
    file = tmp_path / "a.xml"
    file.write_bytes(text.encode("latin-1"))
    answer_imports(service, make_import())
    import_feeds(service, file)
    assert service.calls[1].body["document"] == text.replace("ISO-8859-1", "utf-8")


def test_not_modified_is_printed(service: StubService) -> None:
    answer_imports(service, make_import(not_modified=True))
    code, output, _ = import_feeds(service, "https://lwn.net/feed")
    assert code == 0
    assert "completed (not modified)" in output


@pytest.mark.parametrize(
    ("ended", "said"),
    [
        (make_import("failed", error="server answered 404"), "lwn: server answered 404"),
        (make_import(counts={"fetched": 1, "dead": 1}), "lwn: 1 dead"),
    ],
    ids=["failed", "dead"],
)
def test_failure_and_dead_items_end_with_1(
    service: StubService, ended: dict[str, Any], said: str
) -> None:
    answer_imports(service, ended)
    code, output, _ = import_feeds(service, "https://lwn.net/feed")
    assert code == 1
    assert said in output


def test_feed_that_cannot_be_started_does_not_keep_others_from_it(
    service: StubService, feed_file: Path
) -> None:
    service.answer("/imports/start", 422, {"detail": "127.0.0.1 is a private address"})
    answer_imports(service, make_import())
    code, output, _ = import_feeds(service, "http://127.0.0.1/feed", feed_file)
    assert code == 1
    assert "http://127.0.0.1/feed: not imported: 127.0.0.1 is a private address" in output
    assert "lwn" in output


def test_json_is_all_there_is_on_standard_output(service: StubService) -> None:
    done = make_import(title="[red]a very long title that no console may wrap[/red]")
    answer_imports(service, done)
    code, output, _ = import_feeds(service, "https://lwn.net/feed", as_json=True)
    assert code == 0
    assert json.loads(output) == {"imports": [done], "errors": []}


def test_rate_limit_and_busy_source_are_waited_for(service: StubService, feed_file: Path) -> None:
    service.answer("/imports/start", 429, {"detail": "slow down"}, {"Retry-After": "0"})
    service.answer("/imports/start", 409, {"detail": "still fetching"})
    answer_imports(service, make_import())
    code, _, _ = import_feeds(service, feed_file)
    assert code == 0
    assert [call.path for call in service.calls].count("/imports/start") == 3


def test_what_was_accepted_is_followed_while_the_others_wait_and_the_wait_is_told(
    service: StubService, feed_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.commands.import_run._TOLD_FROM_S", 0.01)
    refusal = "more than 1/minute calls that start work (API_RATE_LIMIT); try again in 1 s"
    service.answer("/imports/start", 202, {"imports": [{"id": "i#1"}]})
    service.answer("/imports/start", 429, {"detail": refusal}, {"Retry-After": "0"})
    service.answer("/imports/start", 202, {"imports": [{"id": "i#2"}]})
    for state in ("queued", "completed"):
        service.answer("/imports/i%231", 200, make_import(state))
    service.answer("/imports/i%232", 200, make_import(id="i#2", source="my-board"))
    code, _, messages = import_feeds(service, "https://lwn.net/feed", feed_file)
    assert code == 0
    assert messages.splitlines() == [
        f"waiting 1 s to import {feed_file}: {refusal}",
        "lwn: queued",
        "lwn: completed",
        "my-board: completed",
    ]
    paths = [call.path for call in service.calls]
    _, refused, accepted = (at for at, path in enumerate(paths) if path == "/imports/start")
    assert "/imports/i%231" in paths[refused:accepted]


def test_a_busy_source_is_told_once_it_has_been_waited_for_so_long(
    service: StubService, feed_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("server.commands.import_run._TOLD_FROM_S", 0.025)
    for _ in range(5):
        service.answer("/imports/start", 409, {"detail": "still fetching"})
    answer_imports(service, make_import())
    _, _, messages = import_feeds(service, feed_file)
    told = f"waiting to import {feed_file}: still fetching"
    assert messages.splitlines() == [told, "lwn: completed"]


def test_rate_limit_that_holds_for_long_is_told_and_not_waited_for(service: StubService) -> None:
    refusal = "more than 1/hour calls that start work (API_RATE_LIMIT); try again in 3579 s"
    service.answer("/imports/start", 429, {"detail": refusal}, {"Retry-After": "3579"})
    code, output, _ = import_feeds(service, "https://lwn.net/feed")
    assert code == 1
    assert refusal in output


def test_taken_source_of_a_url_is_not_waited_for(service: StubService) -> None:
    service.answer("/imports/start", 409, {"detail": "source 'lwn' has another URL"})
    code, output, _ = import_feeds(service, "https://lwn.net/feed", source="lwn")
    assert code == 1
    assert "source 'lwn' has another URL" in output


def test_api_key_is_sent(service: StubService) -> None:
    answer_imports(service, make_import())
    import_feeds(service, "https://lwn.net/feed", settings={"api_key": "k"})
    assert {call.key for call in service.calls} == {"Bearer k"}


def test_wrong_key_prints_what_to_set(service: StubService) -> None:
    service.answer("/feeds", 401, {"detail": "no"})
    with ApiClient(service.url) as client, pytest.raises(ServiceError, match="set API_KEY"):
        client.get("/feeds")


def test_something_else_on_the_port_is_not_taken_for_the_service(service: StubService) -> None:
    service.answers["/healthz"] = [(200, {"Content-Type": "text/html"}, b"hello")]
    settings = Settings(port=service.server_address[1], data_dir=Path("/nonexistent"))
    assert find_service(settings) is None


def test_named_service_that_is_silent_is_an_error() -> None:
    settings = Settings(feedmill_url="http://127.0.0.1:1")
    with pytest.raises(ServiceError, match="which FEEDMILL_URL names"):
        find_service(settings)


@pytest.mark.parametrize(
    ("feeds", "source", "text"),
    [
        (["nofile"], None, "nofile is neither a file nor a URL with http:// or https://"),
        (["ftp://h/f"], None, "ftp://h/f is neither a file nor a URL with http:// or https://"),
        (["/"], None, "/ is a folder: name the files in it"),
        (["http://a", "http://b"], "s", "--source needs exactly one URL or file"),
        (["http://a"], "A b", "--source 'A b' must be 1 to 64 of a-z 0-9 - _ ."),
    ],
)
def test_wrong_usage_is_reported_in_one_line(
    feeds: list[str], source: str | None, text: str
) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        read_feed_arguments(feeds, source)
    assert str(caught.value) == text


def test_two_files_of_one_source_are_refused(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "f.xml").touch()
    files = [str(tmp_path / "a" / "f.xml"), str(tmp_path / "b" / "f.xml")]
    with pytest.raises(InvalidRequestError, match="would both be the source 'f'"):
        read_feed_arguments(files, None)


@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("lwn.xml", "lwn"),
        ("My Board!.rss", "my-board"),
        ("Ünïcode.xml", "n-code"),
        ("feed.v2.json", "feed.v2"),
        ("---.xml", "file"),
        ("x" * 80 + ".xml", "x" * 64),
    ],
)
def test_source_of_a_file_is_a_slug_of_its_name(name: str, source: str) -> None:
    assert make_file_source(Path(name)) == source


def test_id_in_a_path_is_percent_encoded_whole() -> None:
    assert quote_id("lwn#https://lwn.net/1?a=b") == "lwn%23https%3A%2F%2Flwn.net%2F1%3Fa%3Db"


@pytest.mark.parametrize("text", [".", ".."])
def test_id_of_dots_reaches_no_other_path(service: StubService, text: str) -> None:
    with ApiClient(service.url) as client, pytest.raises(ServiceError):
        client.get(f"/imports/{quote_id(text)}")
    assert service.calls[-1].path == f"/imports/{quote_id(text)}"


def test_run_without_imports_is_clean() -> None:
    assert ImportRun().is_clean
