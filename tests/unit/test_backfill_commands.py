"""Back-fills, rollbacks, windows and reparse as they are typed, against a scripted service."""

import io
from functools import partial
from typing import Any

import pytest
from rich.console import Console

from server.commands import backfills, windows
from server.commands.backfill_report import choose_progress
from server.commands.import_report import COUNTS
from server.commands.windows import read_window
from shared.errors import InvalidRequestError
from shared.stopping import Stopped
from tests.stub_service import StubService, make_import
from tests.typed import Run

PATH = "/feeds/board/backfill"
WINDOW = {"from": "2024-11-01T00:00:00.000Z", "step_s": 3600}


def make_backfill(state: str = "running", **fields: Any) -> dict[str, Any]:
    """Return a back-fill as the API shows it."""
    intervals = {"total": 40, "done": 0, "in_flight": 0, "failing": 0}
    items = {"fetched": 0, "new": 0, "dead": 0}
    return {
        "source": "board",
        "from": "2024-11-01T00:00:00.000Z",
        "to": "2024-12-01T00:00:00.000Z",
        "state": state,
        "epoch": 1,
        "started_at": "2026-11-01T11:00:00.000Z",
        "ended_at": None if state in ("running", "paused") else "2026-11-01T11:30:00.000Z",
        "seconds_left": None,
        "error": None,
        "history": [],
        **fields,
        "intervals": intervals | fields.get("intervals", {}),
        "items": items | fields.get("items", {}),
    }


@pytest.fixture(autouse=True)
def _ask_without_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfills, "POLL_S", 0)
    monkeypatch.setattr(windows, "_PAUSE_S", 0)


@pytest.fixture
def run(feedmill: Run) -> Run:
    """Type ``feedmill feeds …``."""
    return partial(feedmill, "feeds")


def begin(service: StubService, *states: dict[str, Any]) -> None:
    service.answer(f"POST {PATH}", 202, make_backfill())
    for state in states:
        service.answer(f"GET {PATH}", 200, state)


def test_backfill_is_begun_and_followed_to_its_end(service: StubService, run: Run) -> None:
    items = {"fetched": 300, "new": 290}
    begin(
        service,
        make_backfill(intervals={"done": 1}),
        make_backfill(intervals={"done": 20}, items={"fetched": 9}, seconds_left=240.4),
        make_backfill("completed", intervals={"done": 40}, items=items),
    )
    done = run("backfill", "board", "--from", "2024-11-01", "--to", "2024-12-01T01:00:00+01:00")
    assert done.code == 0
    [call] = [call for call in service.calls if call.method == "POST"]
    assert call.body == {"from": "2024-11-01T00:00:00.000Z", "to": "2024-12-01T00:00:00.000Z"}
    assert done.stderr.splitlines() == [
        "board: running: 0 of 40 intervals, 0 items, 0 new",
        "board: running: 20 of 40 intervals, 9 items, 0 new, about 4 min left",
        "board: completed: 40 of 40 intervals, 300 items, 290 new",
    ]
    assert done.stdout.splitlines()[0] == done.stderr.splitlines()[-1]
    assert "Intervals: 40 of 40 done, 0 in flight" in done.stdout


def test_without_an_end_the_service_chooses_it(service: StubService, run: Run) -> None:
    begin(service, make_backfill("completed"))
    run("backfill", "board", "--from", "2024-11-01T00:00:00Z")
    assert service.calls_of(PATH)[0].body == {"from": "2024-11-01T00:00:00.000Z"}


@pytest.mark.parametrize(
    ("ended", "code"),
    [
        (make_backfill("completed"), 0),
        (make_backfill("completed", items={"dead": 2}), 1),
        (make_backfill("cancelled"), 1),
    ],
    ids=["completed", "dead", "cancelled"],
)
def test_exit_code_says_whether_all_went_well(
    service: StubService, run: Run, ended: dict[str, Any], code: int
) -> None:
    begin(service, ended)
    done = run("backfill", "board", "--from", "2024-11-01", "--json")
    assert (done.code, done.json) == (code, ended)


def test_dead_items_lead_to_their_dead_letters(service: StubService, run: Run) -> None:
    begin(service, make_backfill("completed", items={"dead": 2}))
    done = run("backfill", "board", "--from", "2024-11-01")
    assert "Dead items: feedmill dlq list --source board" in done.stdout


def test_backfill_that_is_not_followed_is_only_begun(service: StubService, run: Run) -> None:
    begin(service)
    done = run("backfill", "board", "--from", "2024-11-01", "--no-follow")
    assert (done.code, done.stderr) == (0, "")
    assert "board: running: 0 of 40 intervals" in done.stdout
    assert [call.method for call in service.calls_of(PATH)] == ["POST"]


def test_source_alone_shows_what_there_is(service: StubService, run: Run) -> None:
    shown = make_backfill(
        intervals={"done": 3, "in_flight": 2, "failing": 1}, error="timeout: no answer in 30 s"
    )
    service.answer(f"GET {PATH}", 200, shown)
    done = run("backfill", "board")
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert "Intervals: 3 of 40 done, 2 in flight, 1 failing (tried again by itself)" in lines
    assert "Error: timeout: no answer in 30 s" in lines
    assert run("backfill", "board", "--json").json == shown


def test_backfill_that_there_is_can_be_followed(service: StubService, run: Run) -> None:
    service.answer(f"GET {PATH}", 200, make_backfill())
    service.answer(f"GET {PATH}", 200, make_backfill("cancelled"))
    assert run("backfill", "board", "--follow").code == 1


def test_pages_of_a_feed_are_counted_without_a_total(service: StubService, run: Run) -> None:
    pages = make_backfill(to=None, intervals={"total": None, "done": 12})
    service.answer(f"GET {PATH}", 200, pages)
    done = run("backfill", "board")
    assert "board: running: 12 intervals, 0 items, 0 new" in done.stdout
    assert " to " not in next(line for line in done.stdout.splitlines() if "Range" in line)


@pytest.mark.parametrize(
    ("option", "method", "path", "state"),
    [
        ("--pause", "POST", f"{PATH}/pause", "paused"),
        ("--resume", "POST", f"{PATH}/resume", "running"),
        ("--cancel", "DELETE", PATH, "cancelled"),
    ],
)
def test_backfill_is_paused_resumed_and_cancelled(
    service: StubService, run: Run, option: str, method: str, path: str, state: str
) -> None:
    service.answer(f"{method} {path}", 200, make_backfill(state))
    done = run("backfill", "board", option)
    assert (done.code, done.stderr) == (0, "")
    assert f"board: {state}: " in done.stdout
    assert [(call.method, call.path) for call in service.calls[1:]] == [(method, path)]


def test_without_a_source_those_under_way_are_listed(service: StubService, run: Run) -> None:
    listed = [make_backfill(seconds_left=7200), make_backfill("paused", source="b", to=None)]
    service.answer("GET /backfills", 200, {"items": listed, "next_cursor": None})
    header, first, second = run("backfill").stdout.splitlines()
    assert header.split() == ["source", "state", "from", "to", "intervals", "items", "left"]
    assert "0 of 40 intervals" in first
    assert first.endswith("about 2 h")
    assert second.startswith("b ")
    assert run("backfill", "--json").json == listed
    service.answers["GET /backfills"] = [(200, {}, {"items": [], "next_cursor": None})]
    assert "no back-fill is running" in run("backfill").stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "2024-11-01"], "name the feed"),
        (["board", "--to", "2024-11-01"], "--to needs --from"),
        (["board", "--pause", "--resume"], "choose one of --pause, --resume and --cancel"),
        (["board", "--cancel", "--from", "2024-11-01"], "--cancel takes no --from and no --to"),
        (["board", "--from", "May"], "--from 'May' is not a time: write 2026-11-01 or"),
    ],
)
def test_wrong_usage_is_refused_in_one_line(run: Run, arguments: list[str], said: str) -> None:
    done = run("backfill", *arguments)
    assert (done.code, done.stdout) == (2, "")
    [line] = done.stderr.splitlines()
    assert said in line


def test_refusal_of_the_service_is_told(service: StubService, run: Run) -> None:
    service.refuse(f"POST {PATH}", 409, "a back-fill of 'board' is running")
    done = run("backfill", "board", "--from", "2024-11-01")
    assert (done.code, done.stderr) == (1, "feedmill: a back-fill of 'board' is running\n")


def test_ctrl_c_leaves_it_running_and_says_how_to_come_back(
    service: StubService, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: object, **__: object) -> None:
        raise Stopped(2)

    begin(service)
    monkeypatch.setattr(backfills, "follow", stop)
    done = run("backfill", "board", "--from", "2024-11-01")
    assert (done.code, done.stdout) == (130, "")
    assert "'feedmill feeds backfill board --follow' shows it" in done.stderr


def test_terminal_shows_a_bar_with_the_time_left() -> None:
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=120)
    backfill = make_backfill(intervals={"done": 10}, items={"fetched": 500}, seconds_left=90.2)
    with choose_progress(console) as progress:
        progress.show(backfill)
    assert "10/40" in shown.getvalue()
    assert "500 items, 0 new, about 90 s left" in shown.getvalue()


def test_rollback_says_the_new_epoch_and_from_where_it_reads(
    service: StubService, run: Run
) -> None:
    answer = {"epoch": 4, "cursor": "2026-11-01T10:00:00.000Z"}
    service.answer("POST /feeds/board/rollback", 200, answer)
    done = run("rollback", "board", "--to", "2026-11-01T10:00:00Z")
    assert (done.code, done.stderr) == (0, "")
    assert done.stdout.startswith("board: epoch 4, read again from ")
    assert service.calls[1].body == {"to": "2026-11-01T10:00:00.000Z"}
    earlier = run("rollback", "board", "--to", "2026-11-01T11:00:00Z")
    assert "earlier than asked for" in earlier.stderr
    assert run("rollback", "board", "--to", "2026-11-01T10:00:00Z", "--json").json == answer


def test_rollback_that_waits_for_claimed_jobs_is_sent_again(service: StubService, run: Run) -> None:
    path = "POST /feeds/board/rollback"
    service.answer(path, 503, {"detail": "2 jobs are still held"}, {"Retry-After": "0"})
    service.refuse(path, 503, "1 job is still held")
    service.answer(path, 200, {"epoch": 4, "cursor": 7})
    done = run("rollback", "board", "--to", "7")
    assert (done.code, done.stdout) == (0, "board: epoch 4, read again from page 7\n")
    assert done.stderr.splitlines() == [
        "board: 2 jobs are still held",
        "board: 1 job is still held",
    ]
    assert [call.body for call in service.calls[1:]] == [{"to": 7}] * 3


def test_rollback_asks_first_on_a_terminal(service: StubService, run: Run) -> None:
    service.answer("POST /feeds/board/rollback", 200, {"epoch": 4, "cursor": 7})
    refused = run("rollback", "board", "--to", "7", stdin=b"n\n", is_terminal=True)
    assert refused.code == 1
    assert "Read board again from 7?" in refused.stderr
    assert service.calls_of("/feeds/board/rollback") == []
    assert run("rollback", "board", "--to", "7", "--yes", is_terminal=True).code == 0


def test_rollback_of_an_ordinary_feed_is_wrong_usage(service: StubService, run: Run) -> None:
    service.refuse("POST /feeds/board/rollback", 422, "feed 'board' has no window")
    assert run("rollback", "board", "--to", "7").code == 2


def test_reparse_is_followed_as_an_import(service: StubService, feedmill: Run) -> None:
    service.answer("POST /feeds/lwn/reparse", 202, {"imports": [{"id": "i#1"}]})
    service.answer("/imports/i%231", 200, make_import("importing"))
    service.answer("/imports/i%231", 200, make_import(counts={"fetched": 3, "updated": 3}))
    done = feedmill("reparse", "lwn", "--since", "2026-10-01")
    assert done.code == 0
    assert service.calls[1].body == {"since": "2026-10-01T00:00:00.000Z"}
    assert "lwn: completed" in done.stderr
    header, row = (line.split() for line in done.stdout.splitlines())
    assert dict(zip(header, row, strict=True))["updated"] == "3"
    dead = make_import(counts=dict.fromkeys(COUNTS, 0) | {"dead": 1})
    service.answers["/imports/i%231"] = [(200, {}, dead)]
    again = feedmill("reparse", "lwn", "--json")
    assert (again.code, again.json) == (1, {"imports": [dead], "errors": []})
    assert service.calls_of("/feeds/lwn/reparse")[1].body == {}


def test_window_is_typed_as_names_and_values() -> None:
    typed = "from=2024-11-01, step_s=3600,in_flight=2,format=epoch_ms"
    assert read_window(typed) == WINDOW | {"in_flight": 2, "format": "epoch_ms"}


@pytest.mark.parametrize("typed", ["step=3600", "step_s=1,step_s=2", "step_s=1h", "from=May", "a"])
def test_window_that_cannot_be_read_is_refused(typed: str) -> None:
    with pytest.raises(InvalidRequestError, match="--window"):
        read_window(typed)


def test_feed_is_added_and_changed_with_a_window(service: StubService, run: Run) -> None:
    feed = {
        "source": "board", "url": "https://b.example/?{start}", "enabled": True, "cron": None,
        "interval_s": None, "next_fetch_at": None, "next_fetch_reason": "its window",
        "window": WINDOW,
    }  # fmt: skip
    service.answer("POST /feeds", 201, feed)
    service.answer("/feeds/board", 200, feed)
    run("add", "https://b.example/?{start}", "--window", "from=2024-11-01,step_s=3600")
    assert service.calls_of("/feeds")[0].body["window"] == WINDOW
    assert run("edit", "board", "--window", "in_flight=4").code == 0
    assert run("edit", "board", "--no-window").code == 0
    changes = [call.body for call in service.calls if call.method == "PATCH"]
    assert changes == [{"window": WINDOW | {"in_flight": 4}}, {"window": None}]
    assert run("edit", "board", "--no-window", "--window", "in_flight=1").code == 2


def test_why_says_how_far_a_window_is_read(service: StubService, run: Run) -> None:
    position = {"epoch": 2, "cursor": "2026-11-01T11:00:00.000Z", "in_flight": 1}
    feed = {
        "source": "board", "url": "https://b.example/?{start}", "enabled": True, "cron": None,
        "interval_s": None, "next_fetch_at": None, "next_fetch_reason": "its window",
        "window": WINDOW, "position": position, "last_import": None, "error": None,
        "consecutive_failures": 0,
    }  # fmt: skip
    service.answer("/feeds/board", 200, feed)
    service.answer("/imports", 200, {"items": [], "next_cursor": None})
    lines = run("why", "board").stdout.splitlines()
    assert "Next interval: its window" in lines
    assert "Window: from=2024-11-01T00:00:00.000Z, step_s=3600" in lines
    [reached] = [line for line in lines if line.startswith("Read up to: ")]
    assert reached.endswith("(60 min ago), epoch 2, in flight: 1")


def test_import_of_an_interval_says_which(service: StubService, feedmill: Run) -> None:
    hour = {"start": "2026-11-01T10:00:00.000Z", "ended": "2026-11-01T11:00:00.000Z"}
    pull = make_import(trigger="pull", fetches=[], started_at=None, epoch=3, interval=hour)
    service.answer("/imports/i%231", 200, pull)
    [line] = [
        each
        for each in feedmill("imports", "show", "i#1").stdout.splitlines()
        if each.startswith("Interval: ")
    ]
    assert "(2 h ago) to " in line
    assert line.endswith("(60 min ago), epoch 3")
